from __future__ import annotations

import json
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, BackgroundTasks, Depends, File, Form, Path, Query, Response, UploadFile
from pydantic import BaseModel, TypeAdapter, ValidationError
from sqlalchemy import select

from app.auth.access import Producer, Viewer
from app.auth.idempotency import Once
from app.auth.uploads import UploadRoute
from app.deps import Parts, Reading, Writing, forget_files
from app.kit.paging import Page, PageQuery, page
from app.kit.problems import documented
from app.kit.schemas import Name, Text
from app.models import Sheet, SheetLine, SheetVersion
from app.samples.service import label
from app.sheets import lines, service, understanding, writing
from app.sheets.errors import BadColumns, UnreadableSheet
from app.sheets.parsing import MAX_BYTES
from app.sheets.schemas import (
    DifferenceOut,
    GenerateIn,
    GenerateOut,
    LineOut,
    LineState,
    PreviewOut,
    SheetChange,
    SheetDetail,
    SheetOut,
    VersionDetail,
    VersionOut,
)
from app.sheets.understanding import Upload

router = APIRouter(prefix="/sheets", tags=["sheets"], route_class=UploadRoute)
BINARY = {
    kind.split(";")[0]: {"schema": {"type": "string", "format": "binary"}}
    for kind in writing.MEDIA_TYPES.values()
}


class _Request(BaseModel):
    """What an upload was, for its Idempotency-Key."""

    sha256: str
    said: list[str]


def _uploaded(
    file: Annotated[UploadFile, File(description="CSV (UTF-8, UTF-16, CP949) or XLSX, at most 20 MB")],
    values: Annotated[
        UploadFile | None, File(description="values of variables: a column for the code, one a variable")
    ] = None,
    columns: Annotated[
        Text,
        Form(
            max_length=20_000, description='corrects what headings mean: {"안내": "text", "순번": "ignore"}'
        ),
    ] = "",
) -> Upload:
    return Upload(
        _bytes(file),
        label(file.filename),
        _bytes(values) if values else None,
        _chosen(columns) if columns else None,
    )


Uploaded = Annotated[Upload, Depends(_uploaded)]
Voice = Annotated[Text | None, Form(max_length=100, description="the voice model of lines that name none")]


def _bytes(file: UploadFile) -> bytes:
    data = file.file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UnreadableSheet(
            "too_large", f"The file is over {MAX_BYTES >> 20} MB; divide it into several sheets."
        )
    return data


_CHOICE = TypeAdapter(dict[Text, Text])


def _chosen(columns: str) -> dict[str, str]:
    try:
        chosen = _CHOICE.validate_json(columns)
    except ValidationError:
        raise BadColumns(field="columns") from None
    return {heading.strip(): field for heading, field in chosen.items()}


@router.post(
    "",
    status_code=201,
    responses={
        **documented(409, 413),
        200: {"model": PreviewOut, "description": "with `?preview=true`: what was understood"},
    },
)
def create_sheet(
    upload: Uploaded,
    once: Once,
    caller: Producer,
    session: Writing,
    container: Parts,
    response: Response,
    name: Annotated[Name | None, Form(description="by default the file's name")] = None,
    voice_model_id: Voice = None,
    requires_approval: Annotated[bool, Form(description="exports stop at lines without an approval")] = False,
    preview: Annotated[bool, Query(description="only say what was understood; nothing is kept")] = False,
) -> SheetDetail | PreviewOut:
    """Import a sheet of announcements: a script a line, known by its code when the sheet comes again."""
    if preview:
        response.status_code = 200
        return understanding.preview(container, upload, voice_model_id or None)
    said = [name or "", voice_model_id or "", str(requires_approval), json.dumps(upload.columns)]
    return once(
        _Request(sha256=upload.sha256, said=said),
        lambda: service.create(
            container,
            session,
            upload,
            name or upload.label,
            voice_model_id or None,
            requires_approval,
            caller.name,
        ),
        SheetDetail,
    )


@router.get("")
def list_sheets(_: Viewer, session: Reading, paging: PageQuery = Depends()) -> Page[SheetOut]:
    rows, cursor = page(session, select(Sheet), Sheet.id, paging)
    return Page(items=service.sheet_outs(session, rows), next_cursor=cursor)


@router.get("/{sheet_id}", responses=documented(404))
def get_sheet(sheet_id: str, _: Viewer, session: Reading, container: Parts) -> SheetDetail:
    return service.detail(container, session, service.get(session, sheet_id))


@router.patch("/{sheet_id}", responses=documented(404))
def change_sheet(
    sheet_id: str, body: SheetChange, _: Producer, session: Writing, container: Parts
) -> SheetDetail:
    return service.change(container, session, sheet_id, body)


@router.delete("/{sheet_id}", status_code=204, responses=documented(404))
def delete_sheet(
    sheet_id: str, _: Producer, session: Writing, container: Parts, later: BackgroundTasks
) -> None:
    """Delete a sheet with all its scripts and takes."""
    keys = service.remove(session, sheet_id)
    later.add_task(forget_files, container.store, "takes", keys)


