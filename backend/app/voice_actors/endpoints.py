from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Query

from app.auth.access import Producer, Viewer
from app.auth.idempotency import Once
from app.deps import Parts, Reading, Writing, forget_files
from app.kit.paging import Page, PageQuery, page
from app.kit.problems import documented
from app.kit.schemas import Text
from app.models import VoiceActor
from app.voice_actors import service
from app.voice_actors.schemas import VoiceActorChange, VoiceActorIn, VoiceActorOut

router = APIRouter(tags=["voice actors"])


@router.post("/voice-actors", status_code=201, responses=documented(409))
def create_voice_actor(body: VoiceActorIn, once: Once, session: Writing) -> VoiceActorOut:
    return once(body, lambda: VoiceActorOut.model_validate(service.create(session, body)), VoiceActorOut)


@router.get("/voice-actors")
def list_voice_actors(
    _: Viewer,
    session: Reading,
    paging: PageQuery = Depends(),
    search: Annotated[Text, Query(max_length=200)] = "",
) -> Page[VoiceActorOut]:
    rows, cursor = page(session, service.found(search), VoiceActor.id, paging)
    return Page(items=[VoiceActorOut.model_validate(row) for row in rows], next_cursor=cursor)


@router.get("/voice-actors/{actor_id}", responses=documented(404))
def get_voice_actor(actor_id: str, _: Viewer, session: Reading) -> VoiceActorOut:
    return VoiceActorOut.model_validate(service.get(session, actor_id))


@router.patch("/voice-actors/{actor_id}", responses=documented(404))
def change_voice_actor(actor_id: str, body: VoiceActorChange, _: Producer, session: Writing) -> VoiceActorOut:
    return VoiceActorOut.model_validate(service.change(session, actor_id, body))


@router.delete("/voice-actors/{actor_id}", status_code=204, responses=documented(404, 409))
def delete_voice_actor(
    actor_id: str, _: Producer, session: Writing, container: Parts, later: BackgroundTasks
) -> None:
    """Delete an actor with all samples; 409 while there are voice models of theirs."""
    keys = service.remove(session, actor_id)
    later.add_task(forget_files, container.store, "samples", keys)
