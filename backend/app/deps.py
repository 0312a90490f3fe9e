"""What endpoints ask for: the service's parts, and a session that has committed before the answer leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Protocol

import structlog
from fastapi import Depends, Request
from sqlalchemy.orm import Session

from app.config import Settings
from app.jobs import Jobs
from app.kit.database import Database
from app.speech.interface import SpeechEngine, VoiceState
from app.speech.speaker import Speaker
from app.storage.interface import AudioStore

log = structlog.get_logger()


class VoiceStates(Protocol):
    def get(self, state_key: str) -> VoiceState:
        """The voice state under a key of the store. Raises NotThere or BadVoice."""


@dataclass(frozen=True, slots=True)
class Container:
    """The parts of one process, picked in `app.bootstrap`.

    `engine` and `speaker` are loaded when a worker first needs them; in the service they never are.
    """

    settings: Settings
    database: Database
    jobs: Jobs
    store: AudioStore
    engine: SpeechEngine
    engine_reason: str  # why this engine was chosen
    speaker: Speaker
    states: VoiceStates
    engines: tuple[SpeechEngine, ...] = ()  # all there are, for the diagnosis to ask


def get_container(request: Request) -> Container:
    container: Container = request.app.state.container
    return container


Parts = Annotated[Container, Depends(get_container)]


def _writing(container: Parts) -> Iterator[Session]:
    with container.database.session() as session:
        yield session


def _reading(container: Parts) -> Iterator[Session]:
    with container.database.reading() as session:
        yield session


# scope="function": the commit, and its failure, come before the answer and not after it.
Writing = Annotated[Session, Depends(_writing, scope="function")]
Reading = Annotated[Session, Depends(_reading, scope="function")]


def forget_files(store: AudioStore, bucket: str, keys: list[str]) -> None:
    """Delete files whose rows are gone. What fails here is swept later: no row points at it."""
    for key in keys:
        try:
            store.delete(bucket, key)
        except Exception as error:
            log.warning("storage.delete_failed", bucket=bucket, error=type(error).__name__)
