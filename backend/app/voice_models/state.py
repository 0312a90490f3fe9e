"""A model's voice state in the store: safetensors and JSON under one key, read through a small cache."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict

from app.speech.interface import VoiceState
from app.speech.voice_state import ARRAYS_FILE, MANIFEST_FILE, pack_voice, unpack_voice
from app.storage.interface import AudioStore

BUCKET = "models"
STATE_FILES = (ARRAYS_FILE, MANIFEST_FILE)
KEPT = 32


def put_state(store: AudioStore, state_key: str, state: VoiceState) -> None:
    """Write a state under a key of its own; readers find it once a row points there."""
    for name, data in pack_voice(state).items():
        store.put(BUCKET, f"{state_key}/{name}", io.BytesIO(data))


def state_is_there(store: AudioStore, state_key: str) -> bool:
    return all(store.exists(BUCKET, f"{state_key}/{name}") for name in STATE_FILES)


class States:
    """Voice states by key, the most recently used kept in memory. A key's content never changes."""

    def __init__(self, store: AudioStore) -> None:
        self._store = store
        self._kept: OrderedDict[str, VoiceState] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, state_key: str) -> VoiceState:
        """Raises NotThere when its files are gone, BadVoice when they were altered."""
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
        files = {}
        for name in STATE_FILES:
            with self._store.open(BUCKET, f"{state_key}/{name}") as file:
                files[name] = file.read()
        return unpack_voice(files)
