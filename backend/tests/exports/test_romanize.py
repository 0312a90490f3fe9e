from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.exports.romanize import romanize

# The examples of 국어의 로마자 표기법 (chapters 2 and 3), in small letters and without hyphens.
STANDARD = """
구미 gumi|영동 yeongdong|백암 baegam|옥천 okcheon|합덕 hapdeok|호법 hobeop|월곶 wolgot|벚꽃 beotkkot|한밭 hanbat
구리 guri|설악 seorak|칠곡 chilgok|임실 imsil|울릉 ulleung|대관령 daegwallyeong
백마 baengma|신문로 sinmunno|종로 jongno|왕십리 wangsimni|별내 byeollae|신라 silla
학여울 hangnyeoul|알약 allyak|해돋이 haedoji|같이 gachi|굳히다 guchida
좋고 joko|놓다 nota|잡혀 japyeo|낳지 nachi|묵호 mukho|집현전 jiphyeonjeon
압구정 apgujeong|낙동강 nakdonggang|죽변 jukbyeon|낙성대 nakseongdae|합정 hapjeong|팔당 paldang|샛별 saetbyeol|울산 ulsan
중앙 jungang|반구대 bangudae|세운 seun|해운대 haeundae
광희문 gwanghuimun|부산 busan|세종 sejong|독립문 dongnimmun|극락전 geungnakjeon|촉석루 chokseongnu|남한산성 namhansanseong
속리산 songnisan|안압지 anapji|오죽헌 ojukheon|화랑대 hwarangdae|불국사 bulguksa|경복궁 gyeongbokgung|금강 geumgang
독도 dokdo|무량수전 muryangsujeon|연화교 yeonhwagyo|숭례문 sungnyemun|다보탑 dabotap|현충사 hyeonchungsa
"""  # fmt: skip
SAID = "값이 gapsi|닭 dak|삶 sam|앉아 anja|많이 mani|싫다 silta|않는 anneun|뚫는 ttulleun|뚫린 ttullin|여덟 yeodeol|있다 itda|꽃 kkot|옷이 osi|막히다 makida|생산량 saengsannyang|의견란 uigyeonnan|한라산 hallasan|칼날 kallal|안내 annae|상담원 sangdamwon|고객명 gogaengmyeong|입력 imnyeok|법률 beomnyul|연락 yeollak|밝혀 balkyeo|좋아 joa|않아 ana"


def pairs(listed: str) -> list[tuple[str, str]]:
    return [tuple(each.split()) for row in listed.strip().splitlines() for each in row.split("|")]


@pytest.mark.parametrize(("hangul", "latin"), pairs(STANDARD) + pairs(SAID))
def test_words_are_written_as_the_standard_writes_them(hangul: str, latin: str) -> None:
    assert romanize(hangul) == latin


def test_what_is_not_hangul_stays() -> None:
    assert romanize("ARS 1번, 안내-v2") == "ARS 1beon, annae-v2"
    assert romanize("종로") == romanize("종로") == "jongno"  # however it is composed
    assert romanize("ㄱㅏ") == "ga"
    assert romanize("案内") == "案内"


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3), min_size=1, max_size=8))
def test_any_hangul_becomes_letters(word: str) -> None:
    assert re.fullmatch("[a-z]+", romanize(word))


def test_every_syllable_alone_has_letters_of_its_own_sound() -> None:
    written = {romanize(chr(code)) for code in range(0xAC00, 0xD7A4)}
    assert len(written) == 19 * 21 * 8  # seven sounds can end a syllable, or none
