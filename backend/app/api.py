"""Every router under /api/v1. Those with fixed paths come before those with an id in the same place."""

from fastapi import APIRouter, Depends

from app.auth.endpoints import router as auth
from app.diagnosis.endpoints import router as diagnosis
from app.exports.endpoints import router as exports
from app.generation.endpoints import router as generation
from app.kit.problems import documented
from app.kit.queries import no_unknown_query
from app.lexicons.endpoints import router as lexicons
from app.samples.endpoints import router as samples
from app.scripts.endpoints import router as scripts
from app.sheets.endpoints import router as sheets
from app.voice_actors.endpoints import router as voice_actors
from app.voice_models.endpoints import router as voice_models

router = APIRouter(
    prefix="/api/v1",
    dependencies=[Depends(no_unknown_query)],
    responses=documented(400, 401, 403, 409, 413, 422, 503, 507),
)
for domain in (
    auth,
    lexicons,
    diagnosis,
    exports,
    sheets,
    voice_models,
    generation,
    scripts,
    samples,
    voice_actors,
):
    router.include_router(domain)
