from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import anyio.to_thread
import httpx
import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from app.auth import secrets
from app.auth import service as auth
from app.auth.schemas import UserIn
from app.kit.clock import now
from app.kit.errors import AppError
from app.models import LoginFailure, User
from tests.service import API, Service

PASSWORD = "correct horse battery"


@pytest.fixture
def user(service: Service) -> str:
    return add_user(service)


def add_user(service: Service, name: str = "kim", role: str = "producer") -> str:
    with service.container.database.session() as session:
        return auth.create_user(session, UserIn(username=name, password=PASSWORD, role=role)).id  # type: ignore[arg-type]


def login(service: Service, name: str = "kim", password: str = PASSWORD):
    return service.post("/login", role=None, json={"username": name, "password": password})


@pytest.mark.usefixtures("user")
def test_a_password_gives_a_token_that_lasts_an_hour(service: Service) -> None:
    answer = login(service)
    assert answer.status_code == 200
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert service.client.get(f"{API}/voice-actors", headers=headers).status_code == 200
    assert service.client.get(f"{API}/users", headers=headers).status_code == 403
    assert answer.json()["token_type"] == "bearer"


def test_a_login_ends(service: Service, user: str) -> None:
    mark = secrets.password_mark(service.row(User, user).password_hash)
    token, _ = secrets.sign_login(user, mark, secrets.signing_key(service.container.settings.state_dir), -1)
    answer = service.client.get(f"{API}/voice-actors", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert "expired" in answer.json()["detail"]


def test_a_login_ends_with_its_user(service: Service, user: str) -> None:
    headers = {"Authorization": f"Bearer {login(service).json()['access_token']}"}
    assert service.patch(f"/users/{user}", role="admin", json={"active": False}).status_code == 200
    assert service.client.get(f"{API}/voice-actors", headers=headers).status_code == 401
    assert login(service).status_code == 401


def test_a_login_ends_with_its_password(service: Service, user: str) -> None:
    headers = {"Authorization": f"Bearer {login(service).json()['access_token']}"}
    assert service.patch(f"/users/{user}", role="admin", json={"role": "viewer"}).status_code == 200
    assert service.client.get(f"{API}/voice-actors", headers=headers).status_code == 200
    assert service.patch(f"/users/{user}", role="admin", json={"password": PASSWORD}).status_code == 200
    assert service.client.get(f"{API}/voice-actors", headers=headers).status_code == 401


@pytest.mark.usefixtures("user")
def test_a_wrong_name_and_a_wrong_password_are_told_alike(service: Service) -> None:
    answers = [login(service, "lee"), login(service, password="not the password")]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["code"] == "wrong_password"


def test_ten_failed_logins_are_enough_for_fifteen_minutes(any_service: Service) -> None:
    service = any_service
    add_user(service)
    add_user(service, "lee")
    wrong = [login(service, password=f"wrong {number}").status_code for number in range(10)]
    assert wrong == [401] * 10
    refused = login(service)  # the right one, too
    assert refused.status_code == 429
    assert refused.json()["code"] == "too_many_logins"
    assert refused.headers["retry-after"] == "900"
    assert login(service, "lee").status_code == 200  # another name at the same address is free
    with service.container.database.session() as session:
        session.execute(update(LoginFailure).values(created_at=now() - timedelta(minutes=15, seconds=1)))
    assert login(service).status_code == 200


def test_logins_that_come_at_once_count_one_another(
    any_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, together, mine = auth._failures, threading.Barrier(8), threading.local()
    tried: list[str] = []

    def count_together(session: Session, subject: str) -> int:
        found = count(session, subject)
        if not hasattr(mine, "counted"):
            mine.counted = together.wait(10)  # nobody goes on before all have seen that there were none
        return found

    def try_it(number: int) -> str:
        try:
            auth.sign_in(any_service.container.database, "kim", f"wrong {number}", "here", 2)
        except AppError as error:
            return error.code
        return ""

    monkeypatch.setattr(auth, "_failures", count_together)
    monkeypatch.setattr(secrets, "password_matches", lambda password, _: tried.append(password))
    with ThreadPoolExecutor(8) as crowd:
        codes = sorted(crowd.map(try_it, range(8)))
    assert len(tried) <= 2
    assert codes == ["too_many_logins"] * (8 - len(tried)) + ["wrong_password"] * len(tried)
    with any_service.container.database.reading() as session:
        assert session.query(LoginFailure).count() == 2 * len(tried)


def test_logins_leave_threads_to_others(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    async def crowd() -> tuple[int, int, set[int]]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = 4
        loop, busy, inside = asyncio.get_running_loop(), asyncio.Event(), []

        def slow(password: str, _: str | None) -> bool:
            inside.append(password)
            if len(inside) == 2:
                loop.call_soon_threadsafe(busy.set)
            return not go_on.wait(20)

        monkeypatch.setattr(secrets, "password_matches", slow)
        transport = httpx.ASGITransport(app=service.app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            bodies = [{"username": f"kim{number}", "password": "wrong"} for number in range(6)]
            logins = [asyncio.create_task(client.post(f"{API}/login", json=body)) for body in bodies]
            await busy.wait()
            try:
                other = await asyncio.wait_for(client.get("/readyz"), 10)
                at_once = len(inside)
            finally:
                go_on.set()
            return other.status_code, at_once, {each.status_code for each in await asyncio.gather(*logins)}

    assert asyncio.run(crowd()) == (200, 2, {401})


@pytest.mark.usefixtures("user")
def test_one_address_cannot_go_through_many_names(service: Service) -> None:
    subject = auth._subject("", "testclient")
    with service.container.database.session() as session:
        session.add_all([LoginFailure(subject=subject) for _ in range(50)])
    assert login(service).status_code == 429


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"username": "kim"}, "body.password"),
        ({"password": "x"}, "body.username"),
        ({"username": "", "password": "x"}, "body.username"),
        ({"username": "kim", "password": ""}, "body.password"),
        ({"username": "kim", "password": "x" * 201}, "body.password"),
        ({"username": "k\0m", "password": "x"}, "body.username"),
        ({"username": 7, "password": "x"}, "body.username"),
        ({"username": "kim", "password": "x", "otp": "1"}, "body.otp"),
    ],
)
def test_a_login_of_another_form_is_refused_by_field(service: Service, body: dict, field: str) -> None:
    answer = service.post("/login", role=None, json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_a_refused_password_is_not_repeated(service: Service) -> None:
    answer = service.post("/login", role=None, json={"username": "", "password": "hunter2-hunter2"})
    assert answer.status_code == 422
    assert "hunter2" not in answer.text


def test_the_first_start_makes_an_administrator_once(any_service: Service) -> None:
    database = any_service.container.database
    with database.session() as session:
        password = auth.ensure_administrator(session)
    assert password
    with database.session() as session:
        assert auth.ensure_administrator(session) is None
        assert session.query(User).one().role == "admin"
    assert login(any_service, "admin", password).status_code == 200
