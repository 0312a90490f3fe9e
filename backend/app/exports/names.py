"""What each file is called, checked before any is made: pure functions on strings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from app.exports.presets import Names
from app.exports.romanize import romanize

FIELDS = ("name", "code", "variant", "path", "voice", "number", "rate")
MAX_SEGMENT_BYTES = 200
MAX_PATH = 240  # characters of a whole path; Windows stops at 260
_FIELD = re.compile(r"\{([^{}]*)\}")
_EXTENSION = re.compile(
    r"\.(wav|mp3|ogg|opus|flac|ulaw|alaw|ul|al|sln|sln16|pcm|pcmu|pcma|gsm|g722|vox|raw|au)$", re.IGNORECASE
)
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?", re.IGNORECASE)
_SIGNS = re.compile(r"[\x00-\x1f\x7f]")


class BadName(ValueError):
    """This announcement cannot be called so: a stable code and a sentence that says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class BadTemplate(ValueError):
    """A template names a field that there is not."""


@dataclass(frozen=True, slots=True)
class Called:
    """What an announcement brings to its names. `file_name` and `path` as the sheet has them."""

    code: str
    variant: str
    file_name: str
    path: str
    voice: str
    number: int

    @property
    def name(self) -> str:
        """The file name without its extension, or the code, with the values of variables."""
        own = _EXTENSION.sub("", self.file_name.strip())
        # A file name that a variable is written into tells the variants apart already.
        if own and (not self.variant or any(part in own for part in self.variant.split(" / "))):
            return own
        return "_".join(each for each in (own or self.code, *self.variant.split(" / ")) if each)


def check_template(template: str) -> str:
    """The template as it is. Raises BadTemplate."""
    unknown = [field for field in _FIELD.findall(template) if field not in FIELDS]
    if unknown:
        raise BadTemplate(
            f"{{{unknown[0][:40]}}} is none of " + ", ".join(f"{{{field}}}" for field in FIELDS)
        )
    return template


def file_path(called: Called, folder: str, name: str, rate: int, extension: str, rules: Names) -> str:
    """The path in the package, by templates for folder and name. Raises BadName."""
    fields = {
        "name": called.name, "code": called.code, "variant": called.variant, "voice": called.voice,
        "number": f"{called.number:04}", "rate": str(rate), "path": called.path,
    }  # fmt: skip
    segments = [
        _segment(part, rules, is_folder=True)
        for piece in _pieces(folder)
        for part in _folders(_filled(piece, fields), is_path="{path}" in piece)
    ]
    stem = _segment(_filled(name, fields), rules, is_folder=False)
    if len(stem) > rules.max_length:
        raise BadName(
            "name_too_long",
            f"`{stem[:60]}` has {len(stem)} characters; {rules.max_length} is the most. Shorten the file name.",
        )
    if rules.letter_first and not re.match(r"[A-Za-z]", stem):
        raise BadName(
            "name_begins_wrong",
            f"`{stem[:60]}` must begin with a letter. Rename it, or set `name` to a template such as `p_{{name}}`.",
        )
    path = "/".join([*segments, f"{stem}.{extension}"])
    if len(path) > MAX_PATH:
        raise BadName("name_too_long", f"`{path[:80]}…` has {len(path)} characters; {MAX_PATH} is the most.")
    return path


def folded(path: str) -> str:
    """Two paths are one file on some system when these are the same."""
    return unicodedata.normalize("NFC", path).casefold()


def _pieces(folder: str) -> list[str]:
    return [piece for piece in folder.split("/") if piece]


def _filled(template: str, fields: Mapping[str, str]) -> str:
    return _FIELD.sub(lambda match: fields[match[1]], template)


def _folders(text: str, *, is_path: bool) -> list[str]:
    """The folders that a filled-in piece stands for: a path has several, anything else is one."""
    if not is_path:
        return [text]
    parts = [part.strip() for part in text.replace("\\", "/").split("/")]
    if any(part == ".." for part in parts) or re.match(r"[A-Za-z]:", text.strip()):
        raise BadName(
            "bad_path", f"`{text[:60]}` leads out of the package. Write folders such as `ivr/main`."
        )
    return [part for part in parts if part not in ("", ".")]


def _segment(text: str, rules: Names, *, is_folder: bool) -> str:
    what = "folder" if is_folder else "file"
    plain = unicodedata.normalize("NFC", text.strip())
    spaced = re.sub(r"\s+", "_", plain)
    if _SIGNS.search(plain) or not spaced.isprintable():
        raise BadName("bad_name", f"The {what} name has characters in it that cannot be seen.")
    if not is_folder and re.search(r"[/\\]", plain):
        raise BadName("bad_name", f"`{plain[:60]}` is a path; put its folders into the path column.")
    if rules.ascii:
        spaced = romanize(spaced)
        if not spaced.isascii():
            sign = next(char for char in spaced if not char.isascii())
            raise BadName(
                "not_ascii",
                f"`{plain[:60]}`: this system wants Latin letters, and `{sign}` has none. Rename it.",
            )
    written = re.sub(rf"(?!{rules.allowed}).", "_", spaced, flags=re.DOTALL).rstrip(".")
    if not written.strip("_."):
        raise BadName("bad_name", f"Nothing is left of the {what} name `{plain[:60]}`. Give it another one.")
    if written[0] in ".-":
        raise BadName("bad_name", f"The {what} name `{written[:60]}` must not begin with `{written[0]}`.")
    if _RESERVED.fullmatch(written):
        raise BadName("reserved_name", f"Windows keeps the name `{written}` for itself. Give it another one.")
    if len(written.encode()) > MAX_SEGMENT_BYTES:
        raise BadName("name_too_long", f"`{written[:60]}…` is longer than a {what} name can be.")
    return written
