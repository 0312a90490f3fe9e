from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app.kit import limits
from app.speech.interface import BadVoice, EngineUnavailable, Recording
from app.speech.xtts.checkpoint import convert
from app.speech.xtts.linear import Precision
from app.speech.xtts.measuring import Measuring
from app.speech.xtts.model import Model, best_precision, check_precision
from tests.speech.xtts.checkpoints import recording

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_precision_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert best_precision(CPU) == "fp32"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", torch.backends.mkldnn.is_available)
    assert best_precision(CPU) == ("bf16" if torch.backends.mkldnn.is_available() else "fp32")


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_precision_that_the_processor_has_not_is_refused(
    precision: Precision, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineUnavailable, match=precision) as refusal:
        Model(tiny_folder, precision)
    assert "MOKSORI_XTTS_PRECISION" in refusal.value.fix
    check_precision("fp32", CPU)


def test_a_precision_that_the_gpu_has_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    check_precision("fp32", GPU)
    for precision in ("bf16", "int8"):
        with pytest.raises(EngineUnavailable):
            check_precision(precision, GPU)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    for precision in ("bf16", "int8"):
        check_precision(precision, GPU)


def test_no_more_threads_than_a_container_has_cores(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "cores", lambda: 1)
    before = torch.get_num_threads()
    try:
        Model(tiny_folder, "fp32")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_voices_outlive_a_conversion(tiny: Model, tiny_folder: Path, tmp_path: Path) -> None:
    """A voice made with the official folder speaks with the converted one."""
    converted = Model(convert(tiny_folder, tmp_path / "converted"), "bf16")
    assert converted.fingerprint == tiny.fingerprint
    assert converted.precision in converted.description
    voice = converted.condition([Recording(recording(0, 1.0, 22050), 22050)])
    assert tiny.similarity(recording(0, 1.0, 22050), 22050, voice) == pytest.approx(1.0, abs=1e-3)


def test_recordings_in_any_memory(tiny: Model) -> None:
    """Read-only, backwards, and of double precision: as they come from files and views."""
    usual = recording(0, 1.0, 22050)
    fixed = usual.copy()
    fixed.flags.writeable = False
    expected = tiny.condition([Recording(usual, 22050)]).arrays["speaker"]
    for audio in (fixed, np.ascontiguousarray(usual[::-1])[::-1], usual.astype(np.float64)):
        voice = tiny.condition([Recording(audio, 22050)])
        np.testing.assert_allclose(voice.arrays["speaker"], expected, atol=1e-6)
        assert tiny.similarity(audio, 22050, voice) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    "damaged", ["gpt.conditioning_perceiver.norm.gamma", "hifigan_decoder.speaker_encoder.fc.weight"]
)
def test_damaged_weights_are_not_laid_on_the_voice(tiny_folder: Path, tmp_path: Path, damaged: str) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "damaged"))
    state = torch.load(folder / "model.pth", weights_only=True)
    state["model"][damaged][0] = torch.nan
    torch.save(state, folder / "model.pth")
    with pytest.raises(EngineUnavailable, match="weights hold no numbers") as refusal:
        Model(folder, "fp32").condition([Recording(recording(0, 1.0, 22050), 22050)])
    assert "weights fetch" in refusal.value.fix


def test_too_short_to_tell_who_speaks(tiny: Model) -> None:
    voice = tiny.condition([Recording(recording(0, 1.0, 22050), 22050)])
    assert tiny.similarity(recording(0, 0.05, 24000), 24000, voice) is None
    assert tiny.similarity(np.zeros(0, np.float32), 24000, voice) is None
    assert tiny.similarity(recording(0, 0.2, 24000), 24000, voice) is not None


def test_similarities_computed_together_are_the_same(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a GPU computes them."""
    voice = tiny.condition([Recording(recording(0, 1.0, 22050), 22050)])
    clips = [(recording(seed, 0.5 + seed / 3, rate), rate) for seed, rate in enumerate((22050, 24000, 16000))]
    one_by_one = [tiny.similarity(audio, rate, voice) for audio, rate in clips]
    assert len({round(each, 3) for each in one_by_one}) == 3
    monkeypatch.setattr(tiny, "_measuring", Measuring(tiny._speaker, tiny.device))
    together = [tiny.similarity(audio, rate, voice) for audio, rate in clips]
    assert together == pytest.approx(one_by_one, abs=1e-5)
    assert tiny.similarity(recording(0, 0.05, 24000), 24000, voice) is None


def test_a_take_is_not_lost_for_want_of_a_similarity(
    tiny: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever broke, and wherever it is measured; but a voice that is not one is told of."""
    voice = tiny.condition([Recording(recording(0, 1.0, 22050), 22050)])
    faults = [torch.OutOfMemoryError("no memory"), RuntimeError("CUDNN_STATUS_EXECUTION_FAILED")]

    def broken(*_: object) -> torch.Tensor:
        raise faults[-1]

    monkeypatch.setattr(tiny._speaker, "measure", broken)
    while faults:
        for measuring in (broken, None):
            monkeypatch.setattr(tiny, "_measuring", measuring)
            assert tiny.similarity(recording(0, 1.0, 22050), 22050, voice) is None
        assert [record.message for record in caplog.records] == ["tts.xtts.no_similarity"] * 2
        caplog.clear()
        faults.pop()
    with pytest.raises(BadVoice):
        tiny.similarity(recording(0, 1.0, 22050), 22050, replace(voice, engine="mock"))


def test_a_lost_gpu_is_left_when_a_similarity_finds_it(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not asked where memory ran out, for that may be while another thread records."""
    voice = tiny.condition([Recording(recording(0, 1.0, 22050), 22050)])
    left: list[torch.device] = []
    monkeypatch.setattr("app.speech.xtts.model.leave_if_lost", left.append)

    def similarity(error: Exception) -> float | None:
        def broken(*_: object) -> torch.Tensor:
            raise error

        monkeypatch.setattr(tiny, "_measuring", broken)
        return tiny.similarity(recording(0, 1.0, 22050), 22050, voice)

    assert similarity(torch.OutOfMemoryError("no memory")) is None
    assert left == []
    assert similarity(torch.AcceleratorError("CUDA error: unspecified launch failure")) is None
    assert left == [tiny.device]
