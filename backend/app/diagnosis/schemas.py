from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

Severity = Literal["info", "warning", "error"]


class Finding(BaseModel):
    """Something an operator should know: what it is, what it does to them, and what to do."""

    code: str
    severity: Severity
    what: str
    effect: str
    fix: str
    fixable: bool = Field(description="whether fix-issues does it")
    subjects: list[str] = Field([], description="ids, folders or files, the first hundred of them")


class Diagnosis(BaseModel):
    status: Literal["ok", "warning", "error"]
    mode: Literal["real", "builtin", "mock"]
    dependencies: dict[str, Any]
    engine: dict[str, Any]
    engines: dict[str, Any]
    gpu: dict[str, Any]
    weights: dict[str, Any]
    folders: dict[str, Any]
    database: dict[str, Any]
    jobs: dict[str, Any]
    voice_models: dict[str, Any]
    samples: dict[str, Any]
    takes: dict[str, Any]
    findings: list[Finding]


class DiagnosisOut(BaseModel):
    diagnosis: Diagnosis
    milliseconds: float


class Repair(BaseModel):
    code: str
    what: str
    done: bool
    subjects: list[str] = []


class FixOut(BaseModel):
    dry_run: bool
    fixed: list[Repair] = Field(description="what was put right, or would be")
    left: list[Finding] = Field(description="what only a person can do, and how")
