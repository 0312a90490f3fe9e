"""The loops of a step on a GPU, in Triton. `layers.py` says which follows which.

What is computed for a token hangs on nothing else in the pass: every sum runs in an order that is the same
whatever the number of tokens. Where a kernel follows another of them, it begins while that one ends
(programmatic dependent launch, on GPUs that have it: `EARLY`): it calls its weights into the second level of
the cache, and then waits before it touches anything that others write.
"""

# Triton reads these functions' source: its language has no annotations but `constexpr`.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl

_LINE = tl.constexpr(128)  # bytes of the cache's line


def power_from(number: int) -> int:
    """The power of two from a number on: what a block's length has to be."""
    return 1 << (number - 1).bit_length()


@triton.jit
def _others_are_through(EARLY: tl.constexpr):
    """From here on, what the kernel before wrote can be read, and what it read can be written."""
    if EARLY:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()


@triton.jit(do_not_specialize=["tokens"])
def settle(
    x,
    partial,
    bias,
    weight,
    shift,
    out,
    tokens,
    epsilon,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
    SPLITS: tl.constexpr,
    NORM: tl.constexpr,
    EARLY: tl.constexpr,
):
    """What a product came to is added to the residual stream, which is then normed for the next one.

    x (tokens, CHANNELS) fp32, in place; partial (SPLITS, tokens, CHANNELS) fp32; out (tokens, CHANNELS).
    One program a token.
    """
    token = tl.program_id(0)
    channel = tl.arange(0, BLOCK)
    there = channel < CHANNELS
    place = token * CHANNELS + channel
    if SPLITS > 0:
        more = tl.load(bias + channel, mask=there, other=0.0)
    if NORM:
        scales = tl.load(weight + channel, mask=there, other=0.0)
        shifts = tl.load(shift + channel, mask=there, other=0.0)
    _others_are_through(EARLY)
    value = tl.load(x + place, mask=there, other=0.0)
    if SPLITS > 0:
        value += more
        for split in tl.static_range(SPLITS):
            value += tl.load(partial + split * tokens * CHANNELS + place, mask=there, other=0.0)
        tl.store(x + place, value, mask=there)
    if NORM:
        normed = _norm(value, there, epsilon, CHANNELS) * scales + shifts
        tl.store(out + place, normed.to(out.dtype.element_ty), mask=there)


@triton.jit
def _norm(value, there, epsilon, CHANNELS: tl.constexpr):
    away = tl.where(there, value - tl.sum(value, 0) / CHANNELS, 0.0)
    return away * (1.0 / tl.sqrt(tl.sum(away * away, 0) / CHANNELS + epsilon))


@triton.jit
def last_norms(
    x,
    weight_1,
    shift_1,
    weight_2,
    shift_2,
    out,
    epsilon,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
    EARLY: tl.constexpr,
):
    """Both norms after the last layer: x (tokens, CHANNELS) → states, both fp32. One program a token."""
    _others_are_through(EARLY)
    token = tl.program_id(0)
    channel = tl.arange(0, BLOCK)
    there = channel < CHANNELS
    value = tl.load(x + token * CHANNELS + channel, mask=there, other=0.0)
    value = _norm(value, there, epsilon, CHANNELS) * tl.load(weight_1 + channel, mask=there, other=0.0)
    value += tl.load(shift_1 + channel, mask=there, other=0.0)
    value = _norm(value, there, epsilon, CHANNELS) * tl.load(weight_2 + channel, mask=there, other=0.0)
    value += tl.load(shift_2 + channel, mask=there, other=0.0)
    tl.store(out + token * CHANNELS + channel, value, mask=there)


