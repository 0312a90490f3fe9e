"""Lines in, readings out: the `moksori normalize` command."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TextIO

from app.text.normalize import normalize


def normalize_lines(source: TextIO, target: TextIO, trace: bool = False) -> None:
    """Print the reading of each line of `source` on a line of its own; with `trace`, as JSON lines."""
    for line in source:
        reading = normalize(line.rstrip("\n"))
        if trace:
            print(json.dumps(asdict(reading), ensure_ascii=False), file=target)
        else:
            print(reading.text, file=target)
