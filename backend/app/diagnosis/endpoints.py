from __future__ import annotations

from fastapi import APIRouter

from app.auth.access import Producer, Viewer
from app.deps import Parts
from app.diagnosis import repairs, service
from app.diagnosis.schemas import DiagnosisOut, FixOut

router = APIRouter(prefix="/voice-actors/debug", tags=["diagnosis"])


@router.get("/diagnosis")
def diagnosis(_: Viewer, container: Parts) -> DiagnosisOut:
    """Everything that matters for speaking, and each finding with its effect and what to do."""
    return service.diagnose(container)


@router.post("/fix-issues")
def fix_issues(_: Producer, container: Parts, dry_run: bool = False) -> FixOut:
    """Repair what can be repaired safely; `?dry_run=true` only says what would be done."""
    return repairs.fix(container, dry_run=dry_run)
