"""Sheets: read, compared with what is there, and only then applied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from app.deps import Container
from app.generation import batches
from app.generation.schemas import BatchIn
from app.kit.clock import now
from app.kit.database import in_lots
from app.kit.ids import is_id, new_id
from app.models import Script, Sheet, SheetLine, SheetVersion, Take
from app.sheets import lines as sheet_lines
from app.sheets.differences import Change, Difference, Said, compare, others
from app.sheets.errors import (
    DifferenceChanged,
    LineNotFound,
    NothingToApprove,
    OtherTakeIsCurrent,
    SheetNotFound,
    VersionNotFound,
)
from app.sheets.lines import LineFacts
from app.sheets.parsing import (
    Line,
)
from app.sheets.schemas import (
    ColumnOut,
    DifferenceOut,
    FieldChange,
    GenerateIn,
    GenerateOut,
    LineChange,
    SheetChange,
    SheetDetail,
    SheetOut,
    VersionChange,
    VersionDetail,
    VersionOut,
)
from app.sheets.understanding import Understood, Upload, parse, understand, without_problems

log = structlog.get_logger()


def get(session: Session, sheet_id: str, *, to_change: bool = False) -> Sheet:
    sheet = session.get(Sheet, sheet_id, with_for_update=to_change or None) if is_id(sheet_id) else None
    if sheet is None:
        raise SheetNotFound
    return sheet


def create(
    container: Container, session: Session, upload: Upload, name: str, voice_model_id: str | None,
    requires_approval: bool, by: str,
) -> SheetDetail:  # fmt: skip
    """Keep a sheet, with a script a line. Raises SheetHasProblems when a row is wrong."""
    found = without_problems(understand(container, session, parse(upload), voice_model_id))
    sheet = Sheet(
        id=new_id(), name=name, voice_model_id=voice_model_id, requires_approval=requires_approval, version=0,
        columns=[], above=[],
    )  # fmt: skip
    session.add(sheet)
    session.flush()
    difference = compare(sheet.id, {}, found.said(), {})
    _apply(session, sheet, found, difference, {}, upload, by)
    log.info("tts.sheet_created", sheet=sheet.id, lines=len(found.lines))
    return detail(container, session, sheet)


def difference(
    container: Container, session: Session, sheet_id: str, upload: Upload, voice_model_id: str | None,
    confirm: str | None, by: str,
) -> DifferenceOut:  # fmt: skip
    """Compare a file with the sheet; with its digest as `confirm`, also apply what differs."""
    parsed = parse(upload)
    sheet = get(session, sheet_id, to_change=confirm is not None)
    voice = voice_model_id or sheet.voice_model_id
    found = without_problems(understand(container, session, parsed, voice))
    rows = _line_rows(session, sheet.id)
    there = {key: said for key, (line, _, said) in _with_said(sheet, rows).items() if line.gone_at is None}
    base = f"{sheet.id} {sheet.version} {voice}"
    result = compare(base, there, found.said(), {line.key: line.row for line in found.lines})
    if confirm is not None:
        if confirm != result.digest:
            raise DifferenceChanged(digest=result.digest)
        sheet.voice_model_id = voice
        _apply(session, sheet, found, result, rows, upload, by)
        log.info("tts.sheet_imported", sheet=sheet.id, version=sheet.version)
    return DifferenceOut(
        digest=result.digest, applied=confirm is not None, version=sheet.version, same=result.same,
        new=[_change_out(each) for each in result.of("new")],
        changed=[_change_out(each) for each in result.of("changed")],
        gone=[_change_out(each) for each in result.of("gone")],
    )  # fmt: skip


Rows = dict[tuple[str, str], tuple[SheetLine, Script]]


def _line_rows(session: Session, sheet_id: str) -> Rows:
    query = select(SheetLine, Script).join(Script).where(SheetLine.sheet_id == sheet_id)
    return {(line.code, line.variant): (line, script) for line, script in session.execute(query).all()}


def _with_said(sheet: Sheet, rows: Rows) -> dict[tuple[str, str], tuple[SheetLine, Script, Said]]:
    """What each line says now: its script's text, voice and speed, which may have been changed elsewhere."""
    columns = [(heading, field) for heading, field, _ in sheet.columns]
    return {
        key: (line, script, Said(
            script.text, script.voice_model_id, script.speed, line.pause, line.file_name, line.path,
            line.note, others(columns, line.cells),
        ))
        for key, (line, script) in rows.items()
    }  # fmt: skip


