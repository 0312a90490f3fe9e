"""One live request in a worker: heard as it is spoken, and kept as every other generation."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
from sqlalchemy.exc import IntegrityError

from app.audio.level import Leveller
from app.deps import Container
from app.generation import speaking
from app.generation.errors import VoiceNotReady
from app.generation.live.cutting import Joints
from app.generation.live.orders import Order, follow, new_generation, script_of
from app.generation.speaking import TRIES, Work
from app.kit.clock import now
from app.kit.database import UNAVAILABLE
from app.lexicons.service import readings
from app.models import Generation, Take, VoiceModel
from app.speech.interface import Audio, Clip, SpeechError
from app.speech.speaker import SpeakingCancelled

log = structlog.get_logger()
# A job waits until its database takes its end; here somebody listens, and is told.
FAILURES = (*speaking.FAILURES, *UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Begun:
    """The first audio is there: nothing but a fault can stop it now. `rate` in Hz."""

    generation_id: str
    rate: int
    engine: str


@dataclass(frozen=True, slots=True)
class Ended:
    """All was said, and the take is kept."""

    generation_id: str
    seconds: float


def speak(
    container: Container, order: Order, cancelled: Callable[[], bool] = lambda: False
) -> Generator[Begun | Audio | Ended, None, None]:
    """Begun, audio as it is made, Ended once the take is published.

    Raises what it can fail of (`FAILURES`), after writing it down. Left early, or once `cancelled` says so, the
    work stops and the generation is kept as cancelled.
    """
    with container.database.reading() as session:
        model = session.get(VoiceModel, order.voice_model_id)
        read = readings(session, best_effort=container.settings.best_effort)
    if model is None:
        raise VoiceNotReady
    generation, heard = new_generation(order), False
    try:
        work = speaking.prepare(container, generation, model, read)
        spoken: list[list[Audio]] = [[]]
        rate = container.engine.sample_rate
        joints = Joints(work.parts, rate)
        leveller = Leveller(rate, container.settings.take_loudness, container.settings.take_true_peak)
        with closing(_clips(container, work, cancelled)) as clips:
            for clip in clips:
                spoken[-1].append(clip.audio)
                if clip.final:
                    spoken.append([])
                for audio in leveller.feed(joints.feed(clip.audio, final=clip.final)):
                    if not heard:
                        yield Begun(generation.id, rate, container.engine.name)
                        heard = True
                    yield audio
        if len(audio := leveller.end()):
            if not heard:
                yield Begun(generation.id, rate, container.engine.name)
            yield audio
        whole = [np.concatenate(part) for part in spoken if part]
        take = speaking.store(container, work, speaking.finish(container, work, whole, rate))
        _keep(container, order, generation, take)
    except (SpeakingCancelled, GeneratorExit) as error:
        _note(container, order, generation, outcome="cancelled")
        log.info("tts.live_cancelled", generation=generation.id, heard=heard)
        if isinstance(error, GeneratorExit):
            raise
    except FAILURES as error:
        failure = speaking.failure_of(error)
        _note(container, order, generation, outcome="failed", failure=failure)
        log.warning("tts.failed", generation=generation.id, code=failure["code"])
        raise
    else:
        log.info("tts.generated", generation=generation.id, seconds=round(take.seconds, 2), live=True)
        yield Ended(generation.id, take.seconds)


def _clips(container: Container, work: Work, cancelled: Callable[[], bool]) -> Generator[Clip, None, None]:
    """The parts' clips in order; what another try may mend is tried again while nothing has been heard."""
    for attempt in range(1, TRIES + 1):
        heard = False
        try:
            said = speaking.utterances(work, f"live.{attempt}", stream=True)
            with closing(container.speaker.in_order(said, cancelled)) as clips:
                for clip in clips:
                    heard = True
                    yield clip
            return
        except SpeechError as error:
            if heard or not error.retry or attempt == TRIES or cancelled():
                raise
            log.warning("tts.retried", generation=work.generation.id, code=error.code, attempt=attempt)


def _note(
    container: Container,
    order: Order,
    generation: Generation,
    *,
    outcome: str,
    failure: dict[str, Any] | None = None,
) -> None:
    """Write down a generation without a take; what a full disk does not keep is told all the same."""
    generation.outcome, generation.failure, generation.ended_at = outcome, failure, now()
    try:
        _keep(container, order, generation)
    except UNAVAILABLE as error:
        log.warning("tts.live_not_kept", generation=generation.id, error=type(error).__name__)


def _keep(container: Container, order: Order, generation: Generation, take: Take | None = None) -> None:
    """Write the generation down, over as it is: it was never in a state that a crash could leave it in."""
    if take:
        generation.fingerprint = take.fingerprint
    for last in (False, True):
        try:
            with container.database.session() as session:
                script = script_of(session, order)
                session.add(generation)
                session.flush()
                if take:
                    speaking.publish(session, generation, take)
                    session.refresh(script)
                    if script.current_take_id == take.id:
                        follow(script, order)
            return
        except IntegrityError:  # another request made the client's script at the same moment
            if last:
                raise
