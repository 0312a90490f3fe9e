"""Compute with coqui-tts what our runtime must reproduce.

    build.py          compute the tiny checkpoint's arrays again and compare them with the committed ones
    build.py --write  write them
    build.py --full DIR   write the full-size checkpoint that the benchmark uses, unless it is there, with its
                          arrays; with --write, also the list of its tensors

Runs in the environment that `make reference` prepares; nothing of the service is imported except the
made-up weights of its tests.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "backend"))
warnings.simplefilter("ignore")

import torch  # noqa: E402
import torchaudio  # noqa: E402
from transformers import (  # noqa: E402
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from TTS.tts.configs.xtts_config import XttsArgs, XttsAudioConfig, XttsConfig  # noqa: E402
from TTS.tts.models import xtts as coqui  # noqa: E402

from tests.speech.xtts import checkpoints  # noqa: E402

TEXTS = {
    "short": "네",
    "usual": "안녕하세요, 고객님. 무엇을 도와드릴까요?",
    "longest": "안내 말씀 드립니다. 통화량이 많아 연결이 늦어지고 있으니, 잠시만 기다려 주시면 "
    "순서대로 상담원이 연결해 드리겠습니다.",  # as many tokens as the tiny model takes
    "long": "지금은 통화량이 많아 연결이 지연되고 있사오니, 잠시만 기다려 주시기 바랍니다.",
}
CODES = {"short": 9, "usual": 41, "long": 24, "longest": 122}  # the last as many as it has
SPEEDS = {"half": 0.5, "slow": 0.77, "usual": 1.0, "fast": 1.3, "double": 2.0}
# (seconds, sample rate) of each sample; a voice is one or more of them
VOICES = {
    "one": [(6.7, 22050)],
    "several": [(7.31, 22050), (1.037, 24000), (0.5, 16000)],
    "shortest": [(0.36, 44100)],
    "longest": [(33.3, 22050)],
}
STRIDE = 5  # of the waveform's samples that are kept, to keep the file small


def model_args(**changes: Any) -> XttsArgs:
    """XTTS v2 as published, but for `changes`."""
    published: dict[str, Any] = {
        "gpt_number_text_tokens": 6681,
        "gpt_start_text_token": 261,
        "gpt_stop_text_token": 0,
        "gpt_num_audio_tokens": 1026,
        "gpt_start_audio_token": 1024,
        "gpt_stop_audio_token": 1025,
        "gpt_use_perceiver_resampler": True,
    }
    return XttsArgs(**{**published, **changes})


def config_of(args: XttsArgs) -> XttsConfig:
    return XttsConfig(
        model_args=args,
        audio=XttsAudioConfig(),
        temperature=0.75,
        repetition_penalty=5.0,
        top_k=50,
        top_p=0.85,
        gpt_cond_len=30,
        gpt_cond_chunk_len=4,
        max_ref_len=30,
    )


def shapes_of(config: XttsConfig) -> dict[str, list[int]]:
    """Names and shapes of a checkpoint."""
    return {name: list(value.shape) for name, value in coqui.Xtts(config).state_dict().items()}


def load(folder: Path, config: XttsConfig) -> coqui.Xtts:
    model = coqui.Xtts(config)
    model.load_checkpoint(config, checkpoint_dir=str(folder), eval=True)
    return model


def load_recording(audio: np.ndarray, rate: int, wanted: int) -> torch.Tensor:
    """What coqui-tts's `load_audio` does to a mono file, for an array."""
    samples = torch.from_numpy(audio)[None]
    if rate != wanted:
        samples = torchaudio.functional.resample(samples, rate, wanted)
    return samples.clip_(-1, 1)


