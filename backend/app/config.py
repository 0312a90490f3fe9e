"""Settings, from the environment or a `.env` file; the prefix is MOKSORI_."""

from __future__ import annotations

import json
import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from dotenv import dotenv_values
from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

BACKEND = Path(__file__).resolve().parent.parent
# The guide writes `.env` wherever the operator happens to stand: in the project, or in backend/.
ENV_FILES = (BACKEND.parent / ".env", BACKEND / ".env", Path(".env"))
ENCODING = "utf-8-sig"  # UTF-8, with the mark at its start that Windows writes or without
DATABASES = ("sqlite", "postgresql+psycopg")

LARGEST_UPLOAD = 200 * 2**20  # bytes; what is larger is not decoded
EngineName = Literal["auto", "xtts", "coqui", "builtin", "mock"]
Precision = Literal["auto", "fp32", "bf16", "int8"]


class UnreadableSettings(ValueError):
    """A file of settings is no text in UTF-8."""


class Settings(BaseSettings):
    """Everything an operator can set. Field `port` is the variable MOKSORI_PORT, and so on."""

    model_config = SettingsConfigDict(
        env_prefix="MOKSORI_", env_file=ENV_FILES, env_file_encoding=ENCODING, extra="ignore"
    )

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    data_dir: Path = BACKEND
    database_url: str = Field("", description="SQLAlchemy address; empty: SQLite in the data folder")
    engine: EngineName = "auto"
    xtts_precision: Precision = Field("auto", description="of xtts; auto: bf16 where it is fast, else fp32")
    weights_dir: Path | None = Field(None, description="XTTS v2 weights; empty: in the data folder")
    accepted_licenses: Annotated[list[str], NoDecode] = Field(default_factory=list, description="e.g. cpml")

    workers: int = Field(1, ge=0, description="worker children that the service starts; 0: none")
    worker_processes: int = Field(
        0, ge=0, le=64, description="processes that a worker's jobs are spread over, the engine's own beside them; "
        "0: as many as keep a GPU busy, or one where there is none",
    )  # fmt: skip
    worker_concurrency: int = Field(
        0, ge=0, le=512, description="scripts at work at once in a worker; 0: twice what xtts speaks together on "
        "a processor, three times on a GPU, so that those that are being finished leave no slot empty",
    )  # fmt: skip
    beat_seconds: float = Field(5.0, gt=0, description="how often a worker says that it is there")
    silent_seconds: float = Field(30.0, gt=0, description="a worker silent this long is taken for dead")
    sweep_seconds: float = Field(600.0, gt=0, description="how often leftovers are looked for")
    orphan_seconds: float = Field(1800.0, ge=60, description="age at which a file without a row is swept")
    retention_days: int = Field(
        0, ge=0, description="older takes go, approved and current ones spared; 0: none"
    )
    job_retention_days: int = Field(30, ge=1, description="days after which jobs that are over are forgotten")

    best_effort: bool = Field(
        False, description="speak texts with unclear characters left out, not fail them"
    )
    take_loudness: float = Field(-19.0, ge=-40, le=-9, description="LUFS of every take")
    take_true_peak: float = Field(-1.5, ge=-12, le=0, description="dBTP limit of every take")

    upload_max_bytes: int = Field(
        LARGEST_UPLOAD, ge=1, le=LARGEST_UPLOAD, description="of a recording or a sheet"
    )
    text_max_chars: int = Field(5000, ge=1, description="characters of a recording's transcript")
    login_minutes: int = Field(60, ge=1, description="after which one signs in again")
    login_tries: int = Field(10, ge=1, description="failed logins in 15 minutes before 429")
    voices_public: bool = Field(False, description="the OpenAI voice and model lists need no token")
    voice_aliases: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict, description='{"alloy": "a model\'s name"}'
    )
    debug_train_seconds: float = Field(900.0, gt=0, description="how long debug-train waits")

    @field_validator("accepted_licenses", "voice_aliases", mode="before")
    @classmethod
    def _decoded(cls, value: object, info: ValidationInfo) -> object:
        """From the environment: JSON; licences may also be words with commas between them."""
        if not isinstance(value, str):
            return value
        if info.field_name == "accepted_licenses" and value.lstrip()[:1] != "[":
            return [word.strip() for word in value.split(",") if word.strip()]
        try:
            return json.loads(value or "{}")
        except (ValueError, RecursionError):
            raise ValueError("this is no JSON") from None

    @field_validator("database_url")
    @classmethod
    def _of_ours(cls, value: str) -> str:
        kind, found, _ = value.partition("://")
        if found and kind not in DATABASES:  # the address itself may hold a password
            raise ValueError("this begins with neither sqlite:/// nor postgresql+psycopg://")
        return value

    @field_validator("data_dir", "weights_dir")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().resolve() if value else None

    @field_validator("silent_seconds")
    @classmethod
    def _longer_than_a_beat(cls, value: float, info: ValidationInfo) -> float:
        if value < 2 * info.data.get("beat_seconds", 0.0):
            raise ValueError(
                "a worker that beats in time would be taken for dead: at least twice beat_seconds"
            )
        return value

    @cached_property
    def state_dir(self) -> Path:
        """Where the database and the service's own keys are."""
        return self.data_dir / "data"

    @cached_property
    def inbox_dir(self) -> Path:
        """Where uploads lie while they are looked at."""
        return self.state_dir / "inbox"

    @cached_property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.state_dir / 'moksori.sqlite3'}"

    @cached_property
    def weights(self) -> Path:
        return self.weights_dir or self.data_dir / "weights"

    @cached_property
    def logs_dir(self) -> Path:
        return self.data_dir / "logs"


def load_settings(**overrides: object) -> Settings:
    """The settings in force; also lets CUDA_VISIBLE_DEVICES count from `.env`, as the guide says.

    PyTorch reads that variable when it is first imported, so this comes before any engine. Raises
    UnreadableSettings, and pydantic's ValidationError.
    """
    for file in ENV_FILES:
        try:
            value = dotenv_values(file, encoding=ENCODING).get("CUDA_VISIBLE_DEVICES")
        except UnicodeDecodeError:
            raise UnreadableSettings(
                f"{file.absolute()} is not UTF-8 text: save it again as UTF-8."
            ) from None
        if value is not None:
            os.environ.setdefault("CUDA_VISIBLE_DEVICES", value)
    return Settings(**overrides)  # type: ignore[arg-type]
