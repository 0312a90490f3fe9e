"""A convolution and what follows it, in Triton. `generator.py` says which follows which."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(
    do_not_specialize=[
        "length",
        "bias_step",
        "taps",
        "dilation",
        "has_residual",
        "has_before",
        "keep",
        "through",
    ]
)
def convolve(
    x,
    weight,
    bias,
    residual,
    before,
    total,
    active,
    length,
    bias_step,
    taps,
    dilation,
    has_residual,
    has_before,
    keep,
    through,
    slope,
    scale,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_PLACES: tl.constexpr,
    BLOCK_OUTPUTS: tl.constexpr,
    BLOCK_INPUTS: tl.constexpr,
):
    """x (windows, length, INPUTS) * weight (taps, OUTPUTS, INPUTS), as long as x, zeros around it; plus bias (windows
    or 1, OUTPUTS), `bias_step` apart, and perhaps two others of the result's shape, times `scale`: → `total`, if it is
    to be kept, and → `active`, if it is to go through a leaky ReLU; both (windows, length, OUTPUTS).

    What differs between convolutions of the same channels is known at run time only, so that ten kernels do for all.
    """
    window = tl.program_id(2).to(tl.int64)
    place = tl.program_id(0) * BLOCK_PLACES + tl.arange(0, BLOCK_PLACES)
    output = tl.program_id(1) * BLOCK_OUTPUTS + tl.arange(0, BLOCK_OUTPUTS)
    into = tl.arange(0, BLOCK_INPUTS)
    has_output = output < OUTPUTS
    x += window * length * INPUTS
    parts: tl.constexpr = INPUTS // BLOCK_INPUTS
    value = tl.zeros((BLOCK_PLACES, BLOCK_OUTPUTS), tl.float32)
    for step in range(taps * parts):
        tap, part = step // parts, step % parts * BLOCK_INPUTS
        source = place + (tap - taps // 2) * dilation
        a = tl.load(
            x + source[:, None] * INPUTS + (part + into)[None, :],
            mask=((source >= 0) & (source < length))[:, None],
            other=0.0,
        )
        w = tl.load(
            weight + (tap * OUTPUTS + output)[None, :] * INPUTS + (part + into)[:, None],
            mask=has_output[None, :],
            other=0.0,
        )
        value = tl.dot(a, w, value, input_precision=PRECISION)
    value += tl.load(bias + window * bias_step + output, mask=has_output, other=0.0)[None, :]
    cell = window * length * OUTPUTS + place[:, None] * OUTPUTS + output[None, :]
    value += tl.load(residual + cell, mask=_part(place, length * has_residual, has_output), other=0.0).to(
        tl.float32
    )
    value += tl.load(before + cell, mask=_part(place, length * has_before, has_output), other=0.0).to(
        tl.float32
    )
    value *= scale
    tl.store(total + cell, value.to(total.dtype.element_ty), mask=_part(place, length * keep, has_output))
    value = tl.where(value < 0, value * slope, value)
    tl.store(
        active + cell, value.to(active.dtype.element_ty), mask=_part(place, length * through, has_output)
    )


@triton.jit
def _part(place, length, has_output):
    return (place < length)[:, None] & has_output[None, :]
