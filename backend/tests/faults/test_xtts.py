"""The xtts engine dies or runs out of memory in the middle of a batch: the work ends all the same, once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from app.kit.ids import new_id
from app.models import Script, Take, VoiceModel
from app.speech.interface import VoiceState
from app.speech.xtts.checkpoint import open_checkpoint
from app.speech.xtts.model import fingerprint
from app.voice_models.state import put_state
from tests.faults.promises import Premises
from tests.faults.xtts import XttsFaults, worker
from tests.speech.xtts import checkpoints

ENDS_SOON = 6.0  # some 5 to 100 codes
TEXTS = ["안녕하세요, 고객님.", "잠시만 기다려 주십시오.", "감사합니다. 좋은 하루 보내세요."]
SOON = 30.0  # half of what a worker may be silent before it is taken for dead


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.tiny(tmp_path_factory.mktemp("faults") / "checkpoint", ENDS_SOON)


@pytest.fixture
def model(premises: Premises, checkpoint: Path) -> str:
    """A trained voice of that checkpoint."""
    arrays = checkpoints.reference()
    state = VoiceState(
        "xtts",
        {part: arrays[f"voice/one/{part}"] for part in ("latents", "speaker")},
        {"checkpoint": fingerprint(open_checkpoint(checkpoint))},
    )
    service = premises.service
    model_id = service.model(ready=False)
    key = f"{model_id}/{new_id()}"
    put_state(service.container.store, key, state)
    with service.container.database.session() as session:
        row = session.get_one(VoiceModel, model_id)
        row.state_key, row.engine, row.version = key, "xtts", 1
    return model_id


def asked(premises: Premises, model: str, number: int) -> tuple[list[str], list[str]]:
    """A batch of so many scripts of different texts and seeds; their ids and their generations'."""
    service = premises.service
    with service.container.database.session() as session:
        rows = [
            Script(voice_model_id=model, title="", text=TEXTS[each % 3], seed=each % 6)
            for each in range(number)
        ]
        session.add_all(rows)
    started = service.batch([row.id for row in rows])
    return [row.id for row in rows], [item["generation_id"] for item in started["scripts"]]


def done(premises: Premises, model: str) -> tuple[list[str], list[str | None]]:
    """Scripts that were spoken before anything went wrong, and their takes."""
    scripts, generations = asked(premises, model, 2)
    premises.ended(generations)
    return scripts, takes_of(premises, scripts)


def takes_of(premises: Premises, scripts: list[str]) -> list[str | None]:
    return [premises.service.row(Script, each).current_take_id for each in scripts]


def all_done(premises: Premises, generations: list[str]) -> None:
    premises.ended(generations)
    shown = [premises.service.generation(each) for each in generations]
    assert [each["failure"] for each in shown] == [None] * len(shown), premises.house.output()
    premises.check()


@pytest.mark.parametrize(
    "fault",
    [{"die_at_step": 25}, {"die_at_voicing": 4}, {"lost_at_step": 25}],
    ids=lambda fault: next(iter(fault)),
)
def test_killed_in_the_middle_of_a_batch(
    premises: Premises, model: str, checkpoint: Path, tmp_path: Path, fault: dict[str, int]
) -> None:
    """Some of the batch is spoken, some is being spoken and some waits."""
    armed = tmp_path / "armed"
    dying = XttsFaults(str(checkpoint), str(armed), **fault)  # type: ignore[arg-type]
    first = worker(premises.house, dying)
    neighbours, before = done(premises, model)
    armed.touch()
    scripts, generations = asked(premises, model, 12)
    assert first.wait() == -9
    assert premises.service.container.jobs.counts().queues["speech"][1] > 1
    began = time.monotonic()
    worker(premises.house, XttsFaults(str(checkpoint)))
    all_done(premises, generations)
    assert time.monotonic() - began < SOON
    assert all(takes_of(premises, scripts))
    assert takes_of(premises, neighbours) == before


def test_out_of_memory_in_the_middle_of_a_batch(
    premises: Premises, model: str, checkpoint: Path, tmp_path: Path
) -> None:
    """In the decoding, then in the vocoder: half as many at once each time, and the same audio."""
    log, armed = tmp_path / "log", tmp_path / "armed"
    short = XttsFaults(
        str(checkpoint), str(armed), no_memory_at_steps=(20,), no_memory_at_voicings=(5,), log=str(log)
    )
    worker(premises.house, short)
    neighbours, before = done(premises, model)
    armed.touch()
    scripts, generations = asked(premises, model, 12)
    all_done(premises, generations)
    assert log.read_text().splitlines() == ["2 OutOfMemoryError", "1 OutOfMemoryError"]
    assert all(takes_of(premises, scripts))
    assert takes_of(premises, neighbours) == before
    # The same text and seed at another time, with other neighbours and less memory: equally long.
    lengths = [premises.service.row(Take, str(take)).seconds for take in takes_of(premises, scripts)]
    assert lengths == lengths[:6] * 2
    assert len(set(lengths)) > 1


def test_a_kernel_that_gives_no_more_memory(
    premises: Premises, model: str, checkpoint: Path, tmp_path: Path
) -> None:
    """Room for an eighth of what so many slots would take: the batch shrinks until it fits."""
    log = tmp_path / "log"
    worker(premises.house, XttsFaults(str(checkpoint), slots=32_768, room=1 << 30, log=str(log)))
    _, generations = asked(premises, model, 12)
    all_done(premises, generations)
    lines = log.read_text().splitlines()
    assert lines
    assert {line.split()[1] for line in lines} <= {
        "RuntimeError",
        "OSError",
        "MemoryError",
        "_ArrayMemoryError",
    }
