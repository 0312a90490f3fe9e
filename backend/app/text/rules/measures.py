"""What follows a number: a unit, a currency or a counter, and how both are spoken together."""

from __future__ import annotations

import re
from typing import NamedTuple

from app.text import numbers
from app.text.rules.amounts import Amount
from app.text.tables import Counter, contexts, counters, cue, currencies, pairs, units

MONTHS = (
    "", "일월", "이월", "삼월", "사월", "오월", "유월", "칠월", "팔월", "구월", "시월", "십일월", "십이월"
)  # fmt: skip
RESOLUTIONS = frozenset({144, 240, 360, 480, 540, 720, 1080, 1440, 2160})  # 1080p is no point
_AMPERE = re.compile(
    r"차단기|전류|용량|퓨즈|콘센트|정격|충전|누전|[0-9]V[ /,]{0,2}$"
)  # else 24A is a seat or a type
_GRADE = re.compile(r"-[0-9]{2}(?![0-9A-Za-z])")  # 5W-30 is an oil
_CLAUSE = re.compile(r"[.,!?:] |[.,!?:]$|\n")  # words before it speak of something else
_LASTS = re.compile(r"(?:시간|소요|대기|까지)[ :약]{0,4}$")  # 소요시간: 25m
_LETTER = re.compile(r"[A-Za-z]")
_SLASH = re.compile(r" ?/ ?")
_PER_ENDS = re.compile(r"(?![A-Za-z0-9가-힣])|에|로|으로|이며|입|은|는|이|의|을|를|씩")
_ALONE = re.compile(r" ?(?:$|[),.])")
_AMOUNT_NEXT = re.compile(r" ?[0-9]")
_PER_TIME = re.compile(r"/(일|월|시간|분|회|년|인|day)(?![가-힣A-Za-z])")
_MONEY = frozenset({"원", "달러", "엔", "유로", "위안", "파운드"})
_DATES = frozenset({"년", "월", "일", "개월", "주", "월분", "년도"})
_TIMES = frozenset({"시", "시간", "초"})
_MONTHLY = frozenset({"월", "월분", "월호"})


class Measure(NamedTuple):
    """What follows a number; `spoken` holds # where the number goes if it does not come first."""

    end: int
    spoken: str
    counter: Counter | None = None
    rule: str = "unit"

    @property
    def money(self) -> bool:
        return self.counter is not None and self.counter.form in _MONEY

    @property
    def kind(self) -> str:
        """The class that the trace names."""
        if self.counter is None:
            return "unit"
        if self.money:
            return "money"
        if self.counter.form in _DATES:
            return "date"
        if self.counter.form in _TIMES or (self.counter.form == "분" and not self.counter.limit):
            return "time"
        return "counter_native" if self.counter.limit else "counter_sino"


def measure(text: str, found: Amount, before: str) -> Measure | None:
    """The unit, currency or counter that is written after a number, a space between them or not."""
    space = text.startswith(" ", found.end)
    at = found.end + space
    return (
        _unit(text, at, found, before, space)
        or _currency(text, at)
        or _counter(text, at, found, before, space)
    )


def _unit(text: str, at: int, found: Amount, before: str, space: bool) -> Measure | None:
    unit = units()[0].longest(text, at)
    if not unit or (_LETTER.match(unit[-1]) and _LETTER.match(text[at + len(unit) : at + len(unit) + 1])):
        return None
    if space and len(unit) == 1 and unit.isalpha():  # 사이즈 15 L
        return None
    if unit == "A" and not _AMPERE.search(before):
        return None
    if unit == "W" and _GRADE.match(text, at + 1):
        return None
    if unit == "m" and _LASTS.search(before):
        return Measure(at + 1, "분")
    if unit == "p" and found.value in RESOLUTIONS:
        return Measure(at + 1, "피")
    return _rated(text, Measure(at + len(unit), units()[1][unit]))


def _rated(text: str, found: Measure) -> Measure:
    """A unit that goes on with a slash: mg/dL, GB/일."""
    if not text.startswith("/", found.end):
        return found
    below = units()[0].longest(text, found.end + 1)
    if below and not _LETTER.match(text, found.end + 1 + len(below)):
        return Measure(found.end + 1 + len(below), f"{found.spoken} 퍼 {units()[1][below]}")
    time = _PER_TIME.match(text, found.end)
    if time:
        return Measure(time.end(), f"{pairs('per.tsv').forms[time[1]]} # {found.spoken}")
    return found


def _currency(text: str, at: int) -> Measure | None:
    code = currencies()[0].longest(text, at)
    if not code or _LETTER.match(text, at + len(code)):
        return None
    return Measure(at + len(code), currencies()[1][code].name, Counter("원", 0, "amount"), "money")


def _counter(text: str, at: int, found: Amount, before: str, space: bool) -> Measure | None:
    form = counters()[0].longest(text, at)
    if not form:
        return None
    counter, stop = counters()[1][form], at + len(form)
    if counter.use == "word":
        return None
    if (
        space
        and not cue("after_counter", "$|[^가-힣]|", "(?![가-힣])|까지|부터|이상|이하|이내|에서|이용").match(
            text, stop
        )
        and stop < len(text)
    ):
        return None
    before = _CLAUSE.split(before)[-1]
    for context in contexts().get(form, ()):
        if context.fits(found.value or 0, before, text, stop):
            counter = context.counter
            break
    return Measure(stop, form, counter, "counter")


def phrase(found: Amount, unit: Measure, before: str) -> tuple[str, tuple[str, ...]]:
    """Number and unit spoken together, and another way to say so."""
    counter = unit.counter
    if counter and counter.form in _MONTHLY and found.value and found.value <= 12:
        return MONTHS[found.value] + unit.spoken[1:], ()
    if counter and counter.form == "번째" and found.value == 1:
        return "첫 번째", ()
    if counter and counter.form == "번" and found.value == 0:
        return "공 번", ("영 번",)
    if "#" in unit.spoken:
        head, rest = unit.spoken.replace("#", found.spoken).split(" ", 1)
        return (rest if before.rstrip().endswith(head) else f"{head} {rest}"), ()
    sino = f"{found.spoken} {unit.spoken}"
    if not counter or not counter.limit or not found.value or found.value > 99:
        return sino, ()
    native = f"{numbers.native(found.value)} {unit.spoken}"
    return (native, (sino,)) if found.value <= counter.limit else (sino, (native,))


def rate(text: str, position: int) -> tuple[int, str] | None:
    """What an amount is for, as in /kg: where it ends, and what is said before the amount."""
    slash = _SLASH.match(text, position)
    form = pairs("per.tsv").longest(text, slash.end()) if slash else None
    if not slash or not form or not _PER_ENDS.match(text, slash.end() + len(form)):
        return None
    if form[0].isdigit() and _AMOUNT_NEXT.match(text, slash.end() + len(form)):  # 1회 5백만원/1일 1천만원
        return None
    if slash.group() != "/" and not _ALONE.match(text, slash.end() + len(form)):  # 1억원 / 월 80만원
        return None
    return slash.end() + len(form), pairs("per.tsv").forms[form]
