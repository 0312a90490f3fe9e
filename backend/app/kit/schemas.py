"""What every request and answer schema shares."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

# What a terminal obeys instead of showing it: control characters, and those that turn the direction of writing.
ORDERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Body(BaseModel):
    """A request: unknown fields are refused, so that a typing error is not silently dropped."""

    model_config = ConfigDict(extra="forbid")


class Answer(BaseModel):
    """A response, read from rows as well as from dicts."""

    model_config = ConfigDict(from_attributes=True, protected_namespaces=())


def _storable(value: str) -> str:
    """Neither database can keep every string that JSON can spell."""
    if "\0" in value:
        raise ValueError("must not contain the character NUL")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode") from None
    return value


def one_line(value: str) -> str:
    """Names go to terminals, and into lines with other things: none may move what stands around it."""
    if ORDERS.search(_storable(value)):
        raise ValueError("must not contain control characters")
    return value


Text = Annotated[str, AfterValidator(_storable)]
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(one_line)
]
Description = Annotated[str, StringConstraints(max_length=5000), AfterValidator(_storable)]
