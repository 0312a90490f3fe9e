"""The tokenizer gives coqui-tts's ids (tools/reference/tokenizer.py wrote them down)."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.speech.interface import EngineUnavailable
from app.speech.xtts.romanize import romanize
from app.speech.xtts.tokenizer import Tokenizer, UnsupportedLanguage

REFERENCE = Path(__file__).parent / "reference"
WRITTEN: dict[str, list[dict[str, Any]]] = json.loads((REFERENCE / "tokenizer.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(REFERENCE / "vocab.json", 6681)


@pytest.mark.parametrize("case", WRITTEN["cases"], ids=lambda case: case["text"].strip()[:20])
def test_ids_are_those_of_coqui_tts(tokenizer: Tokenizer, case: dict[str, Any]) -> None:
    assert tokenizer.encode(case["text"], case["language"]) == case["ids"]


@pytest.mark.parametrize("case", WRITTEN["borders"], ids=lambda case: case["text"][1])
def test_every_final_meets_every_initial(case: dict[str, str]) -> None:
    assert romanize(case["text"].strip()) == case["spelled"]


def test_spelling_of_the_standards_own_examples() -> None:
    words = {"값이": "gabs-i", "독립": "doglib", "물엿": "mul-yeos", "없었습니다": "eobs-eoss-seubnida"}
    assert {word: romanize(word) for word in words} == words


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
@settings(deadline=None, max_examples=200)
def test_only_syllables_are_rewritten(text: str) -> None:
    parts = re.split("[가-힣]+", text)
    written = romanize(text)
    for part in parts:
        found = written.find(part)
        assert found >= 0
        written = written[found + len(part) :]
    assert not re.search("[가-힣]", romanize(text))


def test_decomposed_hangul_is_the_same_text(tokenizer: Tokenizer) -> None:
    composed = "한글"
    decomposed = unicodedata.normalize("NFD", composed)
    assert composed != decomposed
    assert tokenizer.encode(decomposed, "ko") == tokenizer.encode(composed, "ko")


def test_a_region_is_no_other_language(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("네", "ko-KR") == tokenizer.encode("네", "ko")


@pytest.mark.parametrize("language", ["ja", "zh", "zh-cn", "xx", "", "STOP"])
def test_a_language_without_a_reading_is_refused(tokenizer: Tokenizer, language: str) -> None:
    with pytest.raises(UnsupportedLanguage) as refusal:
        tokenizer.encode("네", language)
    assert "ko" in refusal.value.fix
    assert tokenizer.languages() == {"en", "de", "es", "fr", "it", "ko", "pt"}


@pytest.mark.parametrize("content", [None, b"", b"{}", b"not json", b"\xff\xfe"])
def test_a_bad_vocabulary_says_what_to_do(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "vocab.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EngineUnavailable) as refusal:
        Tokenizer(path, 6681)
    assert "vocab.json" in refusal.value.fix


def test_a_vocabulary_of_another_model_is_refused() -> None:
    last = max(json.loads((REFERENCE / "vocab.json").read_text("utf-8"))["model"]["vocab"].values())
    Tokenizer(REFERENCE / "vocab.json", last + 1)
    with pytest.raises(EngineUnavailable, match=f"ids up to {last}, and the model knows those below {last}"):
        Tokenizer(REFERENCE / "vocab.json", last)
