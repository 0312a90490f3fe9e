"""The coqui engine over coqui-tts where that is installed (`make coqui`), and over a stand-in with its calls."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from app.speech import packages
from app.speech.coqui import NEEDED_FILES, CoquiEngine
from app.speech.interface import (
    BadRecording,
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
from tests.speech.xtts import checkpoints

LIBRARIES = ["stand-in", *(["coqui-tts"] if importlib.util.find_spec("TTS") else [])]
SETTINGS = SimpleNamespace(
    temperature=0.75, length_penalty=1.0, repetition_penalty=5.0, top_k=50, top_p=0.85,
    max_ref_len=30, gpt_cond_len=30, gpt_cond_chunk_len=4,
)  # fmt: skip
STOP = checkpoints.STOP_CODE
ENDS, SEED = 6.0, 4  # a bias of the stop code, and a seed, with which it comes after 57 codes
RECORDING = Recording(checkpoints.recording(1, 1.0, 22050), 22050)
TEXT = "안녕하세요"
VERSIONS = {
    "coqui-tts": "0.28.0",
    "torch": "2.11.0+cpu",
    "torchaudio": "2.11.0",
    "torchcodec": "0.17.0",
    "six": "1.17.0",
}
TOO_LONG = "가 " * 400


class StandIn:
    """Speaks noise from torch's generator for fifty codes, or for as many as there may be if none may end."""

    def __init__(self) -> None:
        self.device = "cpu"
        self.config = SETTINGS
        self.gpt = SimpleNamespace(stop_audio_token=STOP, mel_head=SimpleNamespace(bias=torch.zeros(1026)))

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
        assert audio.shape[0] == 1
        return torch.zeros(1, 32, 64)

    def inference(self, *parts: Any, stopping_criteria: Any, **settings: Any) -> Any:
        codes = sum(1 for _ in self._codes(*parts, stopping_criteria=stopping_criteria))
        return {"wav": 3 * torch.randn(1000 * codes).numpy(), "gpt_latents": np.zeros((1, codes, 64))}

    def inference_stream(
        self, *parts: Any, stopping_criteria: Any, **settings: Any
    ) -> Iterator[torch.Tensor]:
        for code in self._codes(*parts, stopping_criteria=stopping_criteria):
            if code % 20 == 0:
                yield torch.randn(20_000)
        yield torch.randn(1_000)

    def _codes(
        self, text: str, language: str, latents: Any, embedding: Any, stopping_criteria: Sequence[Any]
    ) -> Iterator[int]:
        """As Hugging Face's `generate` goes on: to the stop code, to the last place, or as a criterion says."""
        assert latents.shape == (1, 32, 64)
        assert embedding.shape == (1, 512, 1)
        if len(text) > 400:
            raise AssertionError("400 tokens")
        codes = torch.ones(1, 40, dtype=torch.int64)
        for number in range(1, 123):
            ends = number == 50 and self.gpt.mel_head.bias[STOP] > -1
            codes = torch.cat((codes, torch.tensor([[STOP if ends else 7]])), 1)
            yield number
            if ends | bool(sum(criterion(codes, ()) for criterion in stopping_criteria)):
                return


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules that the engine imports, as far as it uses them, and a folder."""
    for name in NEEDED_FILES:
        (folder / name).write_bytes(b"weights")
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


def small_xtts(folder: Path) -> None:
    """A folder like the published one, its configuration pickled beside the tensors."""
    from TTS.tts.configs.xtts_config import XttsConfig
    from TTS.tts.models import xtts

    checkpoints.shrink()
    checkpoints.tiny(folder, ENDS)
    state = torch.load(folder / "model.pth", weights_only=True)
    with xtts._legacy_safe_globals():
        torch.save(state | {"config": XttsConfig()}, folder / "model.pth")


@pytest.fixture(params=LIBRARIES)
def weights(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The library, and a folder that it can load."""
    if request.param == "stand-in":
        stand_in(tmp_path, monkeypatch)
        monkeypatch.setattr(packages, "versions", lambda *names: VERSIONS)
    else:
        small_xtts(tmp_path)
    return tmp_path


@pytest.fixture
def engine(weights: Path) -> Iterator[CoquiEngine]:
    logger = logging.getLogger("TTS.tts.layers.xtts.tokenizer")
    engine = CoquiEngine(weights)
    engine.load()
    yield engine
    engine.close()
    logger.disabled = False


