from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.exports.errors import BadOptions
from app.exports.options import resolve
from app.exports.presets import CUSTOM, PRESETS
from app.exports.schemas import ExportIn, Options


def test_a_preset_as_it_is() -> None:
    for name in PRESETS:
        making = resolve(name, Options())
        assert making.renditions and making.sound == PRESETS[name].sound and making.name == "{name}"
    assert [each.name for each in resolve("asterisk", Options()).renditions] == [
        "ulaw",
        "alaw",
        "sln",
        "sln16",
        "wav",
    ]
    assert [each.name for each in resolve("avaya", Options()).renditions] == ["ulaw"]


def test_the_files_of_the_table() -> None:
    """Extension, rate and codec of each system, and what is limited to the telephone band."""
    told = {
        name: [
            (each.format.extension, each.rate, each.format.subtype, each.narrow) for each in preset.renditions
        ]
        for name, preset in PRESETS.items()
    }
    assert told["asterisk"] == [
        ("ulaw", 8000, "ULAW", True), ("alaw", 8000, "ALAW", True), ("sln", 8000, "PCM_16", True),
        ("sln16", 16_000, "PCM_16", False), ("wav", 8000, "PCM_16", True),
    ]  # fmt: skip
    assert told["freeswitch"] == [
        ("wav", 8000, "PCM_16", True), ("wav", 16_000, "PCM_16", False), ("wav", 32_000, "PCM_16", False),
        ("wav", 48_000, "PCM_16", False), ("PCMU", 8000, "ULAW", True), ("PCMA", 8000, "ALAW", True),
    ]  # fmt: skip
    assert told["genesys-cloud"] == [("wav", 8000, "ULAW", True)]
    assert told["avaya"] == [("wav", 8000, "ULAW", True), ("wav", 8000, "ALAW", True)]


def test_options_take_the_preset_s_place() -> None:
    making = resolve("asterisk", Options(formats=["wav", "ulaw", "wav"], lufs=-23, tail=0.5, name="p_{code}"))
    assert [each.name for each in making.renditions] == ["wav", "ulaw"]
    assert (making.sound.lufs, making.sound.true_peak, making.sound.tail) == (-23, -3.0, 0.5)
    assert making.name == "p_{code}"


def test_custom_is_narrow_where_it_cannot_be_wide() -> None:
    assert resolve("custom", Options(rate=8000)).renditions[0].narrow
    assert not resolve("custom", Options(rate=16_000)).renditions[0].narrow
    assert not resolve("custom", Options(rate=8000, narrow_band=False)).renditions[0].narrow
    assert resolve("custom", Options(ascii=True)).names.ascii


@pytest.mark.parametrize(
    ("preset", "options", "field"),
    [
        ("asterisk", {"formats": ["gsm"]}, "options.formats"),
        ("asterisk", {"rate": 8000}, "options.rate"),
        ("avaya", {"folder": "x"}, "options.folder"),
        ("genesys-cloud", {"container": "wav"}, "options.container"),
        ("custom", {"formats": ["wav"]}, "options.formats"),
        ("custom", {"container": "flac", "codec": "ulaw"}, "options.codec"),
        ("custom", {"container": "ogg", "rate": 44_100}, "options.rate"),
        ("custom", {"container": "mp3", "rate": 9000}, "options.rate"),
        ("custom", {"folder": "{secret}"}, "options.folder"),
        ("avaya", {"name": "{}"}, "options.name"),
    ],
)
def test_options_that_do_not_fit(preset: str, options: dict[str, Any], field: str) -> None:
    with pytest.raises(BadOptions) as caught:
        resolve(preset, Options(**options))
    assert caught.value.extra["field"] == field


@pytest.mark.parametrize(
    "body",
    [
        {"preset": "asterisk"},
        {"preset": "asterisk", "sheet_id": "x", "script_ids": ["y"]},
        {"preset": "asterisk", "script_ids": []},
        {"preset": "cisco", "sheet_id": "x"},
        {"preset": "custom", "sheet_id": "x", "options": {"rate": 7999}},
        {"preset": "custom", "sheet_id": "x", "options": {"lufs": 0}},
        {"preset": "custom", "sheet_id": "x", "options": {"colour": "red"}},
    ],
)
def test_requests_that_make_no_sense(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ExportIn(**body)


def test_every_custom_codec_is_one_that_a_request_can_name() -> None:
    for container, codecs in CUSTOM.items():
        for codec in codecs:
            assert resolve("custom", Options(container=container, codec=codec, rate=16_000)).renditions
