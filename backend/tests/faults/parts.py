"""An engine, a store and commits with faults: whatever a test wants to go wrong, at the step it names."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, Session

from app.models import Take, TrainingRun
from app.speech.interface import Clip, Failure, Recording, SpeechError, Utterance, VoiceState
from app.speech.mock import MockEngine
from app.storage.interface import StoredAudio
from app.storage.local import LocalStore

# Where a process can die, in the order in which a job comes by. "~" marks the moment after a step.
GENERATION = ("speak", "speak~", "put", "put~", "publish", "publish~")
TRAINING = ("condition", "condition~", "speak", "speak~", "put", "put~", "publish", "publish~")
SERVICE_PID = "TEST_SERVICE_PID"


class EngineBusy(SpeechError):
    code = "engine_busy"
    retry = True


@dataclass(frozen=True)
class Faults:
    """What goes wrong in a worker. `die_at` is a step, `dies` says who is killed -9 when it is reached."""

    die_at: str = ""
    dies: tuple[str, ...] = ("worker",)
    # A text that kills the process that speaks it, each time.
    poison: str = ""
    # A text that the engine is too busy for, so many times; when is appended to `log`.
    busy: str = ""
    busy_times: int = 0
    # A step that waits until this file is there; it says so by making the file `<gate>.reached`.
    wait_at: str = ""
    gate: str = ""
    # Every utterance's text is appended here as it is spoken.
    log: str = ""


class Steps:
    """Where the process is, and what happens there."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._lock = threading.Lock()
        self._busy: Counter[str] = Counter()

    def reach(self, step: str) -> None:
        faults = self._faults
        if step == faults.wait_at:
            gate = Path(faults.gate)
            Path(f"{gate}.reached").touch()
            while not gate.exists():
                time.sleep(0.01)
        if step == faults.die_at:
            if "service" in faults.dies:
                os.kill(int(os.environ[SERVICE_PID]), signal.SIGKILL)
            if "worker" in faults.dies:
                os.kill(os.getpid(), signal.SIGKILL)

    def say(self, text: str) -> SpeechError | None:
        faults = self._faults
        if faults.log:
            with self._lock, Path(faults.log).open("a") as file:
                print(time.monotonic(), text, file=file)
        if faults.poison and faults.poison in text:
            os.kill(os.getpid(), signal.SIGKILL)
        if faults.busy and faults.busy in text:
            self._busy[text] += 1
            if self._busy[text] <= faults.busy_times:
                return EngineBusy("The device is busy.", "Try again.")
        return None

    def watch_commits(self) -> None:
        """Every commit of this process that publishes a take or ends a training as ready is a step."""

        @event.listens_for(Session, "do_orm_execute")
        def executed(state: ORMExecuteState) -> None:
            if state.is_insert and state.statement.table is Take.__table__:  # type: ignore[attr-defined]
                state.session.info["publishes"] = True

        @event.listens_for(Session, "after_flush")
        def flushed(session: Session, _context: Any) -> None:
            if any(isinstance(row, TrainingRun) and row.outcome == "ready" for row in session.dirty):
                session.info["publishes"] = True

        @event.listens_for(Session, "before_commit")
        def committing(session: Session) -> None:
            session.flush()
            if session.info.get("publishes"):
                self.reach("publish")  # all is written and nothing committed

        @event.listens_for(Session, "after_commit")
        def committed(session: Session) -> None:
            if session.info.pop("publishes", False):
                self.reach("publish~")


class FaultyEngine(MockEngine):
    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self._steps = steps

    def condition(self, recordings: Sequence[Recording]) -> VoiceState:
        self._steps.reach("condition")
        voice = super().condition(recordings)
        self._steps.reach("condition~")
        return voice

    async def synthesize(self, utterances: AsyncIterable[Utterance]) -> AsyncIterator[Clip | Failure]:
        failed: list[Failure] = []

        async def taken() -> AsyncIterator[Utterance]:
            async for utterance in utterances:
                self._steps.reach("speak")
                if error := self._steps.say(utterance.text):
                    # The mock answers what it gets: an empty text is the failure that it turns into.
                    failed.append(Failure(utterance.id, error))
                    yield Utterance(utterance.id, "", utterance.voice)
                else:
                    yield utterance

        async for item in super().synthesize(taken()):
            if isinstance(item, Clip):
                self._steps.reach("speak~")
                yield item
            else:
                yield failed.pop() if failed else item


class FaultyStore(LocalStore):
    def __init__(self, folder: Path, steps: Steps) -> None:
        super().__init__(folder)
        self._steps = steps

    def put(self, bucket: str, key: str, stream: BinaryIO, *, seconds: float | None = None) -> StoredAudio:
        self._steps.reach("put")
        stored = super().put(bucket, key, stream, seconds=seconds)
        self._steps.reach("put~")
        return stored
