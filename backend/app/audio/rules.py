"""What is said about a sample, as data: from which figure on, how grave, and the sentences.

Each sentence says what was found and what to do. `{value}` is the figure that broke the rule.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["good", "usable", "rejected"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a verdict is not good: a stable code, and a sentence in Korean and English."""

    code: str
    ko: str
    en: str


@dataclass(frozen=True, slots=True)
class Rule:
    """`figure` of the report, compared with `bound`, gives `verdict` and a reason."""

    code: str
    figure: str
    broken: Callable[[float, float], bool]
    bound: float
    verdict: Verdict
    ko: str
    en: str

    def reason(self, value: float) -> Reason:
        return Reason(self.code, self.ko.format(value=value), self.en.format(value=value))


_below, _above = operator.lt, operator.gt

# Of the rules of one code the first that is broken counts, so the graver one stands first.
SAMPLE_RULES: tuple[Rule, ...] = (
    Rule("no_speech", "voiced_ratio", _below, 0.05, "rejected",
         "말소리가 거의 들리지 않습니다. 성우의 목소리가 녹음된 파일인지 확인한 뒤 다시 올려 주십시오.",
         "Hardly any speech is heard. Check that this is the recording of the actor, and upload it again."),
    Rule("too_short", "sound_seconds", _below, 0.3, "rejected",
         "말소리가 {value:.1f}초뿐입니다. 3초에서 15초 길이의 문장을 녹음해 주십시오.",
         "There are only {value:.1f} s of sound. Record sentences of 3 to 15 seconds."),
    Rule("too_short", "sound_seconds", _below, 1.0, "usable",
         "말소리가 {value:.1f}초로 짧습니다. 3초에서 15초 길이의 문장이 가장 좋습니다.",
         "{value:.1f} s of sound is little. Sentences of 3 to 15 seconds serve best."),
    Rule("too_quiet", "lufs", _below, -45.0, "rejected",
         "소리가 너무 작습니다({value:.0f} LUFS). 입력 음량을 높여 다시 녹음해 주십시오.",
         "Far too quiet ({value:.0f} LUFS). Raise the input level and record again."),
    Rule("too_quiet", "lufs", _below, -35.0, "usable",
         "소리가 작은 편입니다({value:.0f} LUFS). 다음에는 입력 음량을 높여 녹음해 주십시오.",
         "Rather quiet ({value:.0f} LUFS). Raise the input level for the next recordings."),
    Rule("clipped", "clipping_ratio", _above, 0.005, "rejected",
         "소리가 찢어집니다(표본의 {value:.2%}). 입력 음량을 6 dB 낮추고 다시 녹음해 주십시오.",
         "It is clipped ({value:.2%} of its samples). Lower the input level by 6 dB and record again."),
    Rule("clipped", "clipping_ratio", _above, 0.0002, "usable",
         "소리가 찢어지는 부분이 있습니다(표본의 {value:.2%}). 입력 음량을 조금 낮춰 주십시오.",
         "Some peaks are clipped ({value:.2%} of its samples). Lower the input level a little."),
    Rule("noisy", "snr_db", _below, 10.0, "rejected",
         "잡음이 큽니다(신호 대 잡음비 {value:.0f} dB). 조용한 방에서 다시 녹음해 주십시오.",
         "Too noisy (signal to noise {value:.0f} dB). Record again in a quiet room."),
    Rule("noisy", "snr_db", _below, 20.0, "usable",
         "잡음이 들립니다(신호 대 잡음비 {value:.0f} dB). 더 조용한 곳에서 녹음하면 좋습니다.",
         "Noise is heard (signal to noise {value:.0f} dB). A quieter room makes a better voice."),
    Rule("narrow_band", "bandwidth_hz", _below, 2500.0, "rejected",
         "{value:.0f} Hz 위의 소리가 없어 목소리가 먹먹합니다. 원본 녹음을 올려 주십시오.",
         "Muffled: nothing above {value:.0f} Hz. Upload the original recording."),
    Rule("narrow_band", "bandwidth_hz", _below, 7000.0, "usable",
         "{value:.0f} Hz까지만 녹음되었습니다(전화 음질). 16 kHz 이상의 원본을 올리면 더 좋습니다.",
         "It reaches only {value:.0f} Hz, like a telephone. An original of 16 kHz or more serves better."),
    Rule("mostly_silence", "silence_ratio", _above, 0.9, "rejected",
         "{value:.0%}가 무음입니다. 말소리가 있는 부분만 잘라서 올려 주십시오.",
         "{value:.0%} of it is silence. Upload only the part that is spoken."),
    Rule("mostly_silence", "silence_ratio", _above, 0.6, "usable",
         "{value:.0%}가 무음입니다. 앞뒤와 중간의 긴 무음을 잘라 내면 더 좋습니다.",
         "{value:.0%} of it is silence. It serves better with the long pauses cut out."),
    Rule("text_too_long", "syllables_per_second", _above, 12.0, "usable",
         "대본에 비해 녹음이 짧습니다(초당 {value:.0f}음절). 대본과 녹음이 같은 문장인지 확인해 주십시오.",
         "Short for its transcript ({value:.0f} syllables a second). Check that they belong together."),
    Rule("text_too_short", "syllables_per_second", _below, 1.0, "usable",
         "대본에 비해 녹음이 깁니다(초당 {value:.1f}음절). 대본과 녹음이 같은 문장인지 확인해 주십시오.",
         "Long for its transcript ({value:.1f} syllables a second). Check that they belong together."),
)  # fmt: skip


def judge(figures: dict[str, float | None]) -> tuple[Verdict, tuple[Reason, ...]]:
    """The verdict on a sample and its reasons, the gravest first. A figure that is None breaks no rule."""
    reasons: list[tuple[Verdict, Reason]] = []
    seen: set[str] = set()
    for rule in SAMPLE_RULES:
        value = figures[rule.figure]
        if value is not None and rule.code not in seen and rule.broken(value, rule.bound):
            seen.add(rule.code)
            reasons.append((rule.verdict, rule.reason(value)))
    reasons.sort(key=lambda pair: pair[0] != "rejected")
    verdict: Verdict = reasons[0][0] if reasons else "good"
    return verdict, tuple(reason for _, reason in reasons)
