"""Lines in, readings out: the `moksori normalize` command. It needs no service and loads little."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import TextIO

from app.text.markup import MarkupError
from app.text.normalize import normalize
from app.text.reading import Reading


def normalize_lines(source: Iterable[str], target: TextIO, trace: bool = False) -> int:
    """Print the reading of each line on a line of its own; with `trace`, as JSON lines.

    What stays unclear is named on standard error. Returns 1 where markup was broken, else 0; every line
    is answered with one line whatever happens.
    """
    failed = 0
    for number, line in enumerate(source, 1):
        try:
            reading = normalize(line.rstrip("\r\n"))
        except MarkupError as error:
            print(f"line {number}: {error}", file=sys.stderr)
            reading, failed = Reading(line.rstrip("\r\n"), ""), 1
        for item in reading.unclear:
            print(f"line {number}, character {item.start + 1}: {item.written!r}: {item.why}", file=sys.stderr)
        spoken = json.dumps(asdict(reading), ensure_ascii=False) if trace else reading.text.replace("\n", " ")
        print(spoken, file=target)
    return failed
