"""The guide's way to try speech in a Python shell: thin, over the same engine as everything else."""

from __future__ import annotations

import asyncio

from app import bootstrap
from app.config import load_settings
from app.speech.interface import SpeechEngine


class TtsService:
    """One engine, chosen by the settings and loaded when asked."""

    def __init__(self) -> None:
        self.engine: SpeechEngine | None = None

    async def initialize_tts_model(self) -> SpeechEngine:
        """Choose and load the engine. Raises EngineUnavailable with what to do."""
        if self.engine is None:
            engine = bootstrap.choose_engine(load_settings()).engine
            await asyncio.to_thread(engine.load)
            self.engine = engine
        return self.engine

    def close(self) -> None:
        if self.engine is not None:
            self.engine.close()
            self.engine = None


tts_service = TtsService()
