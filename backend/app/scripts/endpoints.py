from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Query
from sqlalchemy import select

from app.auth.access import Producer, Viewer
from app.auth.idempotency import Once
from app.deps import Parts, Reading, Writing, forget_files
from app.kit.paging import Page, PageQuery, page
from app.kit.problems import documented
from app.kit.schemas import Text
from app.models import Script, Take
from app.scripts import service
from app.scripts.schemas import ScriptChange, ScriptIn, ScriptOut, TakeOut

router = APIRouter(prefix="/voice-actors/tts-scripts", tags=["scripts"])


@router.post("", status_code=201, responses=documented(409))
def create_script(body: ScriptIn, once: Once, session: Writing) -> ScriptOut:
    return once(body, lambda: service.script_outs(session, [service.create(session, body)])[0], ScriptOut)


@router.get("")
def list_scripts(
    _: Viewer,
    session: Reading,
    paging: PageQuery = Depends(),
    search: Annotated[Text, Query(max_length=200)] = "",
    voice_model_id: Annotated[Text, Query(max_length=100)] = "",
) -> Page[ScriptOut]:
    rows, cursor = page(session, service.found(search, voice_model_id), Script.id, paging)
    return Page(items=service.script_outs(session, rows), next_cursor=cursor)


@router.get("/{script_id}", responses=documented(404))
def get_script(script_id: str, _: Viewer, session: Reading) -> ScriptOut:
    return service.script_outs(session, [service.get(session, script_id)])[0]


@router.put("/{script_id}", responses=documented(404))
def change_script(script_id: str, body: ScriptChange, _: Producer, session: Writing) -> ScriptOut:
    """Change what is named in the request; the take stays current until the script is generated again."""
    return service.script_outs(session, [service.change(session, script_id, body)])[0]


@router.delete("/{script_id}", status_code=204, responses=documented(404))
def delete_script(
    script_id: str, _: Producer, session: Writing, container: Parts, later: BackgroundTasks
) -> None:
    """Delete a script with all its takes."""
    keys = service.remove(container, session, script_id)
    later.add_task(forget_files, container.store, "takes", keys)


@router.get("/{script_id}/takes", responses=documented(404))
def list_takes(script_id: str, _: Viewer, session: Reading, paging: PageQuery = Depends()) -> Page[TakeOut]:
    """Every take that was made of a script, newest first."""
    service.get(session, script_id)
    rows, cursor = page(session, select(Take).where(Take.script_id == script_id), Take.id, paging)
    return Page(items=[service.take_out(row) for row in rows], next_cursor=cursor)