@triton.jit(do_not_specialize=["tokens"])
def product(
    x,
    weight,
    bias,
    out,
    keys,
    values,
    table,
    rows,
    positions,
    tokens,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    AFTER: tl.constexpr,
    SPLITS: tl.constexpr,
    HEAD: tl.constexpr,
    PAGE: tl.constexpr,
    PAGES: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_OUTPUTS: tl.constexpr,
    BLOCK_INPUTS: tl.constexpr,
    WHOLE: tl.constexpr,
    PRECISION: tl.constexpr,
    EARLY: tl.constexpr,
):
    """x (tokens, INPUTS) times weight (OUTPUTS, INPUTS), both of one type.

    AFTER "partial": the sums over each of SPLITS parts of the inputs → out (SPLITS, tokens, OUTPUTS) fp32.
    "bias": with the bias, fp32. "gelu": with the bias, through GPT-2's gelu. "qkv": the query → out (tokens,
    OUTPUTS / 3), keys and values → the token's place in the cache (see PagedCache).

    Every sum is made in four parts, which are then added, so that all that a few tokens need can be read at once
    (WHOLE); without it, BLOCK_INPUTS of each part at a time. Outputs lie on the side of the product that tensor
    cores fill with 16, and tokens on that of 8. One program computes BLOCK_OUTPUTS of BLOCK_TOKENS tokens.
    """
    output = tl.program_id(0) * BLOCK_OUTPUTS + tl.arange(0, BLOCK_OUTPUTS)
    token = tl.program_id(1) * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)
    split = tl.program_id(2)
    has_output, has_token = output < OUTPUTS, token < tokens
    part: tl.constexpr = INPUTS // SPLITS
    chain: tl.constexpr = part // 4
    first = split * part
    if AFTER != "partial":
        more = tl.load(bias + output, mask=has_output, other=0.0)[:, None]
    if WHOLE:  # all of a program's weights are on their way before it waits
        inside = first + tl.arange(0, 4)[:, None, None] * chain
        w = tl.load(
            weight + output[None, :, None] * INPUTS + inside + tl.arange(0, chain)[None, None, :],
            mask=has_output[None, :, None],
            other=0.0,
        )
        _others_are_through(EARLY)
        a = tl.load(
            x + token[None, None, :] * INPUTS + inside + tl.arange(0, chain)[None, :, None],
            mask=has_token[None, None, :],
            other=0.0,
        )
        total = tl.sum(tl.dot(w, a, input_precision=PRECISION), 0)
    else:
        if EARLY:
            line: tl.constexpr = _LINE // (weight.dtype.element_ty.primitive_bitwidth // 8)
            known = weight + tl.minimum(output, OUTPUTS - 1)[:, None] * INPUTS + first
            _call(known + (tl.arange(0, triton.next_power_of_2(part // line)) * line)[None, :])
        _others_are_through(EARLY)
        into = first + tl.arange(0, BLOCK_INPUTS)
        w = weight + output[:, None] * INPUTS + into[None, :]
        a = x + token[None, :] * INPUTS + into[:, None]
        w_there, a_there = has_output[:, None], has_token[None, :]
        total = tl.zeros((BLOCK_OUTPUTS, BLOCK_TOKENS), tl.float32)
        total_1, total_2, total_3 = total, total, total
        for start in range(0, chain, BLOCK_INPUTS):
            total = _add(total, w + start, a + start, w_there, a_there, PRECISION)
            total_1 = _add(total_1, w + chain + start, a + chain + start, w_there, a_there, PRECISION)
            total_2 = _add(total_2, w + 2 * chain + start, a + 2 * chain + start, w_there, a_there, PRECISION)
            total_3 = _add(total_3, w + 3 * chain + start, a + 3 * chain + start, w_there, a_there, PRECISION)
        total = (total + total_2) + (total_1 + total_3)  # as tl.sum does it
    both = has_output[:, None] & has_token[None, :]
    if AFTER == "partial":
        place = (split * tokens + token[None, :]) * OUTPUTS + output[:, None]
        tl.store(out + place, total, mask=both)
    else:
        total += more
        if AFTER == "qkv":
            channels: tl.constexpr = OUTPUTS // 3
            which = tl.program_id(0) * BLOCK_OUTPUTS // channels
            channel = output - which * channels
            total_ = total.to(out.dtype.element_ty)
            if which == 0:
                tl.store(out + token[None, :] * channels + channel[:, None], total_, mask=both)
            else:
                row = tl.load(rows + token, mask=has_token, other=0)
                position = tl.load(positions + token, mask=has_token, other=0)
                page = tl.load(table + row * PAGES + position // PAGE, mask=has_token, other=0)
                heads: tl.constexpr = channels // HEAD
                vector = (page[None, :] * heads + (channel // HEAD)[:, None]) * PAGE + (position % PAGE)[
                    None, :
                ]
                place = vector * HEAD + (channel % HEAD)[:, None]
                if which == 1:
                    tl.store(keys + place, total_, mask=both)
                else:
                    tl.store(values + place, total_, mask=both)
        else:
            if AFTER == "gelu":
                # x · sigmoid(2u) is x / 2 · (1 + tanh u).
                total = total * tl.sigmoid(1.5957691216057308 * (total + 0.044715 * total * total * total))
            place = token[None, :] * OUTPUTS + output[:, None]
            tl.store(out + place, total.to(out.dtype.element_ty), mask=both)


@triton.jit
def _add(total, w, a, w_there, a_there, PRECISION: tl.constexpr):
    w = tl.load(w, mask=w_there, other=0.0)
    return tl.dot(w, tl.load(a, mask=a_there, other=0.0), total, input_precision=PRECISION)


@triton.jit
def _call(pointers):
    """Call lines into the second level of the cache; nothing waits for them."""
    tl.inline_asm_elementwise(
        "prefetch.global.L2 [$1]; mov.u32 $0, 0;", "=r,l", [pointers], dtype=tl.int32, is_pure=False, pack=1
    )


@triton.jit
def attention(
    query,
    keys,
    values,
    table,
    rows,
    positions,
    out,
    HEADS: tl.constexpr,
    HEAD: tl.constexpr,
    PAGE: tl.constexpr,
    PAGES: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
    EARLY: tl.constexpr,
):
    """A token looks at its row's cache up to its own position: query, out (tokens, HEADS × HEAD).

    One program a token and head; BLOCK positions at once. What it multiplies stands in a tensor core's sixteen
    lines sixteen times.
    """
    token, head = tl.program_id(0), tl.program_id(1)
    number = tl.arange(0, HEAD)
    row, last = tl.load(rows + token), tl.load(positions + token)
    table += row * PAGES
    if EARLY:  # all but the token's own are there already
        for start in range(0, last, BLOCK):
            position = start + tl.arange(0, BLOCK)
            page = tl.load(table + position // PAGE, mask=position < last, other=0)
            vector = ((page * HEADS + head) * PAGE + position % PAGE) * HEAD
            _call(keys + vector)
            _call(values + vector)
    _others_are_through(EARLY)
    place = (token * HEADS + head) * HEAD + number
    line = tl.arange(0, 16)
    q = tl.load(query + place[None, :] + 0 * line[:, None])
    most = tl.full((16,), float("-inf"), tl.float32)
    weights = tl.zeros((16,), tl.float32)
    total = tl.zeros((16, HEAD), tl.float32)
    for start in range(0, last + 1, BLOCK):
        position = start + tl.arange(0, BLOCK)
        there = position <= last
        page = tl.load(table + position // PAGE, mask=there, other=0)
        vector = (page * HEADS + head) * PAGE + position % PAGE
        cell = vector[:, None] * HEAD + number[None, :]
        k = tl.load(keys + cell, mask=there[:, None], other=0.0)
        v = tl.load(values + cell, mask=there[:, None], other=0.0)
        score = tl.where(there[None, :], tl.dot(q, k.T, input_precision=PRECISION), float("-inf"))
        more = tl.maximum(most, tl.max(score, 1))
        weight, fade = tl.exp(score - more[:, None]), tl.exp(most - more)
        weights = weights * fade + tl.sum(weight, 1)
        total = tl.dot(weight.to(v.dtype), v, total * fade[:, None], input_precision=PRECISION)
        most = more
    total = (total / weights[:, None]).to(out.dtype.element_ty)
    tl.store(out + place[None, :] + 0 * line[:, None], total, mask=line[:, None] == 0)


# Rows of a larger buffer begin anywhere; and a kernel more would be compiled while somebody waits.
@triton.jit(do_not_specialize_on_alignment=["logits", "seen", "draw", "out"])
def choose(
    logits,
    seen,
    draw,
    out,
    codes,
    temperature,
    top_p,
    penalty,
    TOP_K: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """As sampling.sample: logits (rows, codes) fp32, seen (rows, codes), draw (rows,) → out (rows,).

    One program a row. BLOCK_K is the power of two from TOP_K on, and BLOCK that from `codes` on.
    """
    row = tl.program_id(0)
    code = tl.arange(0, BLOCK)
    there = code < codes
    logit = tl.load(logits + row * codes + code, mask=there, other=float("-inf"))
    known = tl.load(seen + row * codes + code, mask=there, other=0) != 0
    score = tl.where(known, tl.where(logit < 0, logit * penalty, logit / penalty), logit)
    score = tl.where(there, score / temperature, float("-inf"))
    best = tl.topk(score, BLOCK_K)
    rank = tl.arange(0, BLOCK_K)
    weight = tl.where(rank < TOP_K, tl.exp(best - tl.max(best, 0)), 0.0)
    weight = weight / tl.sum(weight, 0)
    # A code stays while it and the less likely ones weigh more than what may be cut off.
    tail = 1.0 - tl.cumsum(weight, 0) + weight
    weight = tl.where((tail > 1.0 - top_p) | (rank == 0), weight, 0.0)
    weight = weight / tl.sum(weight, 0)
    passed = (tl.cumsum(weight, 0) <= tl.load(draw + row)) & (rank < TOP_K)
    last = tl.sum((weight > 0).to(tl.int32), 0) - 1
    place = tl.minimum(tl.sum(passed.to(tl.int32), 0), last)
    chosen = tl.max(tl.where(rank == place, best, float("-inf")), 0)
    # Of codes that are equally likely, the first; of numbers that are none, one that there is.
    first = tl.min(tl.where(score == chosen, code, codes - 1), 0)
    tl.store(out + row, first.to(tl.int64))
