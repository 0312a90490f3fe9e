from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from app.auth.access import Viewer
from app.deps import Parts, Reading
from app.exports import service
from app.exports.schemas import ExportIn, PlanOut, PresetOut
from app.kit.problems import documented

router = APIRouter(prefix="/exports", tags=["exports"])
ZIP = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}


@router.get("/presets")
def list_presets(_: Viewer) -> list[PresetOut]:
    """The telephone systems that packages are made for."""
    return service.preset_outs()


@router.post("/plan", responses=documented(404))
def plan_export(body: ExportIn, _: Viewer, session: Reading, container: Parts) -> PlanOut:
    """Which files an export would make, and what stands in its way. Nothing is made."""
    return service.plan_out(service.plan(container, session, body))


@router.post(
    "",
    response_class=Response,
    responses={
        **documented(404, 409),
        200: {"content": ZIP, "description": "the package, sent while it is made"},
    },
)
def export(body: ExportIn, _: Viewer, session: Reading, container: Parts) -> Response:
    """A zip for a telephone system, with `manifest.csv` and `manifest.json`.

    Names and takes are checked before anything is sent. A package that ends without them was cut off.
    """
    made = service.checked(service.plan(container, session, body), allow_incomplete=body.allow_incomplete)
    name = f"{made.name}-{body.preset}.zip"
    headers = {
        "Content-Disposition": f"attachment; filename=\"{body.preset}.zip\"; filename*=UTF-8''{quote(name, safe='')}",
        "Cache-Control": "no-store",
    }
    return StreamingResponse(service.stream(container, made), media_type="application/zip", headers=headers)
