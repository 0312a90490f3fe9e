"""Packages: everything is checked before the first byte, then made while it is sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import structlog
from sqlalchemy.orm import Session

from app.deps import Container
from app.exports import items as export_items
from app.exports.errors import Incomplete, NamesRefused, NothingToExport
from app.exports.items import Item, TakeInfo
from app.exports.names import BadName, Called, file_path, folded
from app.exports.options import Making, resolve
from app.exports.package import Entry, File, ahead, manifest_csv, manifest_json, sha256, zip_stream
from app.exports.presets import PRESETS, Rendition
from app.exports.render import render
from app.exports.schemas import ExportIn, LeftOut, NameProblem, PlannedFile, PlanOut, PresetOut
from app.sheets import service as sheets
from app.storage.interface import NotThere

log = structlog.get_logger()
BUCKET = "takes"
LISTED = 500
_HEADER_BYTES = 100


@dataclass(frozen=True, slots=True)
class Planned:
    """One announcement of a package: its take, and a path for each rendition."""

    item: Item
    take: TakeInfo
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    name: str  # of the package, without an extension
    making: Making
    about: dict[str, object]
    planned: list[Planned]
    left_out: list[LeftOut]
    names: list[NameProblem]


def plan(container: Container, session: Session, body: ExportIn) -> Plan:
    """What would be made, under which names, and what is not ready. Raises BadOptions, SheetNotFound."""
    making = resolve(body.preset, body.options)
    if body.sheet_id is not None:
        sheet = sheets.get(session, body.sheet_id)
        found, unknown = export_items.of_sheet(session, sheet.id), list[str]()
        approval = sheet.requires_approval if body.require_approval is None else body.require_approval
        name, about = sheet.name, {"sheet": sheet.name, "sheet_id": sheet.id, "sheet_version": sheet.version}
    else:
        found, unknown = export_items.of_scripts(session, body.script_ids or [])
        approval = bool(body.require_approval)
        name, about = "announcements", {}
    left_out = [
        LeftOut(
            code="", variant="", script_id=each, reason="unknown", message="There is no script with this id."
        )
        for each in unknown
    ]
    ready: list[Item] = []
    for item in found:
        item = _looked_for(container, item)
        lack = item.lacks(approval=approval)
        if lack is None:
            ready.append(item)
        else:
            left_out.append(
                LeftOut(
                    code=item.code,
                    variant=item.variant,
                    script_id=item.script_id,
                    reason=lack[0],
                    message=lack[1],
                )
            )
    planned, names = _name_all(ready, making)
    facts: dict[str, object] = {"preset": making.preset.name, **about, "sound": asdict(making.sound)}
    return Plan(name, making, facts, planned, left_out, names)


def _looked_for(container: Container, item: Item) -> Item:
    """The item, its take marked missing where the file is gone or is not what was stored."""
    take = item.take
    if take is None or take.is_missing:
        return item
    try:
        there = container.store.stat(BUCKET, take.audio_key).bytes == take.bytes
    except NotThere:
        there = False
    return item if there else replace(item, take=replace(take, is_missing=True))


def _name_all(ready: Sequence[Item], making: Making) -> tuple[list[Planned], list[NameProblem]]:
    planned: list[Planned] = []
    problems: list[NameProblem] = []
    taken: dict[str, Item] = {}

    def wrong(item: Item, problem: str, message: str) -> None:
        problems.append(
            NameProblem(
                code=item.code,
                variant=item.variant,
                script_id=item.script_id,
                problem=problem,
                message=message,
            )
        )

    for item in ready:
        assert item.take is not None  # what lacks a take is not ready
        called = Called(item.code, item.variant, item.file_name, item.path, item.take.voice, item.number)
        try:
            paths = tuple(_path(called, rendition, making) for rendition in making.renditions)
        except BadName as error:
            wrong(item, error.code, str(error))
            continue
        other = next((taken[folded(path)] for path in paths if folded(path) in taken), None)
        if other or len({folded(path) for path in paths}) < len(paths):
            whose = f"{other.code} {other.variant}".strip() if other else "another format of it"
            wrong(
                item,
                "name_twice",
                f"`{paths[0]}` is the name of {whose} already. Give one another file name.",
            )
            continue
        if message := _too_large(item, item.take, making):
            wrong(item, "too_large", message)
            continue
        taken |= {folded(path): item for path in paths}
        planned.append(Planned(item, item.take, paths))
    return planned, problems


def _path(called: Called, rendition: Rendition, making: Making) -> str:
    return file_path(
        called, rendition.folder, making.name, rendition.rate, rendition.format.extension, making.names
    )


def _too_large(item: Item, take: TakeInfo, making: Making) -> str | None:
    """Whether a file may pass the system's limit; all that have one write a byte a sample."""
    most = making.preset.max_bytes
    if most is None:
        return None
    seconds = take.seconds + making.sound.lead + making.sound.tail + item.pause
    rate = max(rendition.rate for rendition in making.renditions)
    if seconds * rate + _HEADER_BYTES <= most:
        return None
    return f"With {seconds:,.0f} s the file is over {most // 10**6} MB, the most that {making.preset.title} takes."


