"""Text of XTTS v2: a language mark, Latin letters, and the byte-pair vocabulary of the checkpoint.

Gives the ids that coqui-tts's VoiceBpeTokenizer gives for text that needs no reading any more: no digit,
no symbol, no abbreviation. Whatever has to be read out is `app.text`'s business, before it comes here.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

import tokenizers

from app.speech.interface import EngineUnavailable, SpeechError
from app.speech.xtts.romanize import romanize

SPACE = "[SPACE]"
WITHOUT_READING = frozenset({"ja", "zh"})


class UnsupportedLanguage(SpeechError):
    """The checkpoint has no mark for the language, or it would need a reading that we do not have."""

    code = "language_unsupported"


class Tokenizer:
    """`vocab.json` of one checkpoint, whose model knows `known` ids. Raises EngineUnavailable where that file cannot
    be used."""

    def __init__(self, vocab_path: Path | str, known: int) -> None:
        path = Path(vocab_path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise EngineUnavailable(
                f"The vocabulary {path} cannot be read: {error}",
                fix="Fetch or import the XTTS v2 weights again: the folder must hold vocab.json.",
            ) from error
        try:
            self._vocabulary = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # The Rust side raises plain Exception.
            raise EngineUnavailable(
                f"{path} is no vocabulary of the tokenizers library: {error}",
                fix="Fetch or import the XTTS v2 weights again: vocab.json is damaged.",
            ) from error
        last = max(self._vocabulary.get_vocab().values(), default=0)
        if last >= known:
            raise EngineUnavailable(
                f"{path} has ids up to {last}, and the model knows those below {known}.",
                fix="vocab.json, config.json and the weights must be of one model: fetch or import them again.",
            )

    def languages(self) -> frozenset[str]:
        """Codes that `encode` takes."""
        marks = {token[1:-1] for token in self._vocabulary.get_vocab() if token[:1] == "["}
        return frozenset(mark for mark in marks if mark.islower()) - WITHOUT_READING - {"zh-cn"}

    def encode(self, text: str, language: str) -> list[int]:
        """Ids of normalised text, without start and stop. A region (`ko-KR`) is ignored.

        Raises UnsupportedLanguage.
        """
        code = language.partition("-")[0].lower()
        if code in WITHOUT_READING or self._vocabulary.token_to_id(f"[{code}]") is None:
            raise UnsupportedLanguage(
                f"This checkpoint cannot speak {language!r} here.",
                fix=f"Use one of: {', '.join(sorted(self.languages()))}.",
            )
        ids: list[int] = self._vocabulary.encode(f"[{code}]{_spelled(text, code)}").ids
        return ids


def _spelled(text: str, code: str) -> str:
    words = unicodedata.normalize("NFC", text).replace('"', "").lower().split()
    joined = SPACE.join(words)
    return romanize(joined) if code == "ko" else joined
