"""Every written line that we collected is read in one of the ways that a Korean announcer accepts."""

import re
from pathlib import Path

import pytest

from app.text import normalize

CASES = Path(__file__).parent / "cases"
PAUSES = re.compile(r"[\s.,!?~\-–〜～·…'\"‘’“”()\[\]※:;/]+")


def key(text: str) -> str:
    """What is compared: the words, without spaces and pauses."""
    return PAUSES.sub("", text)


def cases(path: Path) -> list[tuple[str, list[str], str]]:
    rows = [
        line.split("\t")
        for line in path.read_text("utf-8").splitlines()
        if line.strip() and not line.startswith("# ")
    ]
    return [(written, accepted.split(" | "), kind) for written, accepted, kind in rows]


@pytest.mark.parametrize("name", sorted(path.stem for path in CASES.glob("*.tsv")))
def test_every_case_is_read_right(name: str) -> None:
    wrong = []
    for written, accepted, kind in cases(CASES / f"{name}.tsv"):
        said = normalize(written).text
        if key(said) not in {key(form) for form in accepted}:
            wrong.append(f"{kind}: {written}\n  said {said}\n  accepted {accepted[0]}")
    assert not wrong, "\n".join(wrong)


def test_there_are_enough_cases_of_every_trade() -> None:
    counts = {path.stem: len(cases(path)) for path in CASES.glob("*.tsv")}
    assert sum(counts.values()) >= 680
    assert len(counts) >= 11


def test_no_case_contradicts_itself() -> None:
    seen: dict[str, set[str]] = {}
    for path in CASES.glob("*.tsv"):
        for written, accepted, _ in cases(path):
            forms = {key(form) for form in accepted}
            assert seen.setdefault(written, forms) & forms, written


def test_accepted_forms_are_plain_korean_and_stay_as_they_are() -> None:
    for path in CASES.glob("*.tsv"):
        for _, accepted, _ in cases(path):
            for form in accepted:
                if re.fullmatch(r"[가-힣 .,?!]+", form) and "  " not in form:
                    reading = normalize(form)
                    assert (reading.text, reading.trace, reading.unclear) == (form, (), ())
