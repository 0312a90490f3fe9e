"""What goes through the socket between a worker and the service.

The worker greets with one line that only it and the readers of its file can know; the service answers with
the order as one line of JSON; then frames come: a kind (one byte), a length (four, big-endian), a payload.
"""

from __future__ import annotations

import hashlib
import json
import socket
import struct
from pathlib import Path
from typing import Any

BEGUN, AUDIO, ENDED, FAILED = b"B", b"A", b"E", b"F"
HEAD = struct.Struct("!cI")
LONGEST_ORDER = 1 << 18
FOLDER = "run"


def greeting(secret: str) -> bytes:
    """The worker's first line: who asks learns that it talks to the worker of the file, and not its text's thief."""
    return hashlib.sha256(f"moksori live {secret}".encode()).hexdigest().encode() + b"\n"


def frame(kind: bytes, payload: bytes) -> bytes:
    return HEAD.pack(kind, len(payload)) + payload


def json_frame(kind: bytes, payload: dict[str, Any]) -> bytes:
    return frame(kind, json.dumps(payload, ensure_ascii=False).encode())


def folder_of(state_dir: Path) -> Path:
    """Where workers of this data folder leave their addresses."""
    return state_dir / FOLDER


def host_name() -> str:
    """Which machine, or container, a loopback address belongs to."""
    return socket.gethostname()
