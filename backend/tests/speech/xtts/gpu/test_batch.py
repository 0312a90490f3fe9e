"""The batch over a cache in pages, and on a GPU all of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.speech.interface import Clip, Failure, Utterance, VoiceState
from app.speech.xtts import gpu, memory, voicing
from app.speech.xtts.batch import Batch
from app.speech.xtts.checkpoint import open_checkpoint
from app.speech.xtts.gpt import Gpt
from app.speech.xtts.model import Model
from app.speech.xtts.runner import Runner
from app.speech.xtts.sampling import Sampling
from app.speech.xtts.tokenizer import Tokenizer
from app.speech.xtts.vocoder import Vocoder
from app.speech.xtts.voicing import Voicing
from tests.speech.xtts.gpu.devices import CPU, CUDA, PRECISIONS
from tests.speech.xtts.test_batch import NO_MEMORY, Trouble, audio_of, ended_once, run, utterance

Audio = NDArray[np.float32]
TEXTS = ("네", "네, 고객님", "안녕하세요, 고객님. 반갑습니다.")


def some(voice: VoiceState, count: int) -> list[Utterance]:
    return [
        utterance(voice, str(n), seed=n, text=TEXTS[n % len(TEXTS)], stream=n % 3 == 1) for n in range(count)
    ]


def over_pages(paged: Gpt, folder: Path, fingerprint: str, slots: int, room: int) -> Batch:
    opened = open_checkpoint(folder)
    weights = opened.weights.under("hifigan_decoder.waveform_decoder")
    vocoder = Vocoder(weights, "fp32", CPU)
    runner = Runner(paged, slots, Sampling(), room)
    tokenizer = Tokenizer(opened.vocabulary, opened.text_tokens)
    batch = Batch(tokenizer, runner, Voicing(vocoder, CPU), opened.settings, fingerprint, CPU)
    batch.exact_codes = 60
    return batch


@pytest.mark.parametrize("trouble", [(), (5, 40)], ids=["", "memory runs out twice"])
def test_those_that_do_not_fit_wait_and_all_are_spoken(
    trouble: Sequence[int],
    paged: Gpt,
    ending_folder: Path,
    voice: VoiceState,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The room that there is at least is enough for two."""
    fingerprint = voice.metadata["checkpoint"]
    expected = audio_of(run(over_pages(paged, ending_folder, fingerprint, 8, 8 * 640), some(voice, 7)))
    batch = over_pages(paged, ending_folder, fingerprint, 4, 0)
    runner, most = batch._runner, 0
    if trouble:
        monkeypatch.setattr(runner, "start", Trouble(runner.start, NO_MEMORY[0], *trouble))
    for item in some(voice, 7):
        batch.add(item)
    events: list[Clip | Failure] = []
    while batch.busy:
        events += batch.step()
        most = max(most, len(runner.rows))
        assert sum(runner.takes(row.job) for row in runner.rows) <= runner.room
    ended_once(events, list(expected))
    for name, audio in audio_of(events).items():
        np.testing.assert_allclose(audio, expected[name], atol=1e-4)
    assert most == 2
    assert batch.slots == (1 if trouble else 4)


