"""Ratios, scores, fractions, roots and other numbers with a form of their own."""

from __future__ import annotations

import re

from app.text import numbers, particles
from app.text.rules.measures import MONTHS
from app.text.scan import Cursor, Hit
from app.text.tables import counters, units

_RATIO = re.compile(
    r"([0-9]{1,4}(?:\.[0-9])?) ?: ?([0-9]{1,4}(?:\.[0-9])?)(?: ?: ?([0-9]{1,4}(?:\.[0-9])?))?(?![0-9:])"
)
_VERSUS = re.compile(
    r"([0-9]{1,3}) ?대 ?([0-9]{1,3})(?: ?대 ?([0-9]{1,3}))?(?![0-9,])(?=$|[^가-힣0-9]|로|의|으로|은|는|이|가|입|을|를|과|와|까지|맞춤|상담|동점|매칭|승|역전|에|인|교환|비율)"
)
_FRACTION = re.compile(r"(√?)([0-9]{1,6}) ?/ ?(√?)([0-9]{1,6})(?![0-9/])")
_MIXED = re.compile(r"([0-9]{1,4})(?:과|와) ?(√?)([0-9]{1,4})/(√?)([0-9]{1,4})(?![0-9/])")
_PARTS = re.compile(r"([0-9]{1,5}) ?분의 ?([0-9]{1,5})")
_IP = re.compile(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9.])")
_MONTHS = re.compile(r"[0-9]{1,2}(?:[·,] ?[0-9]{1,2}){1,5}월(?!드)")
_QUARTER = re.compile(r"([1-4])/4 ?분기")
_TIMES = re.compile(
    r"([0-9]{1,5}(?:\.[0-9]+)?) ?[xX*×] ?([0-9]{1,5}(?:\.[0-9]+)?)(?: ?[xX*×] ?([0-9]{1,5}(?:\.[0-9]+)?))?(?![0-9])"
)


def _plain(written: str) -> str:
    whole, _, fraction = written.partition(".")
    return numbers.decimal(whole, fraction) if fraction else numbers.sino(whole)


def ratio(cursor: Cursor) -> Hit | None:
    """1:1, 3:2, 3대 2, 16:9."""
    match = cursor.match(_RATIO) or cursor.match(_VERSUS)
    if not match:
        return None
    spoken = " 대 ".join(_plain(group) for group in match.groups() if group)
    if "대" in match.group() and (
        counters()[0].longest(cursor.text, match.end()) and cursor.text[match.end()] not in "로승이"
    ):
        return None
    if spoken == "일 대 일":
        spoken = "일대일"
    return Hit(match.end(), spoken, "number_expr", "ratio")


def fraction(cursor: Cursor) -> Hit | None:
    """1/2, 2와1/3, 3분의1. Counts of a whole with equal words (3회/5회) are none."""
    match = cursor.match(_MIXED)
    if match:
        lower = f"{'루트 ' if match[4] else ''}{numbers.sino(match[5])}분의 {'루트 ' if match[2] else ''}{numbers.sino(match[3])}"
        joint = particles.choose(("과", "와"), numbers.sino(match[1]))
        end, tail = _unit(cursor.text, match.end())
        return Hit(end, f"{numbers.sino(match[1])}{joint} {lower}{tail}", "number_expr", "fraction")
    match = cursor.match(_PARTS)
    if match and not re.match(r"[0-9]*(?:초|분|시|명|개|건)", cursor.text[match.end() : match.end() + 3]):
        return Hit(
            match.end(), f"{numbers.sino(match[1])}분의 {numbers.sino(match[2])}", "number_expr", "fraction"
        )
    match = cursor.match(_QUARTER)
    if match:
        return Hit(match.end(), f"{numbers.sino(match[1])}사분기", "number_expr", "quarter")
    match = cursor.match(_FRACTION)
    if not match or not int(match[4]):
        return None
    text, end = cursor.text, match.end()
    follows = text[end : end + 1]
    counter = counters()[1].get(counters()[0].longest(text, end) or "")
    if counter and counter.limit and int(match[2]) < int(match[4]) and not _particle(text, end):
        spoken = f"{numbers.sino(match[4])}분의 {numbers.sino(match[2])} {counter.form}"
        return Hit(end + len(counter.form), spoken, "number_expr", "fraction")
    if re.match(r"[가-힣]", follows) and not _particle(text, end) and not units()[0].longest(text, end):
        if text.startswith(("페이지", "쪽", "장", "단계", "회", "차", "호", "층", "동"), end):
            return Hit(end, f"{numbers.sino(match[2])}, {numbers.sino(match[4])}", "number_expr", "slash")
        if not text.startswith(
            (
                "지점",
                "수준",
                "가격",
                "이하",
                "이상",
                "정도",
                "크기",
                "쪽",
                "컵",
                "큰",
                "작",
                "개",
                "알",
                "정",
                "로",
                "씩",
                "만",
                "명",
                "확률",
                "토막",
                "조각",
                "분량",
                "할인",
                "배",
                "인",
                "스푼",
                "봉",
                "판",
                "을",
                "를",
            )
        ):
            return None
    pressure = re.match(r" ?(?:mmHg|㎜Hg)", text[end : end + 5]) or re.search(
        r"혈압[가-힣 ]{0,6}$", cursor.before()
    )
    if pressure and int(match[2]) > int(match[4]):
        return Hit(match.start(4), f"{numbers.sino(match[2])}에 ", "number_expr", "blood pressure")
    if int(match[2]) > 31 and int(match[4]) > 31 and not match[1] and not match[3]:
        return Hit(end, f"{numbers.sino(match[2])}, {numbers.sino(match[4])}", "number_expr", "slash")
    spoken = f"{'루트 ' if match[3] else ''}{numbers.sino(match[4])}분의 {'루트 ' if match[1] else ''}{numbers.sino(match[2])}"
    end, tail = _unit(text, end)
    return Hit(end, spoken + tail, "number_expr", "fraction")


