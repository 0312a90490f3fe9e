from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, File, Form, Query, Response, UploadFile
from sqlalchemy import select

from app.auth.access import Producer, Viewer
from app.auth.idempotency import Once
from app.auth.uploads import UploadRoute
from app.deps import Parts, Reading, Writing
from app.kit.paging import Page, PageQuery, page
from app.kit.problems import documented
from app.kit.schemas import Name
from app.lexicons import service
from app.lexicons.schemas import (
    LexiconChange,
    LexiconIn,
    LexiconOut,
    LexiconSummary,
    NormalizeIn,
    PartOut,
    ReadingOut,
    SpanOut,
    UnclearOut,
    VersionOut,
)
from app.models import Lexicon, LexiconVersion
from app.text import split

router = APIRouter(tags=["reading"], route_class=UploadRoute)
FileFormat = Literal["pls", "csv"]
FILES = {kind: {"schema": {"type": "string"}} for kind in ("application/pls+xml", "text/csv")}


@router.post("/text/normalize")
def normalize(body: NormalizeIn, _: Viewer, session: Reading) -> ReadingOut:
    """How a text is spoken, which written stretch became what and why, and what is unclear."""
    reading = service.readings(session, best_effort=body.best_effort).read(
        body.text, language=body.language, script_id=body.script_id
    )
    return ReadingOut(
        text=reading.text,
        trace=[SpanOut.model_validate(span) for span in reading.trace],
        unclear=[UnclearOut.model_validate(each) for each in reading.unclear],
        parts=[PartOut.model_validate(part) for part in split(reading)],
    )


@router.get("/lexicons")
def list_lexicons(_: Viewer, session: Reading, paging: PageQuery = Depends()) -> Page[LexiconSummary]:
    rows, cursor = page(session, select(Lexicon), Lexicon.id, paging)
    return Page(items=[service.summary(row) for row in rows], next_cursor=cursor)


@router.post("/lexicons", status_code=201, responses=documented(404, 409))
def create_lexicon(body: LexiconIn, once: Once, session: Writing) -> LexiconOut:
    """Readings of your own, for one script or for all; they go before every rule."""
    return once(body, lambda: service.create(session, body), LexiconOut)


@router.post("/lexicons/import", status_code=201)
def import_lexicon(
    _: Producer,
    session: Writing,
    file: Annotated[UploadFile, File(description="W3C PLS 1.0, or CSV with the columns written, spoken")],
    name: Annotated[Name, Form()],
    format: Annotated[FileFormat, Query()] = "csv",
) -> LexiconOut:
    entries = service.imported(file.file.read(), format)
    return service.create(session, LexiconIn(name=name, entries=entries))


@router.get("/lexicons/{lexicon_id}", responses=documented(404))
def get_lexicon(lexicon_id: str, _: Viewer, session: Reading) -> LexiconOut:
    return service.out(service.get(session, lexicon_id), [])


@router.put("/lexicons/{lexicon_id}", responses=documented(404))
def change_lexicon(lexicon_id: str, body: LexiconChange, _: Producer, session: Writing) -> LexiconOut:
    """Change a lexicon; `changed_scripts` are read differently now, and a batch makes just these again."""
    return service.change(session, lexicon_id, body)


@router.delete("/lexicons/{lexicon_id}", status_code=204, responses=documented(404))
def delete_lexicon(lexicon_id: str, _: Producer, session: Writing) -> None:
    service.remove(session, lexicon_id)


@router.get("/lexicons/{lexicon_id}/versions", responses=documented(404))
def list_versions(
    lexicon_id: str, _: Viewer, session: Reading, paging: PageQuery = Depends()
) -> Page[VersionOut]:
    """What the lexicon said before, newest first."""
    service.get(session, lexicon_id)
    query = select(LexiconVersion).where(LexiconVersion.lexicon_id == lexicon_id)
    rows, cursor = page(session, query, LexiconVersion.id, paging)
    items = [
        VersionOut(version=row.version, entries=service.entry_outs(row.entries), created_at=row.created_at)
        for row in rows
    ]
    return Page(items=items, next_cursor=cursor)


@router.get(
    "/lexicons/{lexicon_id}/export",
    response_class=Response,
    responses=documented(404) | {200: {"content": FILES}},
)
def export_lexicon(
    lexicon_id: str, _: Viewer, session: Reading, container: Parts, format: FileFormat = "csv"
) -> Response:
    text, media_type = service.exported(service.get(session, lexicon_id), format)
    headers = {"Content-Disposition": f'attachment; filename="lexicon.{format}"'}
    return Response(text, media_type=media_type, headers=headers)
