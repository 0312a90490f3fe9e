"""The diagnosis as a person reads it in a terminal."""

from __future__ import annotations

from rich.console import Console

from app.diagnosis.schemas import DiagnosisOut, FixOut

MARKS = {"error": "[red]✗[/red]", "warning": "[yellow]![/yellow]", "info": "[dim]·[/dim]"}


def print_report(found: DiagnosisOut, repaired: FixOut | None = None) -> None:
    """Each part with a mark, then every finding with its effect and what to do."""
    console, each = Console(soft_wrap=True), found.diagnosis
    good = "[green]✓[/green]"
    engine = each.engine
    console.print(
        f"{good if engine['available'] else MARKS['error']} engine: {engine['chosen']} ({engine['why']})"
    )
    console.print(f"{good} database: {each.database['kind']} {each.database['version']}")
    for name, facts in each.folders.items():
        mark = good if facts["exists"] and facts["writable"] else MARKS["error"]
        console.print(f"{mark} folder {name}: {facts['path']}")
    for name, facts in each.dependencies.items():
        mark = good if facts["available"] else MARKS["info"]
        console.print(f"{mark} package {name}: {facts['version'] or 'not installed'}")
    gpu = ", ".join(each.gpu["cards"]) or "none: the processor does the work"
    console.print(f"{MARKS['info']} graphics cards: {gpu}")
    console.print(f"{MARKS['info']} XTTS v2 weights: {', '.join(each.weights['installed']) or 'none'}"
                  f" ({each.weights['license']})")  # fmt: skip
    console.print(f"{MARKS['info']} {each.voice_models['count']} voice models,"
                  f" {each.samples['count']} samples, {each.takes['count']} takes;"
                  f" jobs: {each.jobs['queued']} queued,"
                  f" {each.jobs['running']} running, {each.jobs['workers']} workers")  # fmt: skip
    for repair in repaired.fixed if repaired else ():
        console.print(f"{good} repaired: {repair.what}")
    for finding in each.findings:
        console.print(f"{MARKS[finding.severity]} {finding.what} {finding.effect}\n    → {finding.fix}")
    console.print(f"\n{each.status}, in {found.milliseconds:.0f} ms")