@router.post("/{sheet_id}/import", responses=documented(404, 409, 413))
def import_again(
    sheet_id: str,
    upload: Uploaded,
    caller: Producer,
    session: Writing,
    container: Parts,
    confirm: Annotated[
        Text | None,
        Form(max_length=64, description="the `digest` of a difference that was looked at: apply it"),
    ] = None,
    voice_model_id: Voice = None,
) -> DifferenceOut:
    """What a newer file changes: new, changed, gone, same. It is applied only with `confirm`."""
    return service.difference(
        container, session, sheet_id, upload, voice_model_id or None, confirm or None, caller.name
    )


@router.get("/{sheet_id}/versions", responses=documented(404))
def list_versions(
    sheet_id: str, _: Viewer, session: Reading, paging: PageQuery = Depends()
) -> Page[VersionOut]:
    """Every import of a sheet, newest first."""
    service.get(session, sheet_id)
    query = select(SheetVersion).where(SheetVersion.sheet_id == sheet_id)
    rows, cursor = page(session, query, SheetVersion.id, paging)
    return Page(items=[VersionOut.model_validate(row) for row in rows], next_cursor=cursor)


@router.get("/{sheet_id}/versions/{number}", responses=documented(404))
def get_version(
    sheet_id: str, number: Annotated[int, Path(ge=1, le=2**31 - 1)], _: Viewer, session: Reading
) -> VersionDetail:
    """One import of a sheet, with what each line said before and after it."""
    return service.version_out(service.get_version(session, sheet_id, number))


@router.get("/{sheet_id}/lines", responses=documented(404))
def list_lines(
    sheet_id: str,
    _: Viewer,
    session: Reading,
    container: Parts,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
    state: Annotated[LineState | None, Query(description="only lines in this state")] = None,
) -> Page[LineOut]:
    """A sheet's lines in its order, each with its state, what is unclear in it, its failure and its take."""
    service.get(session, sheet_id)
    after = lines.place_of(cursor)
    most = None if state else limit + 1
    facts = lines.load(container, session, sheet_id, after=after, limit=most, with_gone=state == "gone")
    if state:
        facts = [each for each in facts if each.state == state]
    more = len(facts) > limit
    facts = facts[:limit]
    return Page(
        items=lines.outs(container, session, facts),
        next_cursor=lines.cursor_of(facts[-1].line) if more else None,
    )


@router.post("/{sheet_id}/generate", status_code=202, responses=documented(404, 409))
def generate_sheet(
    sheet_id: str,
    once: Once,
    session: Writing,
    container: Parts,
    body: GenerateIn | None = None,
    only_failed: Annotated[bool, Query(description="the same as in the body")] = False,
) -> GenerateOut:
    """Generate the lines that changed since their take was made, or with `only_failed` the failed ones."""
    wanted = body or GenerateIn()
    wanted = wanted.model_copy(update={"only_failed": wanted.only_failed or only_failed})
    return once(wanted, lambda: service.generate(container, session, sheet_id, wanted), GenerateOut)


@router.post("/{sheet_id}/lines/{line_id}/approve", responses=documented(404, 409))
def approve_line(
    sheet_id: str,
    line_id: str,
    caller: Producer,
    session: Writing,
    container: Parts,
    take_id: Annotated[
        str | None, Query(max_length=100, description="409 if another take is current")
    ] = None,
) -> LineOut:
    """Say that the current take is good; it is noted who said so. A changed line loses this."""
    facts = service.approve(container, session, sheet_id, line_id, caller.name, take_id)
    return lines.outs(container, session, [facts])[0]


@router.post("/{sheet_id}/lines/{line_id}/unapprove", responses=documented(404))
def unapprove_line(sheet_id: str, line_id: str, _: Producer, session: Writing, container: Parts) -> LineOut:
    facts = service.unapprove(container, session, sheet_id, line_id)
    return lines.outs(container, session, [facts])[0]


@router.get(
    "/{sheet_id}/export",
    response_class=Response,
    responses={**documented(404), 200: {"content": BINARY}},
)
def export_sheet(
    sheet_id: str, _: Viewer, session: Reading, format: Literal["csv", "xlsx"] = "xlsx"
) -> Response:
    """The sheet as it was imported, with no cell that a spreadsheet would run."""
    sheet = service.get(session, sheet_id)
    query = select(SheetLine.cells).where(SheetLine.sheet_id == sheet_id, SheetLine.gone_at.is_(None))
    cells = session.scalars(query.order_by(SheetLine.position))
    rows = writing.rows_of(sheet.above, [heading for heading, _, _ in sheet.columns], cells)
    data = writing.as_csv(rows) if format == "csv" else writing.as_xlsx(rows, sheet.name)
    name = f"filename=\"sheet.{format}\"; filename*=UTF-8''{quote(sheet.name, safe='')}.{format}"
    headers = {"Content-Disposition": f"attachment; {name}"}
    return Response(data, media_type=writing.MEDIA_TYPES[format], headers=headers)
