"""The diagnosis as a person reads it in a terminal."""

from __future__ import annotations

from rich.text import Text

from app.diagnosis.schemas import DiagnosisOut, FixOut
from app.kit.console import plain_console

GOOD = Text("✓", "green")
MARKS = {"error": Text("✗", "red"), "warning": Text("!", "yellow"), "info": Text("·", "dim")}


def print_report(found: DiagnosisOut, repaired: FixOut | None = None) -> None:
    """Each part with a mark, then every finding with its effect and what to do."""
    console, each = plain_console(soft_wrap=True), found.diagnosis
    engine = each.engine
    console.print(
        GOOD if engine["available"] else MARKS["error"], f"engine: {engine['chosen']} ({engine['why']})"
    )
    console.print(GOOD, f"database: {each.database['kind']} {each.database['version']}")
    for name, facts in each.folders.items():
        mark = GOOD if facts["exists"] and facts["writable"] else MARKS["error"]
        console.print(mark, f"folder {name}: {facts['path']}")
    for name, facts in each.dependencies.items():
        mark = GOOD if facts["available"] else MARKS["info"]
        console.print(mark, f"package {name}: {facts['version'] or 'not installed'}")
    gpu = ", ".join(each.gpu["cards"]) or "none: the processor does the work"
    console.print(MARKS["info"], f"graphics cards: {gpu}")
    weights = "; ".join(each.weights["installed"]) or "none"
    console.print(MARKS["info"], f"XTTS v2 weights: {weights} ({each.weights['license']})")
    console.print(
        MARKS["info"],
        f"{each.voice_models['count']} voice models, {each.samples['count']} samples,"
        f" {each.takes['count']} takes; jobs: {each.jobs['queued']} queued,"
        f" {each.jobs['running']} running, {each.jobs['workers']} workers",
    )
    for repair in repaired.fixed if repaired else ():
        console.print(GOOD, f"repaired: {repair.what}")
    for finding in each.findings:
        console.print(MARKS[finding.severity], f"{finding.what} {finding.effect}\n    → {finding.fix}")
    console.print(f"\n{each.status}, in {found.milliseconds:.0f} ms")