@torch.inference_mode()
def arrays_of(
    model: coqui.Xtts, voices: tuple[str, ...] = tuple(VOICES), texts: tuple[str, ...] = tuple(TEXTS)
) -> dict[str, np.ndarray]:
    out: dict[str, np.ndarray] = {}
    coqui.load_audio = lambda item, wanted: load_recording(*item, wanted)
    for name, samples in ((name, VOICES[name]) for name in voices):
        recordings = [
            (checkpoints.recording(i, seconds, rate), rate) for i, (seconds, rate) in enumerate(samples)
        ]
        latents, embedding = model.get_conditioning_latents(
            recordings, max_ref_length=30, gpt_cond_len=30, gpt_cond_chunk_len=4
        )
        out[f"voice/{name}/latents"] = latents[0].numpy()  # (32, channels)
        out[f"voice/{name}/speaker"] = embedding[0, :, 0].numpy()  # (512,)
        if name == "one":
            voice = (latents, embedding)
    latents, embedding = voice
    for name, text in ((name, TEXTS[name]) for name in texts):
        ids = model.tokenizer.encode(text, lang="ko")
        out[f"text/{name}/tokens"] = np.asarray(ids)
        tokens = torch.tensor([ids])
        codes = model.gpt.generate(
            latents, tokens, do_sample=False, num_beams=1, repetition_penalty=5.0, max_new_tokens=CODES[name]
        )
        out[f"text/{name}/codes"] = codes[0].numpy()
        inputs = model.gpt.compute_embeddings(latents, tokens)
        logits = model.gpt.gpt_inference(
            torch.cat([inputs, codes], 1), use_cache=False, return_dict=True
        ).logits
        out[f"text/{name}/logits"] = logits[0, inputs.shape[1] - 1 :][:12].numpy()
        length = torch.tensor([codes.shape[1] * model.gpt.code_stride_len])
        states = model.gpt(
            tokens, torch.tensor([len(ids)]), codes, length, cond_latents=latents, return_latent=True
        )
        out[f"text/{name}/states"] = states[0].numpy()
        for speed_name, speed in SPEEDS.items() if name == "usual" else [("usual", 1.0)]:
            stretched = states
            if speed != 1.0:
                stretched = torch.nn.functional.interpolate(
                    states.transpose(1, 2), scale_factor=1.0 / speed, mode="linear"
                ).transpose(1, 2)
            wave = model.hifigan_decoder(stretched, g=embedding).reshape(-1)
            out[f"text/{name}/wave/{speed_name}"] = wave[::STRIDE].numpy()
            out[f"text/{name}/samples/{speed_name}"] = np.asarray(wave.shape[0])
    out.update(sampling_arrays())
    return out


def sampling_arrays() -> dict[str, np.ndarray]:
    """Probabilities that Hugging Face's processors leave, in the order in which `generate` applies them."""
    random = np.random.RandomState(7)
    logits = torch.from_numpy(4 * random.standard_normal((4, 1026)).astype(np.float32))
    seen = torch.from_numpy(random.randint(0, 1024, (4, 40)))
    processors = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(5.0),
            TemperatureLogitsWarper(0.75),
            TopKLogitsWarper(50),
            TopPLogitsWarper(0.85),
        ]
    )
    probabilities = torch.softmax(processors(seen, logits.clone()), -1)
    return {
        "sampling/logits": logits.numpy(),
        "sampling/seen": seen.numpy(),
        "sampling/probabilities": probabilities.numpy(),
    }


def tiny(write: bool, folder: Path) -> None:
    checkpoints.shrink()
    config = config_of(
        model_args(
            gpt_layers=2,
            gpt_n_model_channels=64,
            gpt_n_heads=4,
            gpt_number_text_tokens=600,
            gpt_max_audio_tokens=125,
            gpt_max_text_tokens=120,
            decoder_input_dim=64,
        )
    )
    description = {"shapes": shapes_of(config), "config": config.to_dict()}
    checkpoints.write_checkpoint(folder, description["shapes"], description["config"])
    arrays = arrays_of(load(folder, config))
    if write:
        describe("tiny", description)
        np.savez_compressed(checkpoints.HERE / "tiny.npz", **arrays)
        print(f"wrote {len(arrays)} arrays to {checkpoints.HERE / 'tiny.npz'}")
        return
    committed = checkpoints.reference()
    if committed.keys() != arrays.keys():
        sys.exit(f"The committed arrays have other names: {sorted(committed.keys() ^ arrays.keys())}")
    for name, value in arrays.items():
        if not np.allclose(value, committed[name], rtol=1e-4, atol=1e-5):
            sys.exit(
                f"{name} differs from the committed array by {np.abs(value - committed[name]).max():.2e}"
            )
    print(f"coqui-tts gives the {len(arrays)} committed arrays again")


def names_in(checkpoint: Path) -> set[str]:
    if not checkpoint.exists():
        return set()
    return set(torch.load(checkpoint, mmap=True, weights_only=True)["model"])


def describe(name: str, description: dict[str, Any]) -> None:
    (checkpoints.HERE / f"{name}.json").write_text(
        json.dumps(description, indent=1, ensure_ascii=False) + "\n"
    )


def full(write: bool, folder: Path) -> None:
    """XTTS v2's size with made-up weights."""
    config = config_of(model_args())
    shapes = shapes_of(config)
    if write:
        describe("full", {"shapes": shapes, "config": config.to_dict()})
    elif json.loads((checkpoints.HERE / "full.json").read_text())["shapes"] != shapes:
        sys.exit("The committed full.json has other names or shapes.")
    if names_in(folder / "model.pth") != shapes.keys():
        checkpoints.full(folder)
    if not (folder / "arrays.npz").exists():
        np.savez_compressed(
            folder / "arrays.npz", **arrays_of(load(folder, config), ("one",), ("short", "usual"))
        )
    print(f"{folder} is there")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--full", type=Path)
    parser.add_argument("--tiny", type=Path, default=ROOT / ".reference" / "tiny")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    if arguments.full:
        full(arguments.write, arguments.full)
    else:
        tiny(arguments.write, arguments.tiny)


if __name__ == "__main__":
    main()
