"""Signing in, users and tokens."""

from __future__ import annotations

import hashlib
import secrets as random
from datetime import timedelta

import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.auth import secrets
from app.auth.errors import (
    LastAdministrator,
    NameTaken,
    NotAllowed,
    TokenNotFound,
    TooManyLogins,
    UserNotFound,
    WrongPassword,
)
from app.auth.roles import ALLOWED, Role
from app.auth.schemas import TokenIn, UserChange, UserIn
from app.kit.clock import now
from app.kit.database import Database
from app.models import ApiToken, LoginFailure, User

log = structlog.get_logger()
WINDOW = timedelta(minutes=15)
# One address may stand for a whole office, so it gets more tries than one name from it.
ADDRESS_FACTOR = 5


def sign_in(database: Database, username: str, password: str, address: str, tries: int) -> User:
    """The user of this name and password; a name that failed too often is not even tried."""
    failures = _count(database, username, address, tries)
    with database.reading() as session:
        user = session.scalar(select(User).where(User.username == username, User.active))
    if secrets.password_matches(password, user.password_hash if user else None) and user:
        _take_back(database, failures)
        return user
    log.warning("auth.login_failed", address=address)
    raise WrongPassword


def _count(database: Database, username: str, address: str, tries: int) -> list[str]:
    """Keep a try as failed before it is one, so that those which come at once count one another; the rows' ids."""
    limits = {_subject(username, address): tries, _subject("", address): tries * ADDRESS_FACTOR}
    too_many = TooManyLogins(retry_after=int(WINDOW.total_seconds()))
    with database.reading() as session:
        if any(_failures(session, subject) >= most for subject, most in limits.items()):
            raise too_many
    with database.session() as session:
        session.execute(delete(LoginFailure).where(LoginFailure.created_at < now() - WINDOW))
        rows = [LoginFailure(subject=subject) for subject in limits]
        session.add_all(rows)
    failures = [row.id for row in rows]
    with database.reading() as session:
        beyond = any(_failures(session, subject) > most for subject, most in limits.items())
    if beyond:
        _take_back(database, failures)
        raise too_many
    return failures


def _take_back(database: Database, failures: list[str]) -> None:
    with database.session() as session:
        session.execute(delete(LoginFailure).where(LoginFailure.id.in_(failures)))


def _subject(username: str, address: str) -> str:
    return hashlib.sha256(f"{username}\0{address}".encode()).hexdigest()


def _failures(session: Session, subject: str) -> int:
    count = select(func.count()).where(
        LoginFailure.subject == subject, LoginFailure.created_at >= now() - WINDOW
    )
    return session.scalar(count) or 0


def create_user(session: Session, body: UserIn) -> User:
    if _is_taken(session, body.username):
        raise NameTaken
    user = User(
        username=body.username,
        password_hash=secrets.hash_password(body.password.get_secret_value()),
        role=body.role,
    )
    session.add(user)
    try:
        session.flush()
    except IntegrityError:  # another request was faster
        raise NameTaken from None
    log.info("auth.user_created", user=user.id, role=user.role)
    return user


def _is_taken(session: Session, username: str) -> bool:
    return session.scalar(select(User.id).where(User.username == username)) is not None


def change_user(session: Session, user_id: str, change: UserChange) -> User:
    user = session.get(User, user_id)
    if user is None:
        raise UserNotFound
    demoted = (change.role not in (None, "admin") or change.active is False) and user.role == "admin"
    if demoted and not _another_administrator(session, user_id):
        raise LastAdministrator
    if change.password is not None:
        user.password_hash = secrets.hash_password(change.password.get_secret_value())
    if change.role is not None:
        user.role = change.role
    if change.active is not None:
        user.active = change.active
    log.info("auth.user_changed", user=user.id, role=user.role, active=user.active)
    return user


def _another_administrator(session: Session, user_id: str) -> bool:
    # Locked, in one order: two administrators who demote each other at once must not both succeed.
    query = select(User.id).where(User.role == "admin", User.active).order_by(User.id).with_for_update()
    return any(each != user_id for each in session.scalars(query))


def create_token(session: Session, body: TokenIn, created_by: str | None) -> tuple[ApiToken, str]:
    """A new token's row, and the token itself, which nobody can read again."""
    allowed = ALLOWED[body.role]
    scopes = list(dict.fromkeys(body.scopes)) if body.scopes is not None else list(allowed)
    if beyond := set(scopes) - set(allowed):
        raise NotAllowed(f"The role {body.role} does not allow {', '.join(sorted(beyond))}.")
    token = secrets.new_token()
    row = ApiToken(
        name=body.name,
        role=body.role,
        scopes=scopes,
        token_hash=secrets.hash_token(token),
        created_by=created_by,
        expires_at=now() + timedelta(days=body.expires_in_days) if body.expires_in_days else None,
    )
    session.add(row)
    session.flush()
    log.info("auth.key_created", key=row.id, role=row.role)
    return row, token


def revoke_token(session: Session, token_id: str) -> None:
    row = session.get(ApiToken, token_id)
    if row is None:
        raise TokenNotFound
    session.delete(row)
    log.info("auth.key_revoked", key=token_id)


def ensure_administrator(session: Session, username: str = "admin") -> str | None:
    """At the first start, make an administrator; the password, for this once, or None when there is one."""
    if session.scalar(select(User.id).limit(1)):
        return None
    password = random.token_urlsafe(12)
    role: Role = "admin"
    session.add(User(username=username, password_hash=secrets.hash_password(password), role=role))
    return password
