from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field, SecretStr, StringConstraints

from app.auth.roles import Role, Scope
from app.kit.schemas import Answer, Body, Name

Password = Annotated[SecretStr, Field(min_length=10, max_length=200)]


class LoginIn(Body):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"username": "admin", "password": "a long password"}}
    )

    username: Name
    password: Annotated[SecretStr, Field(min_length=1, max_length=200)]


class LoginOut(Answer):
    access_token: str
    token_type: str = "bearer"
    expires_at: datetime


class UserIn(Body):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"username": "kim", "password": "a long password", "role": "producer"}},
    )

    username: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9가-힣._@-]{1,100}$")]
    password: Password
    role: Role = "viewer"


class UserChange(Body):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"role": "producer"}})

    password: Password | None = None
    role: Role | None = None
    active: bool | None = None


class UserOut(Answer):
    id: str
    username: str
    role: Role
    active: bool
    created_at: datetime


class TokenIn(Body):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"name": "studio", "role": "producer", "expires_in_days": 90}},
    )

    name: Name
    role: Role = "producer"
    scopes: list[Scope] | None = Field(
        None, min_length=1, description="all that the role allows, unless fewer are named"
    )
    expires_in_days: int | None = Field(None, ge=1, le=3650)


class TokenOut(Answer):
    id: str
    name: str
    role: Role
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class NewTokenOut(TokenOut):
    token: str = Field(description="shown this once")
