"""The shape of the data: the built-in word list, and our own reading cases."""

import csv
import re
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest

WORDS = (files("app.text") / "data" / "words.tsv").read_text(encoding="utf-8").splitlines()
CASES = sorted((Path(__file__).parent / "cases").glob("*.tsv"))
KINDS = {"word", "brand", "acronym"}
CLASSES = {
    "phone",
    "money",
    "date",
    "time",
    "counter_native",
    "counter_sino",
    "ordinal_legal",
    "number_expr",
    "unit",
    "latin",
    "electronic",
    "identifier",
    "symbol",
    "plain",
}
WRITTEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9&+./'-]*")
READING = re.compile(r"[가-힣]+(?: [가-힣]+)*")
SPOKEN = re.compile(r"[가-힣 .,!?~()\[\]'·/:;-]+")
UNREAD = re.compile(r"[0-9A-Za-z]")


def rows(lines: list[str]) -> list[list[str]]:
    return list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def words() -> list[list[str]]:
    return rows([line for line in WORDS if line and not line.startswith("#")])


def cases(path: Path) -> list[list[str]]:
    return rows(path.read_text(encoding="utf-8").splitlines())


def test_word_rows_have_a_written_form_a_reading_and_a_kind() -> None:
    for row in words():
        written, reading, kind = row
        assert WRITTEN.fullmatch(written) and re.search("[A-Za-z]", written), row
        assert READING.fullmatch(reading), row
        assert kind in KINDS, row


def test_words_stand_once_whatever_their_case() -> None:
    counted = Counter(written.casefold() for written, _, _ in words())
    assert [written for written, times in counted.items() if times > 1] == []


def test_words_are_many_and_sorted_inside_their_trade() -> None:
    assert len(words()) >= 600
    sections: list[list[str]] = [[]]
    for line in WORDS:
        if line.startswith("#"):
            sections.append([])
        elif line:
            sections[-1].append(line.split("\t")[0].casefold())
    for section in sections:
        assert section == sorted(section)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_cases_of_a_trade_have_the_shape_of_the_scorer(path: Path) -> None:
    for row in cases(path):
        written, accepted, kind = row
        forms = accepted.split(" | ")
        assert kind in CLASSES, row
        assert len(set(forms)) == len(forms), row
        for form in forms:
            assert SPOKEN.fullmatch(form) and not UNREAD.search(form), (written, form)
        if kind == "plain":
            assert forms == [written]


def test_cases_cover_the_trades_and_every_class() -> None:
    every = [row for path in CASES for row in cases(path)]
    assert len(CASES) >= 10
    assert len(every) >= 600
    assert {kind for _, _, kind in every} == CLASSES
    counted = Counter(written for written, _, _ in every)
    assert [written for written, times in counted.items() if times > 1] == []
