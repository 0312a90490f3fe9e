"""A stream's joints: the same edges and pauses as a take's, whatever the clips."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.audio.shape import join, sound_span, trim
from app.generation.live.cutting import Joints
from app.generation.speaking import EDGE_SECONDS, JOINT_SECONDS
from app.text import Part

RATE = 24_000


def sound(seconds: float, before: float, after: float) -> np.ndarray:
    tone = 0.3 * np.sin(np.arange(round(seconds * RATE)) / 10)
    return np.pad(tone, (round(before * RATE), round(after * RATE))).astype(np.float32)


def parts(pauses: list[float]) -> tuple[Part, ...]:
    return tuple(Part("말", 0, 1, pause) for pause in pauses)


def streamed(pauses: list[float], spoken: list[list[np.ndarray]]) -> np.ndarray:
    joints = Joints(parts(pauses), RATE)
    out = [
        joints.feed(clip, final=number == len(clips) - 1)
        for clips in spoken
        for number, clip in enumerate(clips)
    ]
    return np.concatenate(out)


def whole(pauses: list[float], spoken: list[np.ndarray]) -> np.ndarray:
    trimmed = [trim(audio, RATE, lead=JOINT_SECONDS, tail=JOINT_SECONDS) for audio in spoken]
    return trim(join(trimmed, pauses[:-1], RATE), RATE, lead=EDGE_SECONDS, tail=EDGE_SECONDS)


@settings(max_examples=30, deadline=None)
@given(
    edges=st.lists(st.tuples(st.floats(0, 0.4), st.floats(0, 0.4)), min_size=1, max_size=4),
    pause=st.floats(0, 1),
)
def test_clips_that_are_whole_are_joined_as_a_take_is(edges, pause):
    spoken = [sound(0.5, before, after) for before, after in edges]
    pauses = [pause] * (len(spoken) - 1) + [0.0]
    stream = streamed(pauses, [[audio] for audio in spoken])
    take = whole(pauses, spoken)
    assert abs(len(stream) - len(take)) <= 0.02 * RATE * len(spoken)
    assert sound_span(stream, RATE)[0] == round(EDGE_SECONDS * RATE)


@settings(max_examples=30, deadline=None)
@given(step=st.integers(2_400, 30_000), before=st.floats(0, 0.6))
def test_where_clips_are_cut_is_not_heard(step, before):
    audio = sound(1.0, before, 0.3)
    clips = [audio[start : start + step] for start in range(0, len(audio), step)]
    stream = streamed([0.0], [clips])
    begin, _ = sound_span(stream, RATE)
    assert abs(begin - EDGE_SECONDS * RATE) <= RATE // 100
    assert RATE <= len(stream) - begin <= 1.35 * RATE  # what it says, and at most the silence after it


def test_a_part_without_sound_leaves_its_pause():
    quiet = np.zeros(RATE, np.float32)
    stream = streamed([0.5, 0.0], [[quiet], [sound(0.5, 0.1, 0.1)]])
    assert RATE * 0.5 <= len(stream) <= RATE * 1.4
