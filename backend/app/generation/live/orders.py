"""What a live request asks for, and the script that its generations belong to."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.kit.clock import now
from app.kit.ids import new_id
from app.models import Generation, Script

_SCRIPTS = uuid.UUID("6b1d8a52-9a0e-4a56-8f3b-0f3c1f6b7c11")


@dataclass(frozen=True, slots=True)
class Order:
    """A text to be spoken at once; `client` names the kind of program that asks ("OpenAI")."""

    client: str
    voice_model_id: str
    text: str
    language: str = "ko"
    speed: float = 1.0  # 0.5–2.0
    seed: int = 0

    @property
    def script_id(self) -> str:
        """One script for each kind of client and voice: its generations are what was said that way.

        A script for each request would bury the announcements that people keep.
        """
        return str(uuid.uuid5(_SCRIPTS, f"{self.client}\0{self.voice_model_id}"))

    @property
    def settings(self) -> dict[str, Any]:
        return {"language": self.language, "speed": self.speed, "seed": self.seed}


def new_generation(order: Order) -> Generation:
    """Its generation's row, not yet in any session."""
    return Generation(
        id=new_id(),
        script_id=order.script_id,
        voice_model_id=order.voice_model_id,
        text=order.text,
        settings=order.settings,
        fingerprint="",  # known once the text has been read
        interactive=True,
        created_at=now(),
    )


def script_of(session: Session, order: Order) -> Script:
    """The client's script for this voice, made at its first use."""
    script = session.get(Script, order.script_id)
    if script is None:
        script = Script(
            id=order.script_id,
            voice_model_id=order.voice_model_id,
            title=order.client,
            text=order.text,
            **order.settings,
        )
        session.add(script)
        session.flush()
    return script


def follow(script: Script, order: Order) -> None:
    """Let the script say what was said last: its current take's text and settings."""
    script.text, script.voice_model_id = order.text, order.voice_model_id
    for name, value in order.settings.items():
        setattr(script, name, value)
    script.stale_at = None