if CUDA:
    import triton

    from app.speech.xtts.gpu import convolution, kernels

    BOUNDS = {"fp32": 1e-4, "bf16": 0.01}
    PYTORCH = "fp32 by PyTorch"  # as on GPUs before Ampere

    @pytest.fixture(scope="module", params=[*PRECISIONS, PYTORCH])
    def model(request: pytest.FixtureRequest, ending_folder: Path) -> Iterator[Model]:
        with pytest.MonkeyPatch.context() as patch:
            if request.param == PYTORCH:
                patch.setattr(gpu, "usable", lambda device: False)
            model = Model(ending_folder, request.param.split()[0])
            assert model.gpt.paged == (request.param != PYTORCH)
            yield model

    def batch_of(model: Model, slots: int = 4) -> Batch:
        batch = model.batch(slots)
        batch.exact_codes = 40
        return batch

    @pytest.fixture(scope="module")
    def alone(model: Model, voice: VoiceState) -> dict[str, Audio]:
        """One after the other, as a whole."""
        batch = batch_of(model, 1)
        each = [run(batch, [replace(item, stream=False)]) for item in some(voice, 7)]
        return audio_of([event for events in each for event in events])

    def assert_same(
        events: Sequence[Clip | Failure], names: str, alone: dict[str, Audio], model: Model
    ) -> None:
        ended_once(events, names)
        for name, audio in audio_of(events).items():
            assert len(audio) == len(alone[name]) > 0
            distance = np.linalg.norm(audio - alone[name]) / np.linalg.norm(audio)
            assert distance < BOUNDS[model.precision]

    def test_in_a_batch_as_alone(model: Model, voice: VoiceState, alone: dict[str, Audio]) -> None:
        """Some streamed, some as a whole."""
        events = run(batch_of(model, 3), some(voice, 7))
        assert len(events) > 7 + 2
        assert_same(events, "0123456", alone, model)

    def test_cancelled_while_its_audio_is_under_way(
        model: Model, voice: VoiceState, alone: dict[str, Audio], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        batch, names = batch_of(model), sorted(alone, key=lambda name: len(alone[name]))
        other, cancelled = (replace(some(voice, 7)[int(name)], stream=True) for name in names[-2:])
        with monkeypatch.context() as patch:
            patch.setattr(voicing.Spoken, "ready", False)
            batch.add(cancelled)
            while not batch._underway:
                assert batch.step() == []
            assert batch.cancel(cancelled.id)
            assert not batch.busy
            batch.add(other)
            events = [event for _ in range(80) for event in batch.step()]
        assert not batch.busy
        assert_same(events, other.id, alone, model)

    @pytest.mark.parametrize("where", ["admit", "start", "vocoder"])
    def test_out_of_memory_halves_the_batch_and_all_are_spoken(
        where: str,
        model: Model,
        voice: VoiceState,
        alone: dict[str, Audio],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        batch = batch_of(model, 8)
        part, name = (batch._voicing, "_vocoder") if where == "vocoder" else (batch._runner, where)
        call = {"admit": 0, "start": 20, "vocoder": 1}[where]
        monkeypatch.setattr(part, name, Trouble(getattr(part, name), NO_MEMORY[0], call))
        assert_same(run(batch, some(voice, 5)), "01234", alone, model)
        assert batch.slots == 4
        assert batch._runner.rows == []

    def test_memory_that_really_runs_out(model: Model, voice: VoiceState, alone: dict[str, Audio]) -> None:
        """There is too little for so many slots, and enough for a part of them."""
        batch = batch_of(model, 4096)
        torch.cuda.empty_cache()
        there = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 400e6) / there)
        try:
            assert_same(run(batch, some(voice, 5)), "01234", alone, model)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        assert 1 < batch.slots < 4096

    def test_prepared_it_is_empty_and_nothing_is_left_to_be_compiled_or_recorded(
        model: Model, voice: VoiceState, alone: dict[str, Audio], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nor for those that join others."""
        for kernel in (*vars(kernels).values(), *vars(convolution).values()):
            if isinstance(kernel, triton.JITFunction):
                kernel.device_caches.clear()
        batch, compiled = model.batch(3), []
        batch.prepare()
        assert not batch.busy
        assert (batch._runner.rows, batch.exact_codes, batch.slots) == ([], None, 3)
        monkeypatch.setattr(
            triton.knobs.runtime, "jit_cache_hook", lambda **kernel: compiled.append(kernel["repr"])
        )
        recorded = dict(batch._runner._graphs)
        batch.exact_codes = 40
        assert_same(run(batch, some(voice, 7)), "0123456", alone, model)
        assert batch._runner._graphs == recorded
        assert compiled == []

    def test_slots_follow_the_memory_there_is(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        longest = memory.longest(model.settings, model.gpt.max_prompt)
        positions = memory.POSITIONS if model.gpt.paged else longest
        slot = memory.slot_bytes(model.settings, model.gpt.vector_bytes, positions)
        for there, slots in ((memory._REST + 10.5 * slot, 10), (80e9, 64), (1e9, 1)):
            monkeypatch.setattr(torch.cuda, "mem_get_info", lambda there=there: (int(there), 10**11))
            assert model.default_slots() == slots
            assert model.batch()._runner.room == (slots * memory.POSITIONS if model.gpt.paged else 0)
