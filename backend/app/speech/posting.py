"""`SpeechEngine.synthesize` for an engine that says what came of an utterance by calling back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import suppress

from app.speech.interface import Clip, Failure, Utterance

# Called, in any thread, with each clip of an utterance or its failure; None: it was cancelled.
Post = Callable[[Clip | Failure | None], None]


async def posted(
    utterances: AsyncIterable[Utterance],
    add: Callable[[Utterance, Post], None],
    cancel: Callable[[str], None],
) -> AsyncGenerator[Clip | Failure, None]:
    """Hand utterances to `add` as they arrive, and give what is posted of them, until all have ended.

    Left early, it cancels what is under way.
    """
    loop = asyncio.get_running_loop()
    results: asyncio.Queue[tuple[str, Clip | Failure | None] | BaseException | None] = asyncio.Queue()
    underway: set[str] = set()

    def post_for(utterance_id: str) -> Post:
        def post(event: Clip | Failure | None) -> None:
            with suppress(RuntimeError):  # the loop is gone, and with it whoever would have listened
                loop.call_soon_threadsafe(results.put_nowait, (utterance_id, event))

        return post

    async def feed() -> None:
        try:
            async for utterance in utterances:
                underway.add(utterance.id)
                add(utterance, post_for(utterance.id))
        except BaseException as error:
            results.put_nowait(error)
            raise
        results.put_nowait(None)

    feeding, fed = asyncio.create_task(feed()), False
    try:
        while not (fed and not underway):
            item = await results.get()
            if item is None:
                fed = True
            elif isinstance(item, BaseException):
                raise item
            else:
                utterance_id, event = item
                if not isinstance(event, Clip) or event.final:
                    underway.discard(utterance_id)
                if event is not None:
                    yield event
    finally:
        feeding.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await feeding
        for utterance_id in underway:
            cancel(utterance_id)
