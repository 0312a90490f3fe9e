"""Ids are UUIDv7: they sort by the time they were made."""

from uuid_utils import uuid7


def new_id() -> str:
    return str(uuid7())
