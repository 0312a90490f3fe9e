from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from app.speech.interface import EngineUnavailable
from app.speech.xtts import checkpoint
from app.speech.xtts.checkpoint import Weights, _write_safetensors, convert, open_checkpoint
from app.speech.xtts.model import Model, fingerprint


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint, to be damaged."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "checkpoint"))


def resave(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    state = torch.load(folder / "model.pth", weights_only=True)
    torch.save(change(state), folder / "model.pth")


def test_settings_and_names(tiny_folder: Path) -> None:
    opened = open_checkpoint(tiny_folder)
    assert (opened.settings.layers, opened.settings.channels, opened.settings.repetition_penalty) == (
        2,
        64,
        5.0,
    )
    assert not opened.converted
    names = opened.weights.names()
    assert not [name for name in names if "original" in name or "text_head" in name or "num_batches" in name]
    assert opened.weights("gpt.gpt.h.0.attn.c_attn.weight").shape == (192, 64)  # (out, in)


def test_weight_norm_is_folded(tiny_folder: Path) -> None:
    name = "hifigan_decoder.waveform_decoder.ups.0"
    state = torch.load(tiny_folder / "model.pth", weights_only=True)["model"]
    norm, direction = (state[f"{name}.parametrizations.weight.original{n}"] for n in (0, 1))
    expected = torch._weight_norm(direction, norm, 0)
    torch.testing.assert_close(open_checkpoint(tiny_folder).weights(f"{name}.weight"), expected)


@pytest.mark.parametrize("style", ["trainer", "bare", "old weight norm"])
def test_other_ways_to_save_the_same(folder: Path, tiny_folder: Path, style: str) -> None:
    def change(state: dict[str, Any]) -> Any:
        model = state["model"]
        if style == "trainer":
            return {"model": {f"xtts.{name}": tensor for name, tensor in model.items()}, "step": 3}
        if style == "bare":
            return model
        old = {
            ".parametrizations.weight.original0": ".weight_g",
            ".parametrizations.weight.original1": ".weight_v",
        }
        renamed = {}
        for name, tensor in model.items():
            for long, short in old.items():
                name = name.replace(long, short)
            renamed[name] = tensor
        return {"model": renamed}

    resave(folder, change)
    opened, original = open_checkpoint(folder), open_checkpoint(tiny_folder)
    assert sorted(opened.weights.names()) == sorted(original.weights.names())
    name = "hifigan_decoder.waveform_decoder.resblocks.0.convs1.0.weight"
    torch.testing.assert_close(opened.weights(name), original.weights(name))


@pytest.mark.parametrize("name", ["config.json", "vocab.json", "model.pth"])
def test_says_what_is_missing(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(EngineUnavailable, match=name) as caught:
        open_checkpoint(folder)
    assert "weights fetch" in caught.value.fix


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="no folder"):
        open_checkpoint(tmp_path / "nothing")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"x" * 5000])
def test_damaged_weights(folder: Path, content: bytes) -> None:
    (folder / "model.pth").write_bytes(content)
    with pytest.raises(EngineUnavailable, match="damaged"):
        open_checkpoint(folder)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_code_in_a_pickle_is_not_run(folder: Path, tmp_path: Path, how: str) -> None:
    class Code:
        def __reduce__(self) -> tuple[Any, ...]:
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    if how == "torch":
        torch.save({"model": {"gpt.x": Code()}}, folder / "model.pth")
    else:
        (folder / "model.pth").write_bytes(pickle.dumps(Code()))
    with pytest.raises(EngineUnavailable):
        open_checkpoint(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("what", ["packed", "long"])
def test_an_archive_that_would_swell_is_not_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    path = folder / "model.pth"
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    kind, more = (zipfile.ZIP_DEFLATED, b"") if what == "packed" else (zipfile.ZIP_STORED, b"0" * 2**22)
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in entries.items():
            archive.writestr(name, content + more if name.endswith("data.pkl") else content)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("It was read."))
    with pytest.raises(EngineUnavailable, match="damaged"):
        open_checkpoint(folder)


def test_something_else_entirely(folder: Path) -> None:
    resave(folder, lambda _: {"model": {"encoder.weight": torch.zeros(3)}})
    with pytest.raises(EngineUnavailable, match="no XTTS v2 model"):
        open_checkpoint(folder)