@pytest.fixture
def voice(engine: CoquiEngine) -> VoiceState:
    return engine.condition([RECORDING])


def speak(
    engine: CoquiEngine, *utterances: Utterance, heard: Callable[[Clip | Failure], object] = lambda _: None
) -> list[Clip | Failure]:
    async def arriving() -> AsyncIterator[Utterance]:
        for utterance in utterances:
            yield utterance

    async def gather() -> list[Clip | Failure]:
        answers = []
        async for answer in engine.synthesize(arriving()):
            heard(answer)
            answers.append(answer)
        return answers

    return asyncio.run(gather())


def let_none_end(engine: CoquiEngine) -> None:
    with torch.no_grad():
        engine._model.gpt.mel_head.bias[STOP] = -1000


def test_without_the_library_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "TTS", None)
    engine: SpeechEngine = CoquiEngine(tmp_path)
    status = engine.ping()
    assert not status.available
    assert "pip install" in status.fix
    with pytest.raises(EngineUnavailable) as refusal:
        engine.load()
    assert "pip install" in refusal.value.fix


@pytest.mark.parametrize(
    ("versions", "what"),
    [({"torch": "2.15.0"}, "2.15 and torchaudio 2.11"), ({"torchcodec": None}, "needs torchcodec")],
)
def test_what_does_not_go_with_the_library_is_named(
    weights: Path, monkeypatch: pytest.MonkeyPatch, versions: dict[str, str | None], what: str
) -> None:
    installed = {name: version for name, version in (VERSIONS | versions).items() if version}
    monkeypatch.setattr(packages, "versions", lambda *names: installed)
    status = CoquiEngine(weights).ping()
    assert not status.available
    assert what in status.detail
    assert "torch==2.11" in status.fix


def test_without_weights_it_says_how_to_fetch_them(weights: Path) -> None:
    (weights / "model.pth").unlink()
    engine = CoquiEngine(weights)
    assert not engine.ping().available
    assert "model.pth" in engine.ping().detail
    with pytest.raises(EngineUnavailable) as refusal:
        engine.load()
    assert "moksori weights fetch" in refusal.value.fix


def test_weights_that_do_not_fit_are_told_in_one_line(weights: Path) -> None:
    (weights / "model.pth").write_bytes(b"others")
    with pytest.raises(EngineUnavailable) as refusal:
        CoquiEngine(weights).load()
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_loading_leaves_the_files_as_they_are(weights: Path) -> None:
    """coqui-tts's own reader writes a published model.pth anew."""
    before = {name: (weights / name).read_bytes() for name in NEEDED_FILES}
    CoquiEngine(weights).load()
    assert {name: (weights / name).read_bytes() for name in NEEDED_FILES} == before


def test_recordings_become_a_voice(engine: CoquiEngine) -> None:
    voice = engine.condition([RECORDING, RECORDING])
    assert {name: array.shape for name, array in voice.arrays.items()} == {
        "latents": (32, 64),
        "speaker": (512,),
    }
    assert engine.similarity(RECORDING.audio, 22050, voice) == pytest.approx(1.0)


def test_it_speaks_whole_and_in_pieces(engine: CoquiEngine, voice: VoiceState) -> None:
    assert engine.ping().available
    whole, again, *pieces = speak(
        engine,
        Utterance("a", TEXT, voice, seed=SEED),
        Utterance("b", TEXT, voice, seed=SEED),
        Utterance("c", TEXT, voice, seed=SEED, stream=True),
    )
    assert isinstance(whole, Clip)
    assert isinstance(again, Clip)
    assert (whole.audio.dtype, whole.audio.ndim, whole.sample_rate) == (np.float32, 1, 24000)
    assert len(whole.audio) > 24000
    assert 0 < np.abs(whole.audio).max() <= 1
    assert np.array_equal(whole.audio, again.audio)
    assert [piece.final for piece in pieces if isinstance(piece, Clip)] == [False, False, True]


