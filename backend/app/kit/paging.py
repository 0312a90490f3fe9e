"""Lists page by cursor: newest first, and a cursor is the last id that was seen."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel
from sqlalchemy import Select
from sqlalchemy.orm import Session

from app.kit.errors import Invalid
from app.kit.ids import is_id

T = TypeVar("T")


class BadCursor(Invalid):
    code, title = "bad_cursor", "This cursor is not one of ours; take `next_cursor` from the page before"


class Page(BaseModel, Generic[T]):
    items: list[T]
    next_cursor: str | None = None


class PageQuery:
    """`?limit=` and `?cursor=` of a list."""

    def __init__(
        self,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        cursor: Annotated[str | None, Query(max_length=100)] = None,
    ) -> None:
        self.limit, self.after = limit, _decode(cursor) if cursor else None


def _decode(cursor: str) -> str:
    try:
        value = base64.urlsafe_b64decode(cursor.encode()).decode()
    except (binascii.Error, UnicodeError, ValueError):
        raise BadCursor from None
    if not is_id(value):
        raise BadCursor
    return value


def page(
    session: Session, query: Select[Any], id_column: Any, request: PageQuery
) -> tuple[list[Any], str | None]:
    """Rows of one page and the cursor of the next."""
    if request.after:
        query = query.where(id_column < request.after)
    rows = list(session.scalars(query.order_by(id_column.desc()).limit(request.limit + 1)))
    if len(rows) <= request.limit:
        return rows, None
    rows = rows[: request.limit]
    return rows, base64.urlsafe_b64encode(rows[-1].id.encode()).decode()
