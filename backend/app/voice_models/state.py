"""A model's voice state in the store: a folder of safetensors and JSON, read through a small cache."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path

from app.speech.interface import VoiceState
from app.speech.voice_state import STATE_FILES as STATE_FILES
from app.speech.voice_state import read_voice, write_voice
from app.storage.interface import AudioStore

BUCKET = "models"
KEPT = 32


def put_state(store: AudioStore, state_key: str, state: VoiceState) -> None:
    """Write a state under a key of its own; readers find it once a row points there."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "voice"
        write_voice(target, state)
        for name in STATE_FILES:
            with (target / name).open("rb") as file:
                store.put(BUCKET, f"{state_key}/{name}", file)


def state_is_there(store: AudioStore, state_key: str) -> bool:
    return all(store.exists(BUCKET, f"{state_key}/{name}") for name in STATE_FILES)


class States:
    """Voice states by key, the most recently used kept in memory. A key's content never changes."""

    def __init__(self, store: AudioStore) -> None:
        self._store = store
        self._kept: OrderedDict[str, VoiceState] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, state_key: str) -> VoiceState:
        """Raises NotThere when its files are gone, VoiceStateError when they were altered."""
        with self._lock:
            if state_key in self._kept:
                self._kept.move_to_end(state_key)
                return self._kept[state_key]
            state = self._read(state_key)
            self._kept[state_key] = state
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return state

    def _read(self, state_key: str) -> VoiceState:
        with tempfile.TemporaryDirectory() as folder:
            for name in STATE_FILES:
                with self._store.open(BUCKET, f"{state_key}/{name}") as source:
                    with (Path(folder) / name).open("wb") as target:
                        shutil.copyfileobj(source, target)
            return read_voice(Path(folder))
