"""Tokens, and people who sign in: kept in the data folder, with the service running or not."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import typer

from app.cli.shell import fail, here, table

token_app = typer.Typer(help="API tokens, made here in the data folder.", no_args_is_help=True)
user_app = typer.Typer(help="People who sign in, kept here in the data folder.", no_args_is_help=True)


@token_app.command("create")
def token_create(
    name: Annotated[str, typer.Option(help="what it is for")],
    role: Annotated[str, typer.Option(help="viewer, producer or admin")] = "producer",
    days: Annotated[Optional[int], typer.Option(help="days until it expires")] = None,  # noqa: UP045
    quiet: Annotated[bool, typer.Option("--quiet", help="print the token alone")] = False,
) -> None:
    """Make an API token. It is shown this once."""
    from pydantic import ValidationError

    from app.auth import service as auth
    from app.auth.schemas import TokenIn

    try:
        body = TokenIn(name=name, role=role, expires_in_days=days)  # type: ignore[arg-type]
    except ValidationError as error:
        raise fail("; ".join(f"{e['loc'][0]}: {e['msg']}" for e in error.errors()), 2) from None
    with here() as container, container.database.session() as session:
        _, token = auth.create_token(session, body, None)
    typer.echo(
        token if quiet else f"{token}\n\nSend it as `Authorization: Bearer TOKEN`; it is not shown again."
    )


@token_app.command("list")
def token_list() -> None:
    """The tokens there are, by name."""
    from sqlalchemy import select

    from app.models import ApiToken

    with here() as container, container.database.reading() as session:
        rows = [
            [row.id, row.name, row.role, row.created_at.date().isoformat(), str(row.expires_at or "never")]
            for row in session.scalars(select(ApiToken).order_by(ApiToken.id))
        ]
    table(["id", "name", "role", "made", "expires"], rows)


@token_app.command("revoke")
def token_revoke(token_id: str) -> None:
    """End a token."""
    from app.auth import service as auth
    from app.auth.errors import TokenNotFound

    try:
        with here() as container, container.database.session() as session:
            auth.revoke_token(session, token_id)
    except TokenNotFound as error:
        raise fail(str(error)) from None


@user_app.command("create")
def user_create(
    username: str, role: Annotated[str, typer.Option(help="viewer, producer or admin")] = "viewer"
) -> None:
    """Make a user; the password is asked for."""
    password = typer.prompt("Password (at least 10 characters)", hide_input=True, confirmation_prompt=True)
    _user(lambda auth, session, bodies: auth.create_user(
        session, bodies.UserIn(username=username, password=password, role=role)))  # fmt: skip


@user_app.command("password")
def user_password(username: str) -> None:
    """Give a user a new password; it is asked for."""
    password = typer.prompt(
        "New password (at least 10 characters)", hide_input=True, confirmation_prompt=True
    )

    def change(auth: Any, session: Any, bodies: Any) -> None:
        from sqlalchemy import select

        from app.auth.errors import UserNotFound
        from app.models import User

        user_id = session.scalar(select(User.id).where(User.username == username))
        if user_id is None:
            raise UserNotFound(f"There is no user {username}.")
        auth.change_user(session, user_id, bodies.UserChange(password=password))

    _user(change)


@user_app.command("list")
def user_list() -> None:
    """Who can sign in."""
    from sqlalchemy import select

    from app.models import User

    with here() as container, container.database.reading() as session:
        rows = [
            [row.username, row.role, "yes" if row.active else "no"]
            for row in session.scalars(select(User).order_by(User.id))
        ]
    table(["name", "role", "active"], rows)


def _user(action: Any) -> None:
    from pydantic import ValidationError

    from app.auth import schemas
    from app.auth import service as auth
    from app.kit.errors import AppError

    try:
        with here() as container, container.database.session() as session:
            action(auth, session, schemas)
    except ValidationError as error:
        raise fail("; ".join(f"{e['loc'][0]}: {e['msg']}" for e in error.errors()), 2) from None
    except AppError as error:
        raise fail(error.detail) from None
