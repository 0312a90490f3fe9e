import pytest

from app.text import normalize, particles


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("KT은 5km을 걷고 3kg이 줄었습니다.", "케이티는 오 킬로미터를 걷고 삼 킬로그램이 줄었습니다."),
        ("VIP으로, PC으로, KR으로", "브이아이피로, 피시로, 케이알로"),
        ("고객님을(를) 담당자은(는) 이메일(으)로", "고객님을 담당자는 이메일로"),
        ("1588-1230로", "일오팔팔 일이삼공으로"),
        ("TV이나 CCTV와", "티브이나 시시티브이와"),
        ("VIP이라는", "브이아이피라는"),
    ],
)
def test_particles_agree_with_what_is_spoken(written: str, spoken: str) -> None:
    assert normalize(written).text == spoken


@pytest.mark.parametrize("text", ["을지로 삼가 이와 같이", "길이가 나이라도", "이과 문과 오과"])
def test_particles_of_plain_korean_stay(text: str) -> None:
    assert normalize(text).text == text


def test_names_with_numbers_are_no_particles() -> None:
    assert normalize("을지로3가에서 민원2과로").text == "을지로 삼가에서 민원 이 과로"


def test_final_consonants() -> None:
    assert [particles.final(char) for char in "가각힣"] == [0, 1, 27]
    assert particles.choose(("으로", "로"), "서울") == "로"
