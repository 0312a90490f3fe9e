"""Looks at every part and says what it found: the same list for the API and for `moksori doctor`."""

from __future__ import annotations

import time
from typing import Any, Literal

from app.deps import Container
from app.diagnosis import data, machine
from app.diagnosis.schemas import Diagnosis, DiagnosisOut, Finding
from app.speech.interface import EngineStatus

Mode = Literal["real", "builtin", "mock"]


def mode_of(engine: str) -> Mode:
    return {"mock": "mock", "builtin": "builtin"}.get(engine, "real")  # type: ignore[return-value]


def diagnose(container: Container) -> DiagnosisOut:
    """Every part's state and the findings. Reads only; nothing is loaded."""
    start = time.perf_counter()
    findings: list[Finding] = []
    engine = container.engine
    mode = mode_of(engine.name)
    chosen = engine.ping()
    others = [each.ping() for each in container.engines if each.name != engine.name]
    findings += _engine_findings(chosen, mode)
    graphics = machine.graphics()
    if chosen.engine == "xtts" and chosen.available and graphics["available"]:
        findings += _idle_cards(graphics["cards"], chosen)
    findings += [_absent(each) for each in others if not each.available]
    weights, weights_findings = machine.licensed_weights(container)
    findings += weights_findings
    folders, folder_findings = machine.folders(container)
    findings += folder_findings
    jobs, job_findings = _jobs(container)
    findings += job_findings
    with container.database.reading() as session:
        stock = data.take_stock(container, session)
        findings += data.findings(container, session, stock)
        models, samples, takes = data.figures(session, stock)
    worst = {finding.severity for finding in findings}
    answer = Diagnosis(
        status="error" if "error" in worst else "warning" if "warning" in worst else "ok",
        mode=mode,
        dependencies=machine.dependencies(mode, engine.name),
        engine={"chosen": engine.name, "why": container.engine_reason, "mode": mode} | _status(chosen),
        engines={each.engine: _status(each) for each in (chosen, *others)},
        gpu=graphics,
        weights=weights,
        folders=folders,
        database=machine.database(container),
        jobs=jobs,
        voice_models=models,
        samples=samples,
        takes=takes,
        findings=findings,
    )
    return DiagnosisOut(diagnosis=answer, milliseconds=round((time.perf_counter() - start) * 1000, 1))


def _status(status: EngineStatus) -> dict[str, Any]:
    return {
        "available": status.available, "detail": status.detail, "fix": status.fix,
        "device": status.device, "versions": dict(status.versions),
    }  # fmt: skip


def _absent(status: EngineStatus) -> Finding:
    return Finding(
        code=f"{status.engine}_absent", severity="info", fixable=False, subjects=[status.engine],
        what=_sentence(f"The engine {status.engine} cannot run here: {status.detail}"),
        effect="Another engine speaks.", fix=status.fix,
    )  # fmt: skip


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _engine_findings(chosen: EngineStatus, mode: Mode) -> list[Finding]:
    findings = []
    if not chosen.available:
        findings.append(
            Finding(
                code="engine_unavailable",
                severity="error",
                fixable=False,
                subjects=[chosen.engine],
                what=_sentence(f"The engine {chosen.engine} cannot run: {chosen.detail}"),
                effect="Nothing can be trained or generated.",
                fix=chosen.fix,
            )  # fmt: skip
        )
    if mode == "mock":
        findings.append(
            Finding(
                code="mock_engine",
                severity="warning",
                fixable=False,
                what="The mock engine is set: it makes sine waves, and its scores are simulated.",
                effect="No take is speech.",
                fix="Set MOKSORI_ENGINE=auto.",
            )  # fmt: skip
        )
    return findings


def _idle_cards(cards: list[str], chosen: EngineStatus) -> list[Finding]:
    if "cuda" in chosen.versions:
        return []
    return [
        Finding(
            code="gpu_idle",
            severity="warning",
            fixable=False,
            subjects=cards,
            what="This machine has an NVIDIA card, and its PyTorch is built without CUDA.",
            effect="The processor speaks, many times slower.",
            fix="Install PyTorch built with CUDA (https://pytorch.org/get-started/locally), or set "
            "CUDA_VISIBLE_DEVICES= if it is the processor that is to speak.",
        )  # fmt: skip
    ]


def _jobs(container: Container) -> tuple[dict[str, Any], list[Finding]]:
    counts = container.jobs.counts()
    facts = {
        "queued": counts.queued, "running": counts.running, "workers": counts.alive_workers,
        "dead_workers": counts.dead_workers,
        "queues": {name: {"queued": each[0], "running": each[1]} for name, each in counts.queues.items()},
    }  # fmt: skip
    findings = []
    if counts.alive_workers == 0:
        findings.append(
            Finding(
                code="no_worker",
                severity="error",
                fixable=False,
                what="No worker is alive.",
                effect="Samples are not measured, nothing is trained or generated; all of it waits.",
                fix="Start the service with `moksori serve`, or a worker with `moksori worker`.",
            )  # fmt: skip
        )
    if counts.dead_workers:
        findings.append(
            Finding(
                code="dead_worker",
                severity="info",
                fixable=False,
                what=f"{counts.dead_workers} workers fell silent.",
                effect="Their work is taken over within a minute.",
                fix="Nothing: others take it over.",
            )  # fmt: skip
        )
    return facts, findings
