from __future__ import annotations

from pathlib import Path

import pytest

from app.speech.xtts import layout
from app.speech.xtts.checkpoint import Checkpoint, open_checkpoint

Shapes = dict[str, layout.Shape]


@pytest.fixture(scope="module")
def opened(tiny_folder: Path) -> Checkpoint:
    return open_checkpoint(tiny_folder)


@pytest.fixture(scope="module")
def shapes(opened: Checkpoint) -> Shapes:
    return {name: tuple(opened.weights(name).shape) for name in opened.weights.names()}


def test_nothing_is_wrong(opened: Checkpoint, shapes: Shapes) -> None:
    assert layout.problem(opened.settings, shapes) is None


def test_every_tensor_is_needed(opened: Checkpoint, shapes: Shapes) -> None:
    for missing in shapes:
        rest = {name: shape for name, shape in shapes.items() if name != missing}
        assert layout.problem(opened.settings, rest) == f"lacks the tensor {missing}"


@pytest.mark.parametrize("more", [1, -1])
def test_every_size_matters(opened: Checkpoint, shapes: Shapes, more: int) -> None:
    for name, shape in shapes.items():
        for dimension, size in enumerate(shape):
            other = (*shape[:dimension], size + more, *shape[dimension + 1 :])
            found = layout.problem(opened.settings, shapes | {name: other})
            if (name, dimension) == (layout.TEXT_EMBEDDING, 0):
                assert found is None
            else:
                assert found is not None, (name, other)
                assert " in the shape " in found or found.startswith("lacks ")
        flat = layout.problem(opened.settings, shapes | {name: ()})
        assert flat is not None


@pytest.mark.parametrize(
    "block",
    [
        "gpt.conditioning_encoder.attn.5.",
        "gpt.conditioning_perceiver.layers.1.",
        "gpt.gpt.h.1.",
        "hifigan_decoder.waveform_decoder.resblocks.11.",
        "hifigan_decoder.waveform_decoder.conds.3.",
        "hifigan_decoder.speaker_encoder.layer2.0.",
        "hifigan_decoder.speaker_encoder.layer4.",
    ],
)
def test_a_whole_block_is_missed(opened: Checkpoint, shapes: Shapes, block: str) -> None:
    rest = {name: shape for name, shape in shapes.items() if not name.startswith(block)}
    assert (layout.problem(opened.settings, rest) or "").startswith(f"lacks the tensor {block}")


def test_what_is_there_besides_does_not_matter(opened: Checkpoint, shapes: Shapes) -> None:
    others = {
        "gpt.gpt.h.0.attn.masked_bias": (),
        "hifigan_decoder.speaker_encoder.layer5.3.conv1.weight": (1,),
    }
    assert layout.problem(opened.settings, shapes | others) is None


def test_layers_left_over_are_refused(opened: Checkpoint, shapes: Shapes) -> None:
    found = layout.problem(opened.settings, shapes | {"gpt.gpt.h.2.ln_1.weight": (64,)})
    assert found == "has more layers than the 2 of config.json"


def test_a_block_that_nobody_has_is_not_looked_for_for_ever(opened: Checkpoint, shapes: Shapes) -> None:
    prefix = "hifigan_decoder.speaker_encoder.layer1"
    found = layout.problem(opened.settings, shapes | {f"{prefix}.7.bn1.weight": (8,)})
    assert found == f"lacks the tensor {prefix}.1.conv1.weight"
    assert layout.problem(opened.settings, shapes | {f"{prefix}.{10**12}.bn1.weight": (8,)}) is None