def test_one_failure_leaves_its_neighbours_alone(engine: CoquiEngine, voice: VoiceState) -> None:
    answers = speak(
        engine,
        Utterance("broken", TOO_LONG, voice),
        Utterance("foreign", TEXT, VoiceState("builtin", {})),
        Utterance("fine", TEXT, voice, seed=SEED),
    )
    errors = {answer.utterance_id: type(answer.error) for answer in answers if isinstance(answer, Failure)}
    assert errors == {"broken": SpeechError, "foreign": BadVoice}
    assert [answer.utterance_id for answer in answers if isinstance(answer, Clip)] == ["fine"]


@pytest.mark.parametrize("speed", [0.5, 1.0, 2.0])
def test_one_that_never_ends_is_a_failure(engine: CoquiEngine, voice: VoiceState, speed: float) -> None:
    """Of a stream some was heard already, but nothing says that it was the end."""
    let_none_end(engine)
    whole, *pieces, last = speak(
        engine,
        Utterance("whole", TEXT, voice, speed=speed),
        Utterance("stream", TEXT, voice, speed=speed, stream=True),
    )
    for failure in (whole, last):
        assert isinstance(failure, Failure)
        assert isinstance(failure.error, RunawayGeneration)
    assert pieces
    assert not any(isinstance(piece, Failure) or piece.final for piece in pieces)


def test_a_cancelled_stream_gives_no_further_clip(engine: CoquiEngine, voice: VoiceState) -> None:
    let_none_end(engine)
    answers = speak(
        engine,
        Utterance("a", TEXT, voice, stream=True),
        Utterance("b", TEXT, voice, stream=True),
        heard=lambda answer: engine.cancel("a"),
    )
    assert [answer.utterance_id for answer in answers].count("a") == 1
    assert isinstance(answers[-1], Failure)


def test_a_cancelled_utterance_stops_at_its_next_code(
    engine: CoquiEngine, voice: VoiceState, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths, model = [], engine._model
    inference = model.inference

    def cancelled_inference(*parts: Any, **settings: Any) -> Any:
        if not lengths:
            engine.cancel("a")
        said = inference(*parts, **settings)
        lengths.append(said["gpt_latents"].shape[1])
        return said

    monkeypatch.setattr(model, "inference", cancelled_inference)
    answers = speak(engine, Utterance("a", TEXT, voice, seed=SEED), Utterance("b", TEXT, voice, seed=SEED))
    assert [answer.utterance_id for answer in answers] == ["b"]
    assert lengths[0] == 1 < lengths[1]


def test_what_is_not_being_spoken_cannot_be_cancelled(engine: CoquiEngine, voice: VoiceState) -> None:
    """As with the other engines, whoever cancels keeps back what was not taken yet; no id is kept for good."""
    engine.cancel("a")
    assert [type(answer) for answer in speak(engine, Utterance("a", TEXT, voice, seed=SEED))] == [Clip]
    engine.cancel("a")
    assert not engine._speaking


@pytest.mark.parametrize(
    "bad",
    [
        [],
        [Recording(np.zeros(100, np.float32), 22050)],
        [Recording(np.full(22050, np.nan, np.float32), 22050)],
        [Recording(np.zeros((2, 22050), np.float32), 22050)],
    ],
    ids=["none", "short", "not a number", "stereo"],
)
def test_recordings_that_cannot_serve_are_refused(engine: CoquiEngine, bad: list[Recording]) -> None:
    with pytest.raises(BadRecording) as refusal:
        engine.condition(bad)
    assert refusal.value.fix


def test_what_the_library_raises_is_a_speech_error(
    engine: CoquiEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*parts: Any, **settings: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(engine._model, "get_gpt_cond_latents", broken)
    with pytest.raises(SpeechError, match="out of memory"):
        engine.condition([RECORDING])


@pytest.mark.parametrize("seconds", [0.34, 40.0])
def test_short_and_long_recordings_serve(engine: CoquiEngine, seconds: float) -> None:
    for audio in (checkpoints.recording(0, seconds, 22050), np.zeros(int(22050 * seconds), np.float32)):
        voice = engine.condition([Recording(audio, 22050)])
        assert all(np.isfinite(array).all() for array in voice.arrays.values())


def test_too_short_to_tell_who_speaks(engine: CoquiEngine, voice: VoiceState) -> None:
    for seconds in (0.0, 0.05):
        assert engine.similarity(checkpoints.recording(0, seconds, 24000), 24000, voice) is None
    assert engine.similarity(checkpoints.recording(0, 0.2, 24000), 24000, voice) is not None
