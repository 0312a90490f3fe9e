import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.text import numbers


@pytest.mark.parametrize(
    ("number", "spoken"),
    [
        (0, "영"), (1, "일"), (10, "십"), (11, "십일"), (100, "백"), (1004, "천사"), (10_000, "만"), (11_000, "만 천"),
        (110_000, "십일만"), (100_000_000, "일억"), (1_234_500, "백이십삼만 사천오백"), (10_000_0001, "일억 일"),
        (10**12, "일조"), ("0007", "칠"),
    ],
)  # fmt: skip
def test_sino(number: int | str, spoken: str) -> None:
    assert numbers.sino(number) == spoken


@pytest.mark.parametrize(
    ("value", "spoken"), [(1, "한"), (4, "네"), (20, "스무"), (21, "스물한"), (99, "아흔아홉")]
)
def test_native(value: int, spoken: str) -> None:
    assert numbers.native(value) == spoken


def test_native_alone() -> None:
    assert [numbers.native_alone(value) for value in (1, 3, 20, 34)] == ["하나", "셋", "스물", "서른넷"]


@pytest.mark.parametrize("value", [0, 100, -1])
def test_native_numbers_end_at_99(value: int) -> None:
    with pytest.raises(ValueError, match="native"):
        numbers.native(value)


def test_digits_and_decimals() -> None:
    assert numbers.digits("010-1234") == "공일공일이삼사"
    assert numbers.decimal("0", "05") == "영 점 영오"
    assert [numbers.spoken(written) for written in ("7", "2.5", "50,000")] == ["칠", "이 점 오", "오만"]
    assert numbers.grouped("123456789012") == "일이삼사 오육칠팔 구공일이"


@given(st.integers(0, 10**24 - 1))
def test_every_number_has_a_reading_of_its_own(number: int) -> None:
    """The spoken form can be counted back."""
    total = section = digit = 0
    for char in numbers.sino(number).replace(" ", ""):
        if char in numbers.DIGITS:
            digit = numbers.DIGITS.index(char)
        elif char in "십백천":
            section += (digit or 1) * 10 ** ("십백천".index(char) + 1)
            digit = 0
        else:
            total += (section + digit or 1) * 10 ** (4 * ("만억조경해".index(char) + 1))
            section = digit = 0
    assert total + section + digit == number