def plan_out(made: Plan) -> PlanOut:
    return PlanOut(
        announcements=len(made.planned),
        files=[
            PlannedFile(
                code=each.item.code, variant=each.item.variant, script_id=each.item.script_id, file=path,
                format=rendition.name,
            )
            for each in made.planned
            for path, rendition in zip(each.paths, made.making.renditions, strict=True)
        ],
        left_out=made.left_out,
        names=made.names,
    )  # fmt: skip


def checked(made: Plan, *, allow_incomplete: bool) -> Plan:
    """The plan, when nothing stands in its way. Raises NamesRefused, Incomplete, NothingToExport."""
    if made.names:
        raise NamesRefused(
            f"{len(made.names)} names are refused, the first that of {made.names[0].code}: {made.names[0].message}",
            count=len(made.names),
            names=[each.model_dump() for each in made.names[:LISTED]],
        )
    if made.left_out and not allow_incomplete:
        raise Incomplete(
            f"{len(made.left_out)} are not ready, the first {made.left_out[0].code or made.left_out[0].script_id}: "
            f"{made.left_out[0].message}",
            count=len(made.left_out),
            lines=[each.model_dump() for each in made.left_out[:LISTED]],
        )
    if not made.planned:
        raise NothingToExport
    return made


def stream(container: Container, made: Plan) -> Iterator[bytes]:
    """The package's bytes. Needs no database any more: a receiver may be slow."""
    log.info("tts.export_started", preset=made.making.preset.name, announcements=len(made.planned))
    yield from zip_stream(_files(container, made))
    log.info("tts.exported", preset=made.making.preset.name, announcements=len(made.planned))


def _files(container: Container, made: Plan) -> Iterator[File]:
    making, entries = made.making, list[Entry]()

    def rendered(each: Planned) -> list[tuple[bytes, float]]:
        take = container.store.open(BUCKET, each.take.audio_key)
        return render(take, making.renditions, making.sound, each.item.pause)

    for each, files in zip(made.planned, ahead(rendered, made.planned), strict=True):
        for rendition, path, (data, seconds) in zip(making.renditions, each.paths, files, strict=True):
            take = each.take
            entries.append(
                Entry(
                    each.item.code, each.item.variant, path, take.text, take.reading, take.voice, take.engine,
                    round(seconds, 6), rendition.name, sha256(data), take.id,
                )
            )  # fmt: skip
            yield File(path, data, take.made_at)
    newest = max(each.take.made_at for each in made.planned)
    left_out = [each.model_dump() for each in made.left_out]
    yield File("manifest.csv", manifest_csv(entries), newest)
    yield File("manifest.json", manifest_json(made.about, entries, left_out), newest)


def preset_outs() -> list[PresetOut]:
    return [
        PresetOut(
            name=preset.name, title=preset.title, formats=[each.name for each in preset.renditions],
            default_formats=list(preset.default), max_name_length=preset.names.max_length,
            ascii=preset.names.ascii, max_bytes=preset.max_bytes, **asdict(preset.sound),
        )
        for preset in PRESETS.values()
    ]  # fmt: skip
