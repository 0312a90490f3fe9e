from __future__ import annotations

from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, Query
from starlette.testclient import TestClient

from app.kit import problems
from app.kit.paging import PageQuery
from app.kit.queries import no_unknown_query


@pytest.fixture(scope="module")
def client() -> TestClient:
    app, router = FastAPI(), APIRouter(dependencies=[Depends(no_unknown_query)])
    problems.install(app)

    @router.get("/things")
    def things(
        kind: str = "", sort: Annotated[str, Query(alias="order")] = "", paging: PageQuery = Depends()
    ) -> int:
        return paging.limit

    @router.post("/things")
    def add() -> None: ...

    app.include_router(router)
    return TestClient(app)


def test_what_a_route_or_its_dependencies_know_is_taken(client: TestClient) -> None:
    assert client.get("/things", params={"kind": "a", "order": "b", "limit": 7}).json() == 7
    assert client.post("/things").status_code == 200


@pytest.mark.parametrize(
    ("method", "there_are"),
    [("GET", "known are cursor, kind, limit, order"), ("POST", "none are taken here")],
)
def test_what_is_unknown_is_refused_with_what_there_is(
    client: TestClient, method: str, there_are: str
) -> None:
    answer = client.request(method, "/things?sort=a&lmit=7&sort=b")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    message = f"There is no such parameter; {there_are}"
    assert answer.json()["errors"] == [
        {"field": f"query.{name}", "message": message, "kind": "extra_forbidden"} for name in ("sort", "lmit")
    ]
