"""A client of the service's API, for the shell and the demonstration."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

PREFIX = "/api/v1"


class RemoteError(Exception):
    """The service refused, or cannot be reached; the message says what to do, `problem` is its whole answer."""

    def __init__(
        self, message: str, code: str = "", status: int = 0, problem: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.status, self.problem = code, status, problem or {}


class Remote:
    """The service at `url`, with an API token."""

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        self.url = (url or os.environ.get("MOKSORI_URL") or _own_url()).rstrip("/")
        token = token or os.environ.get("MOKSORI_TOKEN")
        if not token:
            raise RemoteError(
                "A token is needed: export MOKSORI_TOKEN=$(moksori token create --name me --role admin --quiet)"
            )
        self.token = token
        self._client = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(60, read=1000),
        )

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, method: str, path: str, **options: Any) -> Any:
        """One request; the JSON answer. Raises RemoteError with what the service says."""
        try:
            answer = self._client.request(method, PREFIX + path, **options)
        except httpx.HTTPError as error:
            raise RemoteError(
                f"No answer from {self.url} ({type(error).__name__}). Start the service with `moksori serve`, "
                "or set MOKSORI_URL."
            ) from None
        if answer.is_error:
            raise _refusal(answer)
        if answer.headers.get("content-type", "").startswith("application/json"):
            return answer.json()
        return answer.content

    def download(self, method: str, path: str, target: Path, **options: Any) -> int:
        """One request whose answer goes into a file as it comes; its bytes. What was cut off is not left there."""
        part = target.with_name(f".{target.name}.part")
        try:
            with self._client.stream(method, PREFIX + path, **options) as answer:
                if answer.is_error:
                    answer.read()
                    raise _refusal(answer)
                with part.open("wb") as file:
                    for block in answer.iter_bytes():
                        file.write(block)
            part.replace(target)
        except httpx.HTTPError as error:
            raise RemoteError(
                f"The answer from {self.url} was cut off ({type(error).__name__}). Try again."
            ) from None
        finally:
            part.unlink(missing_ok=True)
        return target.stat().st_size

    def pages(self, path: str, **params: Any) -> Iterator[dict[str, Any]]:
        """Every item of a list, page by page."""
        cursor: str | None = None
        while True:
            page = self.call(
                "GET", path, params={**params, "limit": 200, **({"cursor": cursor} if cursor else {})}
            )
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def voice(self, name: str) -> str:
        """The id of the voice model that goes by a name. Raises RemoteError where it is not one."""
        found: list[str] = [model["id"] for model in self.pages("/voice-actors/models", name=name)]
        if len(found) == 1:
            return found[0]
        if found:
            message = f"{len(found)} voice models go by the name {name}; give the id: {', '.join(found)}."
            raise RemoteError(message, "voice_unclear", 422)
        message = f"There is no voice model {name}; `moksori models list` shows those that there are."
        raise RemoteError(message, "unknown_voice", 422)

    def upload_sample(self, actor_id: str, file: Path, text: str) -> dict[str, Any]:
        with file.open("rb") as stream:
            sample: dict[str, Any] = self.call(
                "POST",
                f"/voice-actors/{actor_id}/samples",
                files={"audio_file": (file.name, stream)},
                data={"text_content": text},
            )
        return sample

    def wait_for_generation(self, generation_id: str, seconds: float = 600) -> dict[str, Any]:
        """The generation once it is over."""
        return self._wait(f"/voice-actors/tts-generations/{generation_id}", {"queued", "running"}, seconds)

    def wait_for_model(self, model_id: str, seconds: float = 3600) -> dict[str, Any]:
        return self._wait(f"/voice-actors/models/{model_id}", {"training"}, seconds)

    def wait_for_batch(
        self, batch_id: str, watch: Callable[[dict[str, Any]], None], seconds: float = 86_400
    ) -> dict[str, Any]:
        """The batch once it is over; `watch` sees it on the way."""
        return self._wait(f"/voice-actors/batches/{batch_id}", {"running"}, seconds, watch)

    def _wait(
        self,
        path: str,
        busy: set[str],
        seconds: float,
        watch: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> dict[str, Any]:
        deadline, pause = time.monotonic() + seconds, 0.05
        while True:
            thing: dict[str, Any] = self.call("GET", path)
            watch(thing)
            if thing["status"] not in busy:
                return thing
            if time.monotonic() > deadline:
                raise RemoteError(f"Not over after {seconds:.0f} s; it goes on. See {path}.")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)


def _own_url() -> str:
    from app.config import load_settings

    return f"http://127.0.0.1:{load_settings().port}"


def _refusal(answer: httpx.Response) -> RemoteError:
    try:
        problem = answer.json()
        title, detail = problem["title"], problem["detail"]
        message = title if detail in ("", title) else f"{title}. {detail}"
        for error in problem.get("errors", ()):
            message += f"\n  {error['field']}: {error['message']}"
        return RemoteError(message, problem["code"], answer.status_code, problem)
    except (ValueError, KeyError, TypeError):
        return RemoteError(f"The service answered {answer.status_code}.", status=answer.status_code)
