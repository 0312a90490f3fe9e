"""JSON log lines in `logs/app.log`; never a token, a password or a transcript."""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

try:
    import fcntl
except ImportError:  # no such locks here
    fcntl = None  # type: ignore[assignment]

SECRET_WORDS = (
    "password",
    "token",
    "secret",
    "authorization",
    "api_key",
    "transcript",
    "text",
    "text_content",
)
# What engines, which log by Python's own `logging`, add to a line; libraries' additions are left out.
ENGINE_FIELDS = ("error", "fix", "slots")
MAX_BYTES, KEPT_FILES = 20 * 2**20, 5


def _without_secrets(
    _logger: Any, _method: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """The last line of defence: a field of such a name is blanked, whoever logged it."""
    for key in event:
        if key in SECRET_WORDS:
            event[key] = "[left out]"
    return event


def set_up_logging(folder: Path | None, *, process: str, console: bool = False) -> None:
    """Send this process's log lines to `folder`/app.log (and to standard error with `console`)."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(allow=ENGINE_FIELDS), *shared],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
    )
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)] if console else []
    if folder is not None:
        try:
            folder.mkdir(0o700, parents=True, exist_ok=True)
            file = folder / "app.log"
            # Half a character, which JSON can spell, must not cost its line.
            handlers.append(
                logging.handlers.WatchedFileHandler(file, encoding="utf-8", errors="backslashreplace")
            )
        except OSError as error:  # a read-only folder is diagnosis's to report, not a reason to stay down
            print(f"moksori: no log file in {folder}: {error.strerror}", file=sys.stderr)
    for handler in handlers:
        handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.handlers[:] = handlers or [logging.NullHandler()]
    root.setLevel(logging.INFO)
    for noisy in ("uvicorn.access", "httpx", "httpcore", "alembic", "dbos"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(process=process)


def rotate(folder: Path) -> None:
    """Move a log that grew large aside, once, however many processes do so at the same time.

    WatchedFileHandlers of every process follow by themselves.
    """
    path = folder / "app.log"
    with suppress(FileNotFoundError), path.open("rb+") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        found = os.fstat(file.fileno())
        if found.st_size < MAX_BYTES or not os.path.samestat(found, path.stat()):
            return  # while this one waited, another moved it
        for number in range(KEPT_FILES - 1, 0, -1):
            older = folder / f"app.log.{number}"
            if older.exists():
                older.replace(folder / f"app.log.{number + 1}")
        path.replace(folder / "app.log.1")
