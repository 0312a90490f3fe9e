"""One script from its text to its take: the steps that a durable job and a live request share."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import structlog
from sqlalchemy import case, insert, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.audio.formats import encode
from app.audio.loudness import Levelled, set_loudness
from app.audio.measure import TakeReport, measure_take
from app.audio.shape import join, trim
from app.deps import Container
from app.generation.errors import VoiceNotReady
from app.generation.fingerprint import fingerprint
from app.generation.turns import Turns
from app.kit import limits, priority
from app.kit.clock import now
from app.kit.database import is_full
from app.kit.errors import AppError
from app.kit.ids import new_id
from app.lexicons.service import Readings
from app.models import Generation, Script, Take, VoiceModel
from app.speech.interface import Audio, SpeechError, Utterance, VoiceState
from app.storage.interface import StorageError, StoreFull
from app.text import Part, Reading, UnclearText, split

log = structlog.get_logger()
T = TypeVar("T")
BUCKET = "takes"
EDGE_SECONDS = 0.1  # silence at both ends of a take
JOINT_SECONDS = 0.02  # what a part keeps of its own silence at a joint
FINISHING = Turns(limits.cores())
# What nobody waits for is computed with the time that the engine leaves over: its threads wait for one
# another hundreds of times a step, and one of them that has to give way holds up all.
_ASIDE = ThreadPoolExecutor(limits.cores(), "finishing", initializer=priority.give_way)
# Another try on a fault of the engine or the store; what a text or a voice lacks, it lacks again.
TRIES = 3


@dataclass(frozen=True, slots=True)
class Work:
    """What a generation comes down to: its parts, read and parted, and the voice to say them in."""

    generation: Generation
    model: VoiceModel
    reading: Reading
    parts: tuple[Part, ...]
    voice: VoiceState
    lexicons: list[dict[str, Any]]  # id and version of those it was read with


@dataclass(frozen=True, slots=True)
class Finished:
    """The audio of a take, (samples,) at `rate` Hz and at the set loudness, with its measurements."""

    audio: Audio
    rate: int
    report: TakeReport


def prepare(container: Container, generation: Generation, model: VoiceModel | None, read: Readings) -> Work:
    """Read and part the text. Raises VoiceNotReady, UnclearText, BadMarkup, SpeechError or StorageError."""
    if model is None or model.state_key is None:
        raise VoiceNotReady
    language = generation.settings["language"]
    reading = read.read(generation.text, language=language, script_id=generation.script_id)
    if not container.settings.best_effort:
        reading.require_clear()
    parts = split(reading)
    if not parts:
        raise SpeechError("There is nothing to say in this text.", "Write some words.")
    lexicons = read.in_force(generation.script_id)
    return Work(generation, model, reading, parts, container.states.get(model.state_key), lexicons)


def utterances(work: Work, attempt: str, *, stream: bool = False) -> list[Utterance]:
    """One for each part, in order; `attempt` tells the tries of a generation apart."""
    generation, settings = work.generation, work.generation.settings
    return [
        Utterance(
            id=f"{generation.id}.{attempt}.{number}",
            text=part.text,
            voice=work.voice,
            language=settings["language"],
            speed=min(2.0, max(0.5, settings["speed"] * part.rate)),
            seed=seed_of(settings["seed"], number),
            interactive=generation.interactive,
            stream=stream,
        )
        for number, part in enumerate(work.parts)
    ]


def seed_of(seed: int, number: int) -> int:
    """A seed for each part: the same script and seed give the same audio, and parts differ."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}".encode()).digest()[:4], "big") >> 1


def finish(container: Container, work: Work, spoken: Sequence[Audio], rate: int) -> Finished:
    """The parts' audio, each (samples,) at `rate` Hz, joined, brought to the set loudness, and measured.

    No more of it is computed here at once than there are cores, and first what somebody waits for.
    """
    engine = container.engine

    def similarity(levelled: Levelled) -> float | None:
        return engine.similarity(levelled.audio, rate, work.voice)

    if engine.measures_elsewhere:  # others have the cores meanwhile
        levelled = _in_turn(work, _shape, container, work, spoken, rate)
        return _in_turn(work, _measure, container, work, levelled, rate, similarity(levelled))

    def whole() -> Finished:
        levelled = _shape(container, work, spoken, rate)
        return _measure(container, work, levelled, rate, similarity(levelled))

    return _in_turn(work, whole)


def _in_turn(work: Work, compute: Callable[..., T], *arguments: Any) -> T:
    if work.generation.interactive:
        with FINISHING.turn(first=True):
            return compute(*arguments)
    with FINISHING.turn(first=False):
        return _ASIDE.submit(compute, *arguments).result()


def _shape(container: Container, work: Work, spoken: Sequence[Audio], rate: int) -> Levelled:
    trimmed = [trim(audio, rate, lead=JOINT_SECONDS, tail=JOINT_SECONDS) for audio in spoken]
    joined = np.asarray(join(trimmed, [part.pause for part in work.parts[:-1]], rate))
    audio = trim(joined, rate, lead=EDGE_SECONDS, tail=EDGE_SECONDS)
    settings = container.settings
    return set_loudness(audio, rate, settings.take_loudness, settings.take_true_peak)


