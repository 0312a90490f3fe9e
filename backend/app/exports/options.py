"""A preset with a request's options in it: everything that the files of a package follow."""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.exports.errors import BadOptions
from app.exports.names import BadTemplate, check_template
from app.exports.presets import ASCII_NAME, CUSTOM, PRESETS, Names, Preset, Rendition, Sound
from app.exports.schemas import Options

_CUSTOM_ONLY = ("container", "codec", "rate", "folder", "narrow_band", "ascii")
_NARROW_UP_TO = 8_000  # Hz: where nothing else is said, what cannot carry more than a telephone is narrow


@dataclass(frozen=True, slots=True)
class Making:
    preset: Preset
    renditions: tuple[Rendition, ...]
    names: Names
    name: str  # a template
    sound: Sound


def resolve(preset_name: str, options: Options) -> Making:
    """Raises BadOptions, with the field."""
    preset = PRESETS[preset_name]
    given = options.model_dump(exclude_none=True)
    names = preset.names
    if preset.name == "custom":
        renditions: tuple[Rendition, ...] = (_custom(options),)
        if options.ascii:
            names = replace(names, allowed=ASCII_NAME, ascii=True)
    else:
        for field in _CUSTOM_ONLY:
            if field in given:
                raise BadOptions(f"`{field}` is for the preset `custom` alone.", field=f"options.{field}")
        renditions = _chosen(preset, options)
    sound = replace(
        preset.sound,
        **{field: given[field] for field in ("lufs", "true_peak", "lead", "tail") if field in given},
    )
    return Making(preset, renditions, names, _template(options.name or "{name}", "name"), sound)


def _chosen(preset: Preset, options: Options) -> tuple[Rendition, ...]:
    wanted = options.formats or preset.default
    there = {rendition.name: rendition for rendition in preset.renditions}
    unknown = [name for name in wanted if name not in there]
    if unknown:
        raise BadOptions(
            f"{preset.name} has no format `{unknown[0]}`, but {', '.join(there)}.", field="options.formats"
        )
    return tuple(there[name] for name in dict.fromkeys(wanted))


def _custom(options: Options) -> Rendition:
    if options.formats:
        raise BadOptions(
            "`custom` is told by container, codec and rate, not by formats.", field="options.formats"
        )
    container = options.container or "wav"
    codecs = CUSTOM[container]
    codec: str = options.codec or next(iter(codecs))
    if codec not in codecs:
        raise BadOptions(f"{container} holds {', '.join(codecs)}, not {codec}.", field="options.codec")
    form = codecs[codec]
    rate = options.rate or 24_000
    if form.rates and rate not in form.rates:
        fitting = ", ".join(map(str, form.rates))
        raise BadOptions(f"{codec} carries {fitting} Hz, not {rate}.", field="options.rate")
    narrow = options.narrow_band if options.narrow_band is not None else rate <= _NARROW_UP_TO
    folder = _template(options.folder if options.folder is not None else "{path}", "folder")
    return Rendition(f"{container}-{codec}", folder, replace(form, rate=rate), narrow)


def _template(template: str, field: str) -> str:
    try:
        return check_template(template)
    except BadTemplate as error:
        raise BadOptions(str(error), field=f"options.{field}") from None
