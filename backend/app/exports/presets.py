"""What each telephone system takes, as data: formats, folders, names, sound.

Sources: Asterisk, "Sound files" and `file_exists` by format extension (docs.asterisk.org); FreeSWITCH,
mod_sndfile and the layout of its sound packages; Genesys Cloud, "Prompts overview" (25 MB, 200 characters);
Avaya Communication Manager, recorded announcements (CCITT µ-law or A-law, 8 kHz, 8 bits, mono; 27 characters).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.audio.formats import FORMATS, Format

ASCII_NAME = r"[A-Za-z0-9_.-]"


@dataclass(frozen=True, slots=True)
class Rendition:
    """One file of every announcement. `narrow` limits it to the telephone band, 300–3400 Hz."""

    name: str
    folder: str  # a template of {path}, {voice}, {code}, {rate}
    format: Format
    narrow: bool

    @property
    def rate(self) -> int:
        """Hz. Every format of a package has a set rate."""
        assert self.format.rate is not None
        return self.format.rate


@dataclass(frozen=True, slots=True)
class Names:
    """What a file may be called. Other ASCII characters become `_`; Hangul is romanised where `ascii`."""

    allowed: str  # a regular expression for one character
    max_length: int  # of a name without its extension
    ascii: bool = True
    letter_first: bool = False


@dataclass(frozen=True, slots=True)
class Sound:
    """How every file sounds: LUFS, dBTP, and seconds of silence at both ends."""

    lufs: float = -20.0
    true_peak: float = -3.0
    lead: float = 0.1
    tail: float = 0.1


@dataclass(frozen=True, slots=True)
class Preset:
    """A telephone system. `default` names the renditions that are made when none are asked for."""

    name: str
    title: str
    renditions: tuple[Rendition, ...]
    default: tuple[str, ...]
    names: Names
    sound: Sound = Sound()
    max_bytes: int | None = None  # of one file


def pcm(rate: int) -> Format:
    return replace(FORMATS["wav"], rate=rate)


_SOUNDS = "sounds/ko/{path}"
_PROMPTS = "ko/kr/{voice}/{path}/{rate}"
_FREESWITCH_RATES = (8_000, 16_000, 32_000, 48_000)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "asterisk",
            "Asterisk: header-less and WAV files under sounds/ko",
            (
                Rendition("ulaw", _SOUNDS, FORMATS["ulaw"], narrow=True),
                Rendition("alaw", _SOUNDS, FORMATS["alaw"], narrow=True),
                Rendition("sln", _SOUNDS, FORMATS["sln"], narrow=True),
                Rendition("sln16", _SOUNDS, FORMATS["sln16"], narrow=False),
                Rendition("wav", _SOUNDS, FORMATS["wav8"], narrow=True),
            ),
            ("ulaw", "alaw", "sln", "sln16", "wav"),
            Names(ASCII_NAME, 80),
        ),
        Preset(
            "freeswitch",
            "FreeSWITCH: WAV files by rate under ko/kr/<voice>, and header-less G.711",
            (
                *(
                    Rendition(f"wav{rate}", _PROMPTS, pcm(rate), narrow=rate == 8_000)
                    for rate in _FREESWITCH_RATES
                ),
                Rendition("PCMU", _PROMPTS, replace(FORMATS["ulaw"], extension="PCMU"), narrow=True),
                Rendition("PCMA", _PROMPTS, replace(FORMATS["alaw"], extension="PCMA"), narrow=True),
            ),
            (*(f"wav{rate}" for rate in _FREESWITCH_RATES), "PCMU", "PCMA"),
            Names(ASCII_NAME, 80),
        ),
        Preset(
            "genesys-cloud",
            "Genesys Cloud: user prompts as µ-law WAV files",
            (Rendition("ulaw", "", FORMATS["wav-ulaw"], narrow=True),),
            ("ulaw",),
            Names(r"[A-Za-z0-9_]", 200, letter_first=True),
            max_bytes=25 * 10**6,
        ),
        Preset(
            "avaya",
            "Avaya: announcements as µ-law or A-law WAV files",
            (
                Rendition("ulaw", "", FORMATS["wav-ulaw"], narrow=True),
                Rendition("alaw", "", FORMATS["wav-alaw"], narrow=True),
            ),
            ("ulaw",),
            Names(r"[A-Za-z0-9_-]", 27),
        ),
        Preset(
            "custom",
            "Any container, codec, rate, loudness, folder and name",
            (),
            (),
            Names(r'[^\x00-\x1f\x7f<>:"/\\|?*]', 120, ascii=False),
            Sound(lufs=-19.0, true_peak=-1.5),
        ),
    )
}

# Containers and the codecs each may hold, the usual one first: libsndfile's container and subtype, extension.
CUSTOM: dict[str, dict[str, Format]] = {
    "wav": {
        "pcm16": FORMATS["wav"],
        "pcm24": replace(FORMATS["wav"], subtype="PCM_24", bits=24),
        "ulaw": replace(FORMATS["wav-ulaw"], rate=None),
        "alaw": replace(FORMATS["wav-alaw"], rate=None),
    },
    "flac": {"pcm16": FORMATS["flac"], "pcm24": replace(FORMATS["flac"], subtype="PCM_24", bits=24)},
    "mp3": {"mp3": FORMATS["mp3"]},
    "ogg": {"opus": replace(FORMATS["opus"], extension="ogg"), "vorbis": FORMATS["ogg"]},
    "raw": {
        "pcm16": replace(FORMATS["pcm"], extension="raw", rate=None),
        "ulaw": replace(FORMATS["ulaw"], rate=None),
        "alaw": replace(FORMATS["alaw"], rate=None),
    },
}
