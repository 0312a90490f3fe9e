"""Korean numerals: Sino-Korean, native, and digit by digit."""

from __future__ import annotations

DIGITS = "영일이삼사오육칠팔구"
PLACES = ("", "십", "백", "천")
MYRIADS = ("", "만", "억", "조", "경", "해")
LONGEST = 4 * len(MYRIADS)  # digits that have a name; longer ones are read one by one

ONES = ("", "한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉")
TENS = ("", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔")
ONES_ALONE = ("", "하나", "둘", "셋", "넷", *ONES[5:])


def _below_myriad(value: int) -> str:
    spoken = ""
    for place in range(3, -1, -1):
        digit = value // 10**place % 10
        if digit:
            spoken += ("" if digit == 1 and place else DIGITS[digit]) + PLACES[place]
    return spoken


def sino(number: int | str) -> str:
    """Sino-Korean, with a space after each myriad: 1234500 → 백이십삼만 사천오백, 10000 → 만."""
    text = str(number).lstrip("0")
    if not text:
        return DIGITS[0]
    if len(text) > LONGEST:
        return digits(text, zero="영")
    parts = []
    top = (len(text) - 1) // 4
    for myriad in range(top, -1, -1):
        end = len(text) - 4 * myriad
        group = int(text[max(0, end - 4) : end])
        if group:
            bare_myriad = group == 1 and myriad == 1 and myriad == top
            parts.append(("" if bare_myriad else _below_myriad(group)) + MYRIADS[myriad])
    return " ".join(parts)


def native(value: int) -> str:
    """Native numeral before a counter, 1 to 99: 3 → 세, 20 → 스무."""
    if not 1 <= value <= 99:
        raise ValueError(f"no native numeral for {value}")
    if value == 20:
        return "스무"
    return TENS[value // 10] + ONES[value % 10]


def native_alone(value: int) -> str:
    """Native numeral standing by itself, 1 to 99: 3 → 셋, 20 → 스물."""
    if not 1 <= value <= 99:
        raise ValueError(f"no native numeral for {value}")
    return TENS[value // 10] + ONES_ALONE[value % 10]


def digits(text: str, zero: str = "공") -> str:
    """Digit by digit: 1004 → 일공공사. Whatever is no digit is left out."""
    return "".join(zero if char == "0" else DIGITS[int(char)] for char in text if "0" <= char <= "9")


def grouped(text: str, size: int = 4) -> str:
    """Digits in groups that a listener can write down: 12345678 → 일이삼사 오육칠팔."""
    if len(text) <= size + 2:
        return digits(text)
    return " ".join(digits(text[i : i + size]) for i in range(0, len(text), size))


def decimal(whole: str, fraction: str) -> str:
    """37, 5 → 삼십칠 점 오; zeros after the point are 영."""
    return f"{sino(whole)} 점 {digits(fraction, zero='영')}"


def spoken(written: str) -> str:
    """A number as it is written: 1,000 → 천, 2.5 → 이 점 오."""
    whole, _, fraction = written.replace(",", "").partition(".")
    return decimal(whole, fraction) if fraction else sino(whole)
