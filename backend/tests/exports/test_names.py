from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.exports.names import BadName, BadTemplate, Called, check_template, file_path, folded
from app.exports.presets import PRESETS


def path(
    preset: str = "asterisk", folder: str = "sounds/ko/{path}", name: str = "{name}", **fields: Any
) -> str:
    given = {
        "code": "A1",
        "variant": "",
        "file_name": "",
        "path": "",
        "voice": "하늘 v1",
        "number": 7,
    } | fields
    return file_path(Called(**given), folder, name, 8000, "wav", PRESETS[preset].names)


def refused(**options: Any) -> str:
    with pytest.raises(BadName) as caught:
        path(**options)
    return caught.value.code


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "sounds/ko/A1.wav"),
        ({"file_name": "welcome.WAV", "path": "ivr/main/"}, "sounds/ko/ivr/main/welcome.wav"),
        ({"file_name": "v1.2", "path": "\\ivr\\sub"}, "sounds/ko/ivr/sub/v1.2.wav"),
        ({"file_name": "환영 인사.wav", "path": "대표 번호"}, "sounds/ko/daepyo_beonho/hwanyeong_insa.wav"),
        ({"file_name": "종로(본점)"}, "sounds/ko/jongno_bonjeom_.wav"),
        ({"variant": "김철수"}, "sounds/ko/A1_gimcheolsu.wav"),
        ({"file_name": "hi_김철수", "variant": "김철수"}, "sounds/ko/hi_gimcheolsu.wav"),
        ({"name": "{number}_{code}_{rate}"}, "sounds/ko/0007_A1_8000.wav"),
        ({"folder": "ko/kr/{voice}/{path}/{rate}", "path": "a/b"}, "ko/kr/haneul_v1/a/b/8000/A1.wav"),
        ({"folder": "", "path": "ignored"}, "A1.wav"),
        ({"path": "./a//b"}, "sounds/ko/a/b/A1.wav"),
    ],
)
def test_names(fields: dict[str, Any], expected: str) -> None:
    assert path(**fields) == expected


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"path": "../../etc"}, "bad_path"),
        ({"path": "a/../b"}, "bad_path"),
        ({"path": "C:\\Windows"}, "bad_path"),
        ({"file_name": "../x"}, "bad_name"),
        ({"file_name": "a/b"}, "bad_name"),
        ({"file_name": "a\nb"}, "bad_name"),
        ({"file_name": ".wav"}, None),
        ({"file_name": ".hidden"}, "bad_name"),
        ({"file_name": "-rf"}, "bad_name"),
        ({"file_name": "..."}, "bad_name"),
        ({"file_name": "CON"}, "reserved_name"),
        ({"file_name": "nul.x"}, "reserved_name"),
        ({"path": "lpt1"}, "reserved_name"),
        ({"file_name": "案内"}, "not_ascii"),
        ({"file_name": "café"}, "not_ascii"),
        ({"file_name": "a" * 81}, "name_too_long"),
        ({"path": "/".join(["abcdefgh"] * 30)}, "name_too_long"),
        ({"preset": "avaya", "folder": "", "file_name": "a" * 28}, "name_too_long"),
        ({"preset": "genesys-cloud", "folder": "", "file_name": "001"}, "name_begins_wrong"),
        ({"preset": "genesys-cloud", "folder": "", "file_name": "_a"}, "name_begins_wrong"),
        ({"preset": "genesys-cloud", "folder": "", "file_name": "a" * 201}, "name_too_long"),
    ],
)
def test_names_that_are_refused(options: dict[str, Any], code: str | None) -> None:
    if code is None:
        assert path(**options) == "sounds/ko/A1.wav"  # nothing but an extension is no name
    else:
        assert refused(**options) == code


def test_each_system_has_its_limits() -> None:
    assert path("avaya", "", file_name="a" * 27) == "a" * 27 + ".wav"
    assert path("genesys-cloud", "", file_name="a-b c.d") == "a_b_c_d.wav"
    assert path("genesys-cloud", "", "p_{name}", file_name="001") == "p_001.wav"
    assert path("custom", "{path}", file_name="환영 인사", path="가/나") == "가/나/환영_인사.wav"


def test_one_file_on_some_system_is_one_name() -> None:
    assert folded("A/Welcome.wav") == folded("a/welcome.WAV")
    assert folded("가") == folded("가")


def test_a_template_has_known_fields() -> None:
    assert check_template("{code}-{number}") == "{code}-{number}"
    for template in ("{text}", "{}", "{code.__class__}", "{0}"):
        with pytest.raises(BadTemplate):
            check_template(template)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(list(PRESETS)), st.text(max_size=40), st.text(max_size=40), st.text(max_size=20),
    st.sampled_from(["", "{path}", "sounds/ko/{path}", "{voice}/{path}/{rate}"]),
)  # fmt: skip
def test_no_name_leads_out_of_the_package(
    preset: str, file_name: str, where: str, voice: str, folder: str
) -> None:
    try:
        made = path(preset, folder, file_name=file_name, path=where, voice=voice)
    except BadName:
        return
    segments = made.split("/")
    assert all(segment and segment.strip(".") and segment[0] not in ".-" for segment in segments)
    assert not made.startswith("/") and "\\" not in made and ":" not in made and made.isprintable()
    assert len(made) <= 240 and all(len(segment.encode()) <= 255 for segment in segments)
    if PRESETS[preset].names.ascii:
        assert made.isascii()
