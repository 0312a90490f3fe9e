"""What reading a text gives: the spoken words, how each part came about, and what stayed unclear."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """One written stretch that is spoken in other words.

    `start`/`end` are offsets into the written text, `spoken_start`/`spoken_end` into the spoken one;
    text between spans is spoken as it is written. `kind` is the class (phone, money, date, …), `rule` the
    rule that made it, `alternatives` other readings that were possible, `confidence` 0 to 1.
    """

    start: int
    end: int
    written: str
    spoken: str
    spoken_start: int
    spoken_end: int
    kind: str
    rule: str
    alternatives: tuple[str, ...] = ()
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class Unclear:
    """Characters whose reading was guessed or left out. `suggestion` is a spoken form to start from."""

    start: int
    end: int
    written: str
    why: str
    suggestion: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """A silence asked for by markup, before spoken offset `at`, in seconds."""

    at: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Pace:
    """A stretch of spoken text at another speed; 1.0 is the voice's own."""

    start: int
    end: int
    rate: float


@dataclass(frozen=True, slots=True)
class Reading:
    """A written text and how it is spoken. `text` holds Hangul, spaces, line breaks and . , ? ! alone
    unless the language is another one than Korean, in which case it is the written text."""

    written: str
    text: str
    trace: tuple[Span, ...] = ()
    unclear: tuple[Unclear, ...] = ()
    pauses: tuple[Pause, ...] = ()
    paces: tuple[Pace, ...] = ()

    def require_clear(self) -> Reading:
        """This reading, or `UnclearText` where something in it had to be guessed."""
        if self.unclear:
            raise UnclearText(self.unclear)
        return self


class UnclearText(ValueError):
    """Some characters have no sure reading: `unclear` names them, their places and what to do."""

    def __init__(self, unclear: tuple[Unclear, ...]) -> None:
        self.unclear = unclear
        shown = "; ".join(
            f"{item.written!r} at {item.start}: {item.why}"
            + (f" (lexicon: {item.written} -> {item.suggestion})" if item.suggestion else "")
            for item in unclear[:5]
        )
        more = f"; and {len(unclear) - 5} more" if len(unclear) > 5 else ""
        super().__init__(f"{shown}{more}. Add a lexicon entry, or ask for best effort.")
