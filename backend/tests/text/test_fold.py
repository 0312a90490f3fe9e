import pytest

from app.text.fold import fold


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("１２３", "123"),
        ("٣", "3"),
        ("Ｋｔ", "Kt"),
        ("é", "e"),
        ("가", "가"),
        ("1\u200b0", "10"),
        ("a\u00a0b", "a b"),
        ("09:00〜18:00", "09:00~18:00"),
        ("㎡ ① Ⅱ ½", "㎡ ① Ⅱ ½"),
    ],
)
def test_characters_that_mean_the_same_become_one(written: str, folded: str) -> None:
    assert fold(written)[0] == folded


def test_every_character_knows_its_place() -> None:
    text, places = fold("가\u200b３명")
    assert (text, places) == ("가3명", [0, 2, 3, 4])


def test_usual_texts_keep_their_places() -> None:
    assert fold("보험료는 1,000원(월)입니다.") == ("보험료는 1,000원(월)입니다.", None)