def _unit(text: str, end: int) -> tuple[int, str]:
    """A unit after a fraction, where it ends and how it is spoken; rates as A 퍼 B."""
    unit = units()[0].longest(text, end)
    if unit and "#" in units()[1][unit]:
        unit = unit.split("/")[0]
    stop = end + len(unit or "")
    if not unit or unit not in units()[1] or re.match(r"[A-Za-z]", text[stop : stop + 1]):
        return end, ""
    spoken = f" {units()[1][unit]}"
    below = units()[0].longest(text, stop + 1) if text.startswith("/", stop) else None
    return (stop + 1 + len(below), f"{spoken} 퍼 {units()[1][below]}") if below else (stop, spoken)


def _particle(text: str, end: int) -> bool:
    return bool(
        re.match(
            r"(?:을|를|이|가|은|는|의|에|만|로|으로|씩|과|와|도|까지|부터|이상|이하|미만|정도|수준|가량|입니다|이며|이고)(?![가-힣])|이상|이하|미만|정도|수준|까지|입니다|이며|인 |으로|로 ",
            text[end : end + 4],
        )
    )


def special_number(cursor: Cursor) -> Hit | None:
    """Internet addresses by number, sizes with ×, dates of movements (12·12)."""
    match = cursor.match(_IP)
    if match and re.search(r"(?:IP|아이피|주소|서버|게이트웨이|DNS)[가-힣 :]{0,8}$", cursor.before()):
        spoken = " 점 ".join(numbers.digits(part) for part in match.group().split("."))
        return Hit(match.end(), spoken, "electronic", "ip")
    match = cursor.match(_TIMES)
    if match and re.search(r"[xX×]", match.group()):
        groups = [group for group in match.groups() if group]
        spoken = "".join(f"{_plain(group)} 곱하기 " for group in groups[:-1])
        return Hit(match.end() - len(groups[-1]), spoken, "number_expr", "times")
    match = cursor.match(_MONTHS)
    if match and all(1 <= int(month) <= 12 for month in re.findall("[0-9]+", match.group())):
        spoken = ", ".join(MONTHS[int(month)] for month in re.findall("[0-9]+", match.group()))
        return Hit(match.end(), spoken, "date", "months")
    dotted = re.compile(
        r"([0-9]{1,2})·([0-9]{1,2})(?= ?(?:운동|사건|혁명|항쟁|전쟁|사태|민주화|군사|만세|의거|참사|테러|선언|합의))"
    ).match(cursor.text, cursor.position)
    if dotted:
        day = numbers.sino(dotted[2]) if dotted[2] in ("10", dotted[1]) else numbers.digits(dotted[2])
        return Hit(dotted.end(), numbers.sino(dotted[1]) + day, "date", "movement")
    return None
