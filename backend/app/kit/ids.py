"""Ids are UUIDv7: they sort by the time they were made."""

import re

from uuid_utils import uuid7

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def new_id() -> str:
    return str(uuid7())


def is_id(value: str) -> bool:
    """Whether a stranger's string has the form of an id; anything else is not worth a query."""
    return _ID.fullmatch(value) is not None
