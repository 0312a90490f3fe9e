from __future__ import annotations

import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from sqlalchemy import select

from app.auth import secrets, service
from app.auth.access import Administrator
from app.auth.schemas import LoginIn, LoginOut, NewTokenOut, TokenIn, TokenOut, UserChange, UserIn, UserOut
from app.deps import Container, Parts, Reading, Writing
from app.kit.paging import Page, PageQuery, page
from app.kit.problems import documented
from app.models import ApiToken, User

router = APIRouter(tags=["sign-in"])


# A password's hash takes 64 MiB and a core: strangers get threads of their own for it, and few.
_LOGINS = anyio.CapacityLimiter(2)


@router.post("/login", responses=documented(401, 429))
async def login(body: LoginIn, container: Parts, request: Request) -> LoginOut:
    """Exchange a name and a password for a token that lasts an hour (MOKSORI_LOGIN_MINUTES)."""
    address = request.client.host if request.client else ""
    return await anyio.to_thread.run_sync(_sign_in, container, body, address, limiter=_LOGINS)


def _sign_in(container: Container, body: LoginIn, address: str) -> LoginOut:
    settings = container.settings
    user = service.sign_in(
        container.database, body.username, body.password.get_secret_value(), address, settings.login_tries
    )
    mark, key = secrets.password_mark(user.password_hash), secrets.signing_key(settings.state_dir)
    token, expires = secrets.sign_login(user.id, mark, key, settings.login_minutes)
    return LoginOut(access_token=token, expires_at=expires)


@router.get("/tokens")
def list_tokens(_: Administrator, session: Reading, paging: PageQuery = Depends()) -> Page[TokenOut]:
    rows, cursor = page(session, select(ApiToken), ApiToken.id, paging)
    return Page(items=[TokenOut.model_validate(row) for row in rows], next_cursor=cursor)


@router.post("/tokens", status_code=201)
def create_token(body: TokenIn, caller: Administrator, session: Writing) -> NewTokenOut:
    """A token for a program; the answer is the only time that it can be read."""
    created_by = caller.id if session.get(User, caller.id) else None
    row, token = service.create_token(session, body, created_by)
    return NewTokenOut(**TokenOut.model_validate(row).model_dump(), token=token)


@router.delete("/tokens/{token_id}", status_code=204, responses=documented(404))
def revoke_token(token_id: str, _: Administrator, session: Writing) -> None:
    service.revoke_token(session, token_id)


@router.get("/users")
def list_users(_: Administrator, session: Reading, paging: PageQuery = Depends()) -> Page[UserOut]:
    rows, cursor = page(session, select(User), User.id, paging)
    return Page(items=[UserOut.model_validate(row) for row in rows], next_cursor=cursor)


@router.post("/users", status_code=201, responses=documented(409))
def create_user(body: UserIn, _: Administrator, session: Writing) -> UserOut:
    return UserOut.model_validate(service.create_user(session, body))


@router.patch("/users/{user_id}", responses=documented(404, 409))
def change_user(user_id: str, body: UserChange, _: Administrator, session: Writing) -> UserOut:
    return UserOut.model_validate(service.change_user(session, user_id, body))
