"""Passwords, tokens and the service's signing key."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import jwt
from pwdlib import PasswordHash

from app.auth.errors import InvalidToken
from app.kit.clock import now

TOKEN_PREFIX = "mks_"  # so that scanners for leaked keys can tell ours
_passwords = PasswordHash.recommended()
# Checked when there is no such user, so that the time of an answer does not tell names.
_NOBODY = _passwords.hash(secrets.token_hex(16))


def hash_password(password: str) -> str:
    return _passwords.hash(password)


def password_matches(password: str, stored: str | None) -> bool:
    matches = _passwords.verify(password, stored or _NOBODY)
    return matches and stored is not None


def new_token() -> str:
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """SHA-256 is enough: a token is 256 random bits, there is nothing to guess."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def signing_key(folder: Path) -> str:
    """The key that signs login tokens, made at the first start and readable by the service alone."""
    file = folder / "signing.key"
    if not file.exists():
        folder.mkdir(0o700, parents=True, exist_ok=True)
        _make_key(file)
    return file.read_text().strip()


def _make_key(file: Path) -> None:
    """Put a whole key there; of several that do so at once, the first one's stays."""
    descriptor, draft = tempfile.mkstemp(dir=file.parent, prefix=".signing.")
    try:
        with os.fdopen(descriptor, "w") as draft_file:
            draft_file.write(secrets.token_hex(32))
            draft_file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(draft, file)
    finally:
        Path(draft).unlink()


def password_mark(password_hash: str) -> str:
    """Tells a user's passwords apart and says nothing of them: a login ends with the one that it was made with."""
    return hashlib.sha256(password_hash.encode()).hexdigest()[:16]


def sign_login(user_id: str, mark: str, key: str, minutes: int) -> tuple[str, datetime]:
    expires = now() + timedelta(minutes=minutes)
    return jwt.encode({"sub": user_id, "pwd": mark, "exp": expires}, key, algorithm="HS256"), expires


def signed_user(token: str, key: str) -> tuple[str, str]:
    """Whose login this is, and their password's mark at the time. Raises InvalidToken."""
    try:
        claims = jwt.decode(token, key, algorithms=["HS256"], options={"require": ["sub", "pwd", "exp"]})
    except jwt.ExpiredSignatureError:
        raise InvalidToken("This login has expired; sign in again.") from None
    except (jwt.PyJWTError, UnicodeError, ValueError):
        raise InvalidToken from None
    return str(claims["sub"]), str(claims["pwd"])
