"""Who is calling, and whether they may: dependencies for endpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, cast

import structlog
from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from app.auth import secrets
from app.auth.errors import InvalidToken, NotAllowed
from app.auth.roles import ALLOWED, Role, Scope
from app.deps import Container, Parts
from app.kit.clock import now
from app.models import ApiToken, User

log = structlog.get_logger()
bearer = HTTPBearer(auto_error=False, description="a login's access_token, or an API token")
# Noting the use of a token is a write; once in a while is enough to see which ones are dead.
NOTE_USE_EVERY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Caller:
    id: str
    name: str
    role: Role
    scopes: tuple[Scope, ...]


def identify(container: Container, token: str) -> Caller:
    """The caller a token belongs to. Raises InvalidToken."""
    if token.startswith(secrets.TOKEN_PREFIX):
        return _by_api_token(container, token)
    user_id, mark = secrets.signed_user(token, secrets.signing_key(container.settings.state_dir))
    with container.database.reading() as session:
        user = session.get(User, user_id)
    if user is None or not user.active:
        raise InvalidToken("This user can no longer sign in.")
    if secrets.password_mark(user.password_hash) != mark:
        raise InvalidToken("The password was changed; sign in again.")
    role = cast(Role, user.role)
    return Caller(user.id, user.username, role, ALLOWED[role])


def _by_api_token(container: Container, token: str) -> Caller:
    with container.database.reading() as session:
        row = session.scalar(select(ApiToken).where(ApiToken.token_hash == secrets.hash_token(token)))
    if row is None:
        raise InvalidToken
    if row.expires_at and row.expires_at <= now():
        raise InvalidToken("This token has expired; make a new one.")
    if row.last_used_at is None or now() - row.last_used_at > NOTE_USE_EVERY:
        _note_use(container, row.id)
    return Caller(row.id, row.name, cast(Role, row.role), tuple(row.scopes))


def _note_use(container: Container, token_id: str) -> None:
    """A database that is full or read-only can still be read, and diagnosed: this is no reason to refuse."""
    try:
        with container.database.session() as session:
            if row := session.get(ApiToken, token_id):
                row.last_used_at = now()
    except SQLAlchemyError as error:
        log.warning("auth.use_not_noted", key=token_id, error=type(error).__name__)


def get_caller(
    container: Parts, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Caller:
    if credentials is None:
        raise InvalidToken("Send `Authorization: Bearer TOKEN`.")
    return identify(container, credentials.credentials)


def _needs(scope: Scope) -> Callable[[Caller], Caller]:
    def check(caller: Annotated[Caller, Depends(get_caller)]) -> Caller:
        if scope not in caller.scopes:
            raise NotAllowed(
                f"This needs the scope `{scope}`; the role {caller.role} of this token lacks it."
            )
        return caller

    return check


Viewer = Annotated[Caller, Depends(_needs("read"))]
Producer = Annotated[Caller, Depends(_needs("write"))]
Administrator = Annotated[Caller, Depends(_needs("admin"))]
