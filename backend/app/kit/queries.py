"""Query parameters that a route does not know are refused, so that a typing error is not silently dropped."""

from __future__ import annotations

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError


async def no_unknown_query(request: Request) -> None:
    """A router's dependency. Answered 422, as an unknown field of a body is, with the parameters there are."""
    known = _names(request.scope["route"].dependant)
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        there_are = f"known are {', '.join(sorted(known))}" if known else "none are taken here"
        message = f"There is no such parameter; {there_are}"
        raise RequestValidationError(
            [{"type": "extra_forbidden", "loc": ("query", name), "msg": message} for name in unknown]
        )


def _names(dependant: Dependant) -> set[str]:
    own = {field.alias for field in dependant.query_params}
    return own.union(*map(_names, dependant.dependencies))