def _measure(
    container: Container, work: Work, levelled: Levelled, rate: int, similarity: float | None
) -> Finished:
    report = measure_take(
        levelled.audio, rate, work.reading.text,
        similarity=similarity, simulated=container.engine.simulated,
        speed=work.generation.settings["speed"], lufs=container.settings.take_loudness, levelled=levelled,
    )  # fmt: skip
    return Finished(levelled.audio, rate, report)


def store(container: Container, work: Work, finished: Finished) -> Take:
    """Write the take's file; its row, not yet in any session. Raises StorageError."""
    generation, model = work.generation, work.model
    # Of the reading that was spoken: a lexicon may have changed since the generation was asked for.
    made_of = fingerprint(
        generation.text,
        generation.settings,
        model,
        work.reading,
        container.engine.name,
        container.settings,
    )
    # A key of this attempt's own: after a crash there is the old state or the new one, and at worst a
    # file that no row knows, which is swept. It is not deleted when the commit fails: a commit whose
    # answer was lost may have happened.
    key = f"{generation.script_id}/{generation.id}-{new_id()}.wav"
    seed, seconds = generation.settings["seed"], len(finished.audio) / finished.rate
    data = encode(finished.audio, finished.rate, "wav", seed=seed)
    try:
        stored = container.store.put(BUCKET, key, io.BytesIO(data), seconds=seconds)
    except StoreFull:
        log.error("tts.storage_full", generation=generation.id)
        raise
    return Take(
        id=new_id(), generation_id=generation.id, script_id=generation.script_id, voice_model_id=model.id,
        model_version=model.version, engine=container.engine.name,
        simulated=container.engine.simulated, fingerprint=made_of,
        text=generation.text, reading=reading_document(work.reading) | {"lexicons": work.lexicons},
        seed=seed, audio_key=key, sha256=stored.sha256, bytes=stored.bytes,
        seconds=seconds, sample_rate=finished.rate, quality_score=finished.report.quality_score,
        report=asdict(finished.report),
    )  # fmt: skip


def publish(session: Session, generation: Generation, take: Take) -> bool:
    """Make a take its generation's end and, unless a newer one is there, its script's current one.

    False, and nothing is written, if the generation is over or gone. Rows and no objects: on SQLite nobody else
    writes between the first of these and the commit.
    """
    ended = session.execute(
        update(Generation)
        .where(Generation.id == generation.id, Generation.outcome.is_(None))
        .values(outcome="done", take_id=take.id, ended_at=now()),
        execution_options={"synchronize_session": False},
    )
    if not ended.rowcount:  # type: ignore[attr-defined]
        return False
    columns = Take.__table__.columns.keys()
    values = {name: value for name in columns if (value := getattr(take, name)) is not None}
    session.execute(insert(Take.__table__), values)  # type: ignore[arg-type]
    # An older generation that ends late does not take the place of a newer one's take.
    newer = select(Take.id).where(Take.id == Script.current_take_id, Take.generation_id >= generation.id)
    session.execute(
        update(Script)
        .where(Script.id == generation.script_id, ~newer.exists())
        .values(
            current_take_id=take.id,
            stale_at=case((Script.stale_at > generation.created_at, Script.stale_at)),
        ),
        execution_options={"synchronize_session": False},
    )
    return True


def failure_of(error: UnclearText | SpeechError | StorageError | AppError | DBAPIError) -> dict[str, Any]:
    """What a generation keeps of why it failed: code, message, what to do, and unclear characters."""
    match error:
        case UnclearText():
            return {
                "code": "unclear_text",
                "message": str(error),
                "fix": "Write these characters as they are spoken, or add a lexicon entry.",
                "unclear": [asdict(each) for each in error.unclear],
            }
        case AppError():
            return {"code": error.code, "message": error.detail, "fix": error.title}
        case DBAPIError() if is_full(error):
            return {
                "code": "storage_full",
                "message": "The disk is full.",
                "fix": "Free some space and try again.",
            }
        case DBAPIError():
            return {
                "code": "database_unavailable",
                "message": "The database does not answer.",
                "fix": "Try again in a moment.",
            }
    return {"code": error.code, "message": str(error), "fix": error.fix}


FAILURES = (UnclearText, SpeechError, StorageError, AppError)


def reading_document(reading: Reading) -> dict[str, Any]:
    """What a take keeps of how its text was read."""
    return {
        "text": reading.text,
        "trace": [
            {
                "start": span.start, "end": span.end, "written": span.written, "spoken": span.spoken,
                "kind": span.kind, "rule": span.rule, "alternatives": list(span.alternatives),
                "confidence": span.confidence,
            }
            for span in reading.trace
        ],
    }  # fmt: skip
