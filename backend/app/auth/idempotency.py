"""Idempotency-Key: a request that is sent again is answered as the first time, and makes nothing twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, TypeVar

from fastapi import Depends, Header, Request
from pydantic import BaseModel
from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError

from app.auth.access import Caller, Producer
from app.auth.errors import KeyReused, RequestUnderWay
from app.deps import Writing
from app.kit.clock import now
from app.models import IdempotencyKey

T = TypeVar("T", bound=BaseModel)
KEPT = timedelta(days=2)


class _Once:
    def __init__(
        self,
        request: Request,
        session: Writing,
        caller: Producer,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
    ) -> None:
        self.session, self.caller, self.key = session, caller, idempotency_key
        self.route = f"{request.method} {request.url.path}"

    def __call__(self, body: BaseModel | None, make: Callable[[], T], kind: type[T]) -> T:
        """What `make` answers, or what it answered when this key came first."""
        if self.key is None:
            return make()
        key = _digest(self.caller, self.route, self.key)
        request_hash = hashlib.sha256((body.model_dump_json() if body else "").encode()).hexdigest()
        if seen := self._known(key):
            if seen.request_hash != request_hash:
                raise KeyReused
            return kind.model_validate(seen.answer)
        answer = make()
        self.session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < now() - KEPT))
        self.session.add(
            IdempotencyKey(key=key, request_hash=request_hash, answer=answer.model_dump(mode="json"))
        )
        try:
            self.session.flush()
        except IntegrityError:  # both came at once, and the other was faster: nothing of this one stays
            raise RequestUnderWay from None
        return answer

    def _known(self, key: str) -> IdempotencyKey | None:
        return self.session.get(IdempotencyKey, key)


def _digest(caller: Caller, route: str, key: str) -> str:
    return hashlib.sha256(f"{caller.id}\0{route}\0{key}".encode()).hexdigest()


Once = Annotated[_Once, Depends(_Once)]
