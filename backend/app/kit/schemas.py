"""What every request and answer schema shares."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints


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


Text = Annotated[str, AfterValidator(_storable)]
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_storable)
]
Description = Annotated[str, StringConstraints(max_length=5000), AfterValidator(_storable)]