def test_a_missing_tensor_is_named(folder: Path) -> None:
    missing = "gpt.gpt.h.1.mlp.c_fc.bias"
    resave(folder, lambda state: {"model": {n: t for n, t in state["model"].items() if n != missing}})
    with pytest.raises(EngineUnavailable, match=missing):
        Model(folder, "fp32")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("gpt_n_model_channels", 128, "shape"),
        ("gpt_layers", 3, r"gpt\.gpt\.h\.2"),
        ("gpt_layers", 1, "more layers than the 1 of"),
        ("gpt_num_audio_tokens", 1100, "shape"),
        ("gpt_max_audio_tokens", 200, "shape"),
        ("gpt_max_text_tokens", 100, "shape"),
        ("gpt_start_text_token", 600, "600 text tokens"),
        ("gpt_stop_text_token", -1, "600 text tokens"),
        ("gpt_start_audio_token", 1026, "start_audio"),
        ("gpt_layers", 0, "layers is 0"),
        ("gpt_layers", 10**9, r"gpt\.gpt\.h\.2"),
        ("gpt_layers", float("inf"), "OverflowError"),
        ("gpt_n_heads", 0, "heads is 0"),
        ("gpt_n_heads", 3, "64 channels for 3 heads"),
    ],
)
def test_config_of_another_model(folder: Path, key: str, value: int, said: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model_args"][key] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(EngineUnavailable, match=said):
        Model(folder, "fp32")


@pytest.mark.parametrize("key", ["temperature", "top_p", "repetition_penalty", "top_k", "max_ref_len"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1])
def test_settings_that_nobody_can_speak_with(folder: Path, key: str, value: float) -> None:
    config = json.loads((folder / "config.json").read_text())
    config[key] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(EngineUnavailable, match=r"config\.json is no configuration"):
        open_checkpoint(folder)


@pytest.mark.parametrize("name", ["gpt.gpt.h.0.mlp.c_fc.weight", "mel_stats"])
@pytest.mark.parametrize("kind", ["text", "meta", "four dimensions"])
def test_what_is_no_plain_tensor(folder: Path, name: str, kind: str) -> None:
    def change(state: dict[str, Any]) -> Any:
        tensor = state["model"][name]
        other = {
            "text": "weight",
            "meta": tensor.to("meta"),
            "four dimensions": tensor[None, None, None],
        }[kind]
        return {"model": state["model"] | {name: other}}

    resave(folder, change)
    with pytest.raises(EngineUnavailable, match="damaged" if kind != "four dimensions" else "shape"):
        open_checkpoint(folder)


def test_a_norm_that_does_not_fit_its_direction(folder: Path) -> None:
    name = "hifigan_decoder.waveform_decoder.ups.0.parametrizations.weight.original0"
    resave(folder, lambda state: {"model": state["model"] | {name: state["model"][name][:-1]}})
    with pytest.raises(EngineUnavailable, match="damaged"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    "text", ["", "[" * 100_000, "[]", "{}", '{"model_args": 3}', '{"model_args": {"gpt_layers": "many"}}']
)
def test_unusable_config(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(EngineUnavailable, match="config"):
        open_checkpoint(folder)


def test_first_version_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model_args"]["gpt_use_perceiver_resampler"] = False
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(EngineUnavailable, match="XTTS v1"):
        open_checkpoint(folder)


def test_converted_holds_the_same(tiny_folder: Path, tmp_path: Path) -> None:
    official = open_checkpoint(tiny_folder)
    converted = open_checkpoint(convert(tiny_folder, tmp_path / "fp32", "fp32"))
    assert converted.converted
    assert sorted(converted.weights.names()) == sorted(official.weights.names())
    for name in official.weights.names():
        assert torch.equal(converted.weights(name), official.weights(name)), name
    assert fingerprint(converted) == fingerprint(official)


def test_converted_to_fp16(tiny_folder: Path, tmp_path: Path) -> None:
    """Half as large, and hardly anything is lost; what fp16 cannot hold stays as it is."""
    opened = open_checkpoint(tiny_folder)
    name, large = "gpt.gpt.h.1.mlp.c_fc.weight", "gpt.gpt.h.0.mlp.c_fc.weight"
    tensors = dict(opened.weights._tensors)
    tensors[large] = lambda: opened.weights(large) * 1e6
    _write_safetensors(tmp_path / "model.safetensors", Weights(tensors, tmp_path), "fp16")
    for file in ("config.json", "vocab.json"):
        (tmp_path / file).write_bytes((tiny_folder / file).read_bytes())
    converted = open_checkpoint(tmp_path)
    assert converted.weights._tensors[name]().dtype is torch.float16
    assert torch.equal(converted.weights(name), opened.weights(name).half().float())
    for exact in (large, "gpt.gpt.h.1.ln_1.weight"):
        assert torch.equal(converted.weights(exact), tensors[exact]().float())


def test_what_was_converted_to_bf16_before_loads(tiny_folder: Path, tmp_path: Path) -> None:
    folder = convert(tiny_folder, tmp_path / "older", "fp32")
    name = "gpt.gpt.h.1.mlp.c_fc.weight"
    tensors = {
        each: open_checkpoint(folder).weights(each) for each in open_checkpoint(folder).weights.names()
    }
    tensors[name] = tensors[name].bfloat16()
    save_file(tensors, folder / "model.safetensors", {"format": checkpoint.FORMAT, "precision": "bf16"})
    assert torch.equal(open_checkpoint(folder).weights(name), tensors[name].float())


def test_conversion_in_place(folder: Path) -> None:
    convert(folder, folder)
    assert open_checkpoint(folder).converted


def test_interrupted_conversion_leaves_nothing(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        convert(tiny_folder, tmp_path / "target")
    assert sorted(path.name for path in (tmp_path / "target").iterdir()) == ["config.json", "vocab.json"]


def damaged_conversion(folder: Path, kind: str) -> None:
    """Put a model.safetensors into `folder` that cannot be used."""
    target = folder / "model.safetensors"
    if kind == "foreign":
        save_file({"a": torch.zeros(2)}, target)
    elif kind == "other tensors":
        save_file({"a": torch.zeros(2)}, target, {"format": checkpoint.FORMAT, "precision": "fp32"})
    elif kind == "cut short":
        convert(folder, folder)
        target.write_bytes(target.read_bytes()[:-1])
    else:
        target.write_bytes({"empty": b"", "no header": b"\x10\0\0\0\0\0\0\0{}              "}[kind])


DAMAGES = ["foreign", "other tensors", "cut short", "empty", "no header"]


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_conversion_alone(folder: Path, kind: str) -> None:
    damaged_conversion(folder, kind)
    (folder / "model.pth").unlink()
    for use in (lambda: open_checkpoint(folder), lambda: convert(folder, folder)):
        with pytest.raises(EngineUnavailable, match=r"model\.safetensors") as caught:
            use()
        assert "weights fetch" in caught.value.fix


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_conversion_beside_the_official_file(
    folder: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Is passed over, and converting again mends it, as the warning says."""
    damaged_conversion(folder, kind)
    assert not open_checkpoint(folder).converted
    [record] = caplog.records
    assert (record.levelno, record.message) == (logging.WARNING, "tts.xtts.conversion_unusable")
    assert record.__dict__["fix"] == "moksori weights convert"
    assert open_checkpoint(convert(folder, folder)).converted


def test_a_bad_config_is_not_laid_on_the_conversion(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    convert(folder, folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(EngineUnavailable, match="no configuration"):
        open_checkpoint(folder)
    assert caplog.records == []


def test_fp32_after_fp16_has_the_official_numbers(folder: Path, tiny_folder: Path) -> None:
    official = open_checkpoint(tiny_folder).weights
    again = open_checkpoint(convert(convert(folder, folder, "fp16"), folder, "fp32")).weights
    assert all(torch.equal(again(name), official(name)) for name in official.names())


def test_numbers_do_not_become_finer(folder: Path, tmp_path: Path) -> None:
    convert(folder, folder, "fp32")
    (folder / "model.pth").unlink()
    rounded = convert(folder, tmp_path / "fp16", "fp16")
    assert open_checkpoint(convert(rounded, rounded, "fp16")).converted
    with pytest.raises(EngineUnavailable, match="numbers of fp16") as caught:
        convert(rounded, rounded, "fp32")
    assert "weights fetch" in caught.value.fix


def test_what_killed_conversions_left_is_swept(folder: Path, tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    alive, dead = (tmp_path / f".model.safetensors.{pid}" for pid in (os.getppid(), gone.pid))
    for left in (alive, dead):
        left.write_bytes(b"half")
    convert(folder, tmp_path)
    assert (alive.exists(), dead.exists()) == (True, False)


@pytest.mark.parametrize("module", ["TTS.tts.models.xtts", "TTS.tts.configs.xtts_config"])
def test_configuration_beside_the_tensors_is_read_over(
    folder: Path, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the published file, which pickles coqui-tts's own configuration objects."""
    import sys
    import types

    made: dict[str, types.ModuleType] = {}
    for name in ("TTS.tts.configs.xtts_config", "TTS.config.shared_configs", module):
        for end in range(1, name.count(".") + 2):
            package = ".".join(name.split(".")[:end])
            made.setdefault(package, types.ModuleType(package))
    for at, name in (
        ("TTS.tts.configs.xtts_config", "XttsConfig"),
        ("TTS.config.shared_configs", "BaseDatasetConfig"),
        (module, "XttsArgs"),
        (module, "XttsAudioConfig"),
    ):
        setattr(made[at], name, type(name, (), {"__module__": at}))
    for name, there in made.items():
        monkeypatch.setitem(sys.modules, name, there)
    config: Any = made["TTS.tts.configs.xtts_config"].XttsConfig()
    config.model_args, config.audio = made[module].XttsArgs(), made[module].XttsAudioConfig()
    config.datasets = [made["TTS.config.shared_configs"].BaseDatasetConfig()]
    resave(folder, lambda state: state | {"config": config})
    for name in made:
        monkeypatch.delitem(sys.modules, name)
    assert open_checkpoint(folder).weights.names()
