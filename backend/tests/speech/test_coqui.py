"""The coqui engine without the library, and over a stand-in with the library's calls."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from app.speech.coqui import NEEDED_FILES, CoquiEngine
from app.speech.interface import (
    BadVoice,
    Clip,
    EngineUnavailable,
    Failure,
    Recording,
    RunawayGeneration,
    SpeechEngine,
    SpeechError,
    Utterance,
    VoiceState,
)

SETTINGS = SimpleNamespace(
    temperature=0.75, length_penalty=1.0, repetition_penalty=5.0, top_k=50, top_p=0.85,
    max_ref_len=30, gpt_cond_len=30, gpt_cond_chunk_len=4,
)  # fmt: skip
RECORDING = Recording(np.linspace(-0.5, 0.5, 22050, dtype=np.float32), 22050)


class StandIn:
    """Speaks one second of noise from torch's generator; "끝없이" never ends and "깨진" breaks."""

    def __init__(self) -> None:
        self.device = "cpu"
        self.config = SETTINGS
        self.gpt = SimpleNamespace(max_gen_mel_tokens=605)

    @classmethod
    def init_from_config(cls, config: Any) -> StandIn:
        return cls()

    def load_checkpoint(self, config: Any, checkpoint_dir: str, eval: bool) -> None:
        if (Path(checkpoint_dir) / "model.pth").read_bytes() != b"weights":
            raise RuntimeError("size mismatch\n" * 1000)

    def to(self, device: str) -> StandIn:
        return self

    def get_speaker_embedding(self, audio: torch.Tensor, rate: int) -> torch.Tensor:
        return torch.ones(1, 512, 1) * audio.abs().mean()

    def get_gpt_cond_latents(self, audio: torch.Tensor, rate: int, length: int, chunk_length: int) -> Any:
        if audio.shape[1] < 7000:
            raise RuntimeError("too short")
        return torch.zeros(1, 32, 64)

    def inference(self, text: str, language: str, latents: Any, embedding: Any, **settings: Any) -> Any:
        assert latents.shape == (1, 32, 64)
        assert embedding.shape == (1, 512, 1)
        if text == "깨진":
            raise AssertionError("400 tokens")
        codes = 605 if text == "끝없이" else 21
        return {"wav": 3 * torch.randn(24000).numpy(), "gpt_latents": np.zeros((1, codes, 64))}

    def inference_stream(self, *parts: Any, **settings: Any) -> Iterator[torch.Tensor]:
        for _ in range(3):
            yield torch.randn(8000)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    for name in NEEDED_FILES:
        (tmp_path / name).write_bytes(b"weights")
    return tmp_path


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules that the engine imports, as far as it uses them."""
    modules = {
        name: ModuleType(name)
        for name in (
            "TTS", "TTS.tts", "TTS.tts.configs", "TTS.tts.configs.xtts_config", "TTS.tts.models",
            "TTS.tts.models.xtts", "torchaudio",
        )
    }  # fmt: skip
    modules["TTS"].__spec__ = SimpleNamespace(name="TTS")  # type: ignore[assignment]
    modules["TTS.tts.models.xtts"].Xtts = StandIn  # type: ignore[attr-defined]
    modules["TTS.tts.configs.xtts_config"].XttsConfig = lambda: SimpleNamespace(load_json=len)  # type: ignore[attr-defined]
    modules["torchaudio"].functional = SimpleNamespace(resample=lambda audio, *_: audio)  # type: ignore[attr-defined]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def engine(weights: Path, library: None) -> Iterator[CoquiEngine]:
    logger = logging.getLogger("TTS.tts.layers.xtts.tokenizer")
    engine = CoquiEngine(weights)
    engine.load()
    yield engine
    engine.close()
    logger.disabled = False


def speak(engine: CoquiEngine, *utterances: Utterance) -> list[Clip | Failure]:
    async def arriving() -> AsyncIterator[Utterance]:
        for utterance in utterances:
            yield utterance

    async def gather() -> list[Clip | Failure]:
        return [answer async for answer in engine.synthesize(arriving())]

    return asyncio.run(gather())


def test_without_the_library_it_says_what_to_install(weights: Path) -> None:
    engine: SpeechEngine = CoquiEngine(weights)
    status = engine.ping()
    assert not status.available
    assert "pip install" in status.fix
    with pytest.raises(EngineUnavailable) as refusal:
        engine.load()
    assert "pip install" in refusal.value.fix


def test_without_weights_it_says_how_to_fetch_them(tmp_path: Path, library: None) -> None:
    engine = CoquiEngine(tmp_path)
    assert not engine.ping().available
    assert "model.pth" in engine.ping().detail
    with pytest.raises(EngineUnavailable) as refusal:
        engine.load()
    assert "moksori weights fetch" in refusal.value.fix


def test_weights_that_do_not_fit_are_told_in_one_line(weights: Path, library: None) -> None:
    (weights / "model.pth").write_bytes(b"others")
    with pytest.raises(EngineUnavailable) as refusal:
        CoquiEngine(weights).load()
    assert len(str(refusal.value)) < 300


def test_it_speaks_whole_and_in_pieces(engine: CoquiEngine) -> None:
    assert engine.ping().available
    voice = engine.condition([RECORDING, RECORDING])
    assert {name: array.shape for name, array in voice.arrays.items()} == {
        "latents": (32, 64),
        "speaker": (512,),
    }
    assert engine.similarity(RECORDING.audio, 22050, voice) == pytest.approx(1.0)
    whole, again, *pieces = speak(
        engine,
        Utterance("a", "안녕", voice, seed=3),
        Utterance("b", "안녕", voice, seed=3),
        Utterance("c", "안녕", voice, seed=3, stream=True),
    )
    assert isinstance(whole, Clip)
    assert isinstance(again, Clip)
    assert (whole.audio.dtype, whole.audio.shape, whole.sample_rate) == (np.float32, (24000,), 24000)
    assert np.abs(whole.audio).max() <= 1
    assert np.array_equal(whole.audio, again.audio)
    assert [piece.final for piece in pieces if isinstance(piece, Clip)] == [False, False, True]


def test_one_failure_leaves_its_neighbours_alone(engine: CoquiEngine) -> None:
    voice = engine.condition([RECORDING])
    answers = speak(
        engine,
        Utterance("broken", "깨진", voice),
        Utterance("endless", "끝없이", voice),
        Utterance("foreign", "안녕", VoiceState("builtin", {})),
        Utterance("fine", "안녕", voice),
    )
    errors = {answer.utterance_id: type(answer.error) for answer in answers if isinstance(answer, Failure)}
    assert errors == {"broken": SpeechError, "endless": RunawayGeneration, "foreign": BadVoice}
    assert [answer.utterance_id for answer in answers if isinstance(answer, Clip)] == ["fine"]


def test_a_cancelled_utterance_gives_no_clip(engine: CoquiEngine) -> None:
    voice = engine.condition([RECORDING])
    engine.cancel("a")
    answers = speak(engine, Utterance("a", "안녕", voice), Utterance("b", "안녕", voice))
    assert [answer.utterance_id for answer in answers] == ["b"]


def test_recordings_that_cannot_serve_are_refused(engine: CoquiEngine) -> None:
    with pytest.raises(SpeechError, match="at least one"):
        engine.condition([])
    with pytest.raises(SpeechError, match="too short"):
        engine.condition([Recording(np.zeros(100, np.float32), 22050)])