def _apply(
    session: Session, sheet: Sheet, found: Understood, result: Difference, rows: Rows, upload: Upload, by: str
) -> None:
    """Make the lines what the file says: scripts keep their ids by code, and no take is touched."""
    moment = now()
    heard = {(change.code, change.variant) for change in result.changes if change.is_heard}
    for position, (line, voice) in enumerate(zip(found.lines, found.voice_ids, strict=True)):
        assert voice is not None  # a row without one is a problem, and a file with problems is not applied
        row, script = rows.get(line.key) or _new_line(session, sheet, line, voice)
        said = line.text, voice, line.speed or 1.0
        if said != (script.text, script.voice_model_id, script.speed):
            script.text, script.voice_model_id, script.speed = said
            script.stale_at = moment
        row.position, row.row, row.values, row.cells = position, line.row, line.values, list(line.cells)
        row.pause, row.file_name, row.path, row.note = line.pause, line.file_name, line.path, line.note
        row.gone_at = None
    for change in result.of("gone"):
        rows[change.code, change.variant][0].gone_at = moment
    _end_approvals(session, [row for key, (row, _) in rows.items() if key in heard or row.gone_at])
    sheet.columns = [[column.heading, column.field, column.variable] for column in found.layout.columns]
    sheet.above = [list(cells) for cells in found.layout.above]
    sheet.version += 1
    counts: dict[str, int] = Counter(change.kind for change in result.changes)
    session.add(
        SheetVersion(
            id=new_id(), sheet_id=sheet.id, number=sheet.version, file_name=upload.label,
            sha256=upload.sha256, imported_by=by, new=counts.get("new", 0), changed=counts.get("changed", 0),
            gone=counts.get("gone", 0), same=result.same,
            changes=[
                [change.code, change.variant, change.kind, [list(field) for field in change.fields]]
                for change in result.changes
            ],
        )
    )  # fmt: skip
    session.flush()


def _new_line(session: Session, sheet: Sheet, line: Line, voice: str) -> tuple[SheetLine, Script]:
    title = f"{line.code} {line.variant}".strip()[:200]
    script = Script(id=new_id(), voice_model_id=voice, title=title, text=line.text, speed=line.speed or 1.0)
    session.add(script)
    row = SheetLine(
        id=new_id(), sheet_id=sheet.id, script_id=script.id, code=line.code, variant=line.variant,
    )  # fmt: skip
    session.add(row)
    return row, script


def _end_approvals(session: Session, rows: Sequence[SheetLine]) -> None:
    """Of the lines and of their takes, which are kept for ever while they are approved."""
    takes = [row.approved_take_id for row in rows if row.approved_take_id]
    for chunk in in_lots(takes):
        session.execute(update(Take).where(Take.id.in_(chunk)).values(approved_at=None))
    for row in rows:
        row.approved_take_id = row.approved_by = row.approved_at = None


def _change_out(change: Change) -> LineChange:
    return LineChange(
        code=change.code, variant=change.variant, row=change.row, heard=change.is_heard,
        fields=[FieldChange(field=name, before=before, after=after) for name, before, after in change.fields],
    )  # fmt: skip


def get_version(session: Session, sheet_id: str, number: int) -> SheetVersion:
    get(session, sheet_id)
    query = select(SheetVersion).where(SheetVersion.sheet_id == sheet_id, SheetVersion.number == number)
    version = session.scalar(query)
    if version is None:
        raise VersionNotFound
    return version


def version_out(version: SheetVersion) -> VersionDetail:
    changes = [
        Change(kind, code, variant, None, tuple((name, before, after) for name, before, after in fields))
        for code, variant, kind, fields in version.changes
    ]
    return VersionDetail(
        **VersionOut.model_validate(version).model_dump(),
        changes=[VersionChange(kind=each.kind, **_change_out(each).model_dump()) for each in changes],
    )


def change(container: Container, session: Session, sheet_id: str, body: SheetChange) -> SheetDetail:
    sheet = get(session, sheet_id, to_change=True)
    for field, value in body.model_dump(exclude_none=True).items():
        setattr(sheet, field, value)
    session.flush()
    return detail(container, session, sheet)


