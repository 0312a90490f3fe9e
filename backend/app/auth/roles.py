"""Who may do what: a role allows scopes, and a token may have fewer."""

from typing import Literal

Role = Literal["viewer", "producer", "admin"]
Scope = Literal["read", "write", "admin"]

ALLOWED: dict[Role, tuple[Scope, ...]] = {
    "viewer": ("read",),
    "producer": ("read", "write"),
    "admin": ("read", "write", "admin"),
}
