"""A convolution and what follows it, in Triton. `generator.py` says which follows which."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["length", "bias_step"])
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
    slope,
    scale,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    TAPS: tl.constexpr,
    DILATION: tl.constexpr,
    RESIDUAL: tl.constexpr,
    BEFORE: tl.constexpr,
    TOTAL: tl.constexpr,
    ACTIVE: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_PLACES: tl.constexpr,
    BLOCK_OUTPUTS: tl.constexpr,
    BLOCK_INPUTS: tl.constexpr,
):
    """x (windows, length, INPUTS) * weight (TAPS, OUTPUTS, INPUTS), as long as x, zeros around it; plus bias (windows
    or 1, OUTPUTS), `bias_step` apart, and up to two others of the result's shape, times `scale`: → `total`, and
    through a leaky ReLU → `active`, both (windows, length, OUTPUTS).
    """
    window = tl.program_id(2).to(tl.int64)
    place = tl.program_id(0) * BLOCK_PLACES + tl.arange(0, BLOCK_PLACES)
    output = tl.program_id(1) * BLOCK_OUTPUTS + tl.arange(0, BLOCK_OUTPUTS)
    into = tl.arange(0, BLOCK_INPUTS)
    has_output = output < OUTPUTS
    x += window * length * INPUTS
    parts: tl.constexpr = INPUTS // BLOCK_INPUTS
    value = tl.zeros((BLOCK_PLACES, BLOCK_OUTPUTS), tl.float32)
    for step in range(TAPS * parts):
        tap, part = step // parts, step % parts * BLOCK_INPUTS
        source = place + (tap - TAPS // 2) * DILATION
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
    there = (place < length)[:, None] & has_output[None, :]
    if RESIDUAL:
        value += tl.load(residual + cell, mask=there, other=0.0).to(tl.float32)
    if BEFORE:
        value += tl.load(before + cell, mask=there, other=0.0).to(tl.float32)
    value *= scale
    if TOTAL:
        tl.store(total + cell, value.to(total.dtype.element_ty), mask=there)
    if ACTIVE:
        value = tl.where(value < 0, value * slope, value)
        tl.store(active + cell, value.to(active.dtype.element_ty), mask=there)