def remove(session: Session, sheet_id: str) -> list[str]:
    """Delete a sheet with its scripts and takes; the store's keys that may go after the commit."""
    sheet = get(session, sheet_id, to_change=True)
    scripts = select(SheetLine.script_id).where(SheetLine.sheet_id == sheet_id)
    ids = list(session.scalars(scripts))
    keys = list(session.scalars(select(Take.audio_key).where(Take.script_id.in_(scripts))))
    for lot in in_lots(ids):
        session.execute(delete(Script).where(Script.id.in_(lot)))
    session.delete(sheet)
    log.info("tts.sheet_deleted", sheet=sheet_id, scripts=len(ids), takes=len(keys))
    return keys


def sheet_outs(session: Session, sheets: Sequence[Sheet]) -> list[SheetOut]:
    rows = session.execute(
        select(SheetLine.sheet_id, func.count())
        .where(SheetLine.sheet_id.in_([sheet.id for sheet in sheets]), SheetLine.gone_at.is_(None))
        .group_by(SheetLine.sheet_id)
    )
    counts = {row[0]: row[1] for row in rows}
    return [SheetOut(**_fields(sheet, counts.get(sheet.id, 0))) for sheet in sheets]


def _fields(sheet: Sheet, line_count: int) -> dict[str, Any]:
    names = ("id", "name", "voice_model_id", "requires_approval", "version", "created_at", "updated_at")
    columns = [ColumnOut(heading=head, field=field, variable=name) for head, field, name in sheet.columns]
    return {name: getattr(sheet, name) for name in names} | {"line_count": line_count, "columns": columns}


def detail(container: Container, session: Session, sheet: Sheet) -> SheetDetail:
    facts = sheet_lines.load(container, session, sheet.id, with_gone=True)
    states = Counter(each.state for each in facts)
    return SheetDetail(
        **_fields(sheet, len(facts) - states["gone"]),
        states=dict(states),
        approved=sum(each.is_approved for each in facts if each.state != "gone"),
        seconds=round(sum(each.take.seconds for each in facts if each.take and each.state == "done"), 3),
    )


def get_line(container: Container, session: Session, sheet_id: str, line_id: str) -> LineFacts:
    get(session, sheet_id)
    facts = sheet_lines.load(container, session, sheet_id, line_id=line_id) if is_id(line_id) else []
    if not facts:
        raise LineNotFound
    return facts[0]


def generate(container: Container, session: Session, sheet_id: str, body: GenerateIn) -> GenerateOut:
    """Generate the lines that are out of date, or the failed ones alone; not what is under way already."""
    get(session, sheet_id, to_change=True)  # two requests at once do not both find a line idle
    facts = sheet_lines.load(container, session, sheet_id)
    under_way = [each for each in facts if each.state in ("queued", "running")]
    wanted = [
        each.script.id
        for each in facts
        if each.state not in ("queued", "running") and (each.state == "failed" or not body.only_failed)
    ]
    if not wanted:
        return GenerateOut(batch_id=None, accepted=0, unchanged=0, under_way=len(under_way), watch=None)
    started = batches.start(
        container, session, BatchIn(script_ids=wanted, force_regenerate=body.force_regenerate)
    )
    return GenerateOut(
        batch_id=started.batch_id, accepted=started.accepted, unchanged=started.unchanged,
        under_way=len(under_way), watch=f"/api/v1/voice-actors/batches/{started.batch_id}",
    )  # fmt: skip


def approve(
    container: Container, session: Session, sheet_id: str, line_id: str, by: str, take_id: str | None
) -> LineFacts:
    """A person's word that the current take is good."""
    facts = get_line(container, session, sheet_id, line_id)
    if facts.take is None or not facts.take.says_it or facts.take.is_missing:
        raise NothingToApprove
    if take_id is not None and take_id != facts.take.id:
        raise OtherTakeIsCurrent(take_id=facts.take.id)
    moment = now()
    facts.line.approved_take_id, facts.line.approved_by = facts.take.id, by
    facts.line.approved_at = moment
    take = session.get_one(Take, facts.take.id)
    take.approved_at = moment
    session.flush()
    log.info("tts.line_approved", sheet=sheet_id, line=line_id, take=take.id)
    return facts


def unapprove(container: Container, session: Session, sheet_id: str, line_id: str) -> LineFacts:
    facts = get_line(container, session, sheet_id, line_id)
    _end_approvals(session, [facts.line])
    session.flush()
    return facts
