"""Files from callers with a token alone: FastAPI reads a form, and lays its files down, before it asks who calls."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from app.auth.access import bearer, get_caller
from app.deps import get_container


class UploadRoute(APIRoute):
    """A route that reads a form with files only once it knows who sends it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
                await run_in_threadpool(get_caller, get_container(request), await bearer(request))
            try:
                return await handle(request)
            except HTTPException as error:
                if isinstance(error.__cause__, OSError):  # a full disk is not a mistake of the client's
                    raise error.__cause__ from None
                raise

        return handled
