"""The service: HTTP in front, one worker child behind, both on the same database."""

from __future__ import annotations

import errno
import sys
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import anyio.to_thread
import fastapi_offline
import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import iter_route_contexts
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text

from app import bootstrap
from app.api import router as api
from app.clients.elevenlabs.endpoints import router as elevenlabs
from app.clients.openai.endpoints import router as openai
from app.config import Settings, load_settings
from app.deps import Container, Parts
from app.diagnosis.service import diagnose
from app.jobs.supervisor import Supervisor
from app.kit import problems
from app.kit.logging import set_up_logging
from app.kit.problems import Problem, problem
from app.metrics import observe
from app.middleware import BodyLimit, OneSpelling, RequestContext
from app.storage.interface import StorageError, StoreFull

log = structlog.get_logger()
DESCRIPTION = """From a voice actor's recordings to finished announcements in that voice.

Sign in with `POST /api/v1/login`, or make a token with `moksori token create`; send it as
`Authorization: Bearer TOKEN`. Errors are RFC 9457 problem documents with a stable `code`.
Whatever creates work takes an `Idempotency-Key`."""

operations = APIRouter(tags=["operations"])


@operations.get("/healthz")
async def healthz() -> dict[str, str]:
    """Whether the process answers: without a thread of the pool, so that it does even when all are taken."""
    return {"status": "ok"}


@operations.get("/readyz", responses=problems.documented(503))
def readyz(container: Parts) -> dict[str, object]:
    """Whether requests can be served: the database answers."""
    with container.database.reading() as session:
        session.execute(text("SELECT 1"))
    counts = container.jobs.counts()
    return {"status": "ready", "workers": counts.alive_workers, "engine": container.engine.name}


@operations.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(container: Parts) -> Response:
    """Prometheus metrics: requests, jobs by queue and state, workers."""
    observe(container)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _worker_command() -> list[str]:
    return [sys.executable, "-m", "app.worker"]


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    container: Container = app.state.container
    settings = container.settings
    limiter = anyio.to_thread.current_default_thread_limiter()
    limiter.total_tokens = 64  # an upload holds a thread while it lasts
    await anyio.to_thread.run_sync(_first_start, settings)
    # Uploads are laid down on the data's disk: /tmp may be small, or lie in memory.
    tempfile.tempdir = str(settings.inbox_dir)
    supervisors = [Supervisor(_worker_command()) for _ in range(settings.workers)]
    for supervisor in supervisors:
        supervisor.start()
    log.info("service.started", engine=container.engine.name, workers=settings.workers)
    first_look = threading.Thread(target=_look_round, args=(app,), name="first-diagnosis")
    first_look.start()
    try:
        yield
    finally:
        await anyio.to_thread.run_sync(first_look.join)
        for supervisor in supervisors:
            await anyio.to_thread.run_sync(supervisor.stop)
        container.database.close()
        tempfile.tempdir = None
        log.info("service.stopped")


def _look_round(app: FastAPI) -> None:
    """Diagnose once, for the log; whoever asks first finds routes made and queries compiled already."""
    for _ in iter_route_contexts(app.routes):
        pass  # FastAPI makes them when they are first asked for
    try:
        found = diagnose(app.state.container)
    except Exception as error:
        log.warning("service.not_diagnosed", error=type(error).__name__)
        return
    # The workers are still coming.
    codes = [each.code for each in found.diagnosis.findings if each.severity != "info"]
    log.info("service.diagnosed", findings=[code for code in codes if code != "no_worker"])


def _first_start(settings: Settings) -> None:
    if password := bootstrap.prepare(settings):
        # To the terminal alone, this once: it is in no log and cannot be read again.
        print(
            f"\nFirst start. Sign in as `admin` with the password `{password}` and change it, or make a token:\n"
            "  moksori token create --name NAME --role admin --quiet\n",
            flush=True,
        )


def create_app(settings: Settings | None = None, container: Container | None = None) -> FastAPI:
    """The service's application; tests may bring parts of their own."""
    settings = settings or load_settings()
    set_up_logging(settings.logs_dir, process="service")
    app = FastAPI(
        title="Moksori",
        version=version("moksori"),
        description=DESCRIPTION,
        lifespan=_life,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.container = container or bootstrap.build(settings)
    problems.install(app)
    app.add_exception_handler(StorageError, _storage_error)
    app.add_exception_handler(OSError, _os_error)
    for router in (operations, api, openai, elevenlabs):
        app.include_router(router)
    _offline_pages(app)
    _document_problems(app)
    app.add_middleware(BodyLimit, upload_bytes=settings.upload_max_bytes)
    app.add_middleware(OneSpelling)
    app.add_middleware(RequestContext)
    return app


def _storage_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, StorageError)
    log.error("storage.failed", code=error.code)
    status = 507 if isinstance(error, StoreFull) else 503
    return problem(status, error.code, "The audio store cannot take or give this", f"{error} {error.fix}")


def _os_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        log.error("storage.failed", code="storage_full")
        return problem(
            507, "storage_full", "The disk is full", "Free some space and try again; nothing was kept."
        )
    log.error("http.failed", path=request.url.path, error=type(error).__name__, exc_info=error)
    return problem(
        503, "machine_trouble", "The machine refused", "A file or folder cannot be used; see the diagnosis."
    )


# Redoc's script would show its maker's logo from the internet.
NOTHING_FROM_OUTSIDE = {"Content-Security-Policy": "img-src 'self' data:; font-src 'self' data:"}


def _offline_pages(app: FastAPI) -> None:
    """The API pages, with their scripts from a package instead of from the internet."""
    assets = Path(fastapi_offline.__file__).parent / "static"
    app.mount("/static/api", StaticFiles(directory=assets))

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Moksori API",
            swagger_js_url="/static/api/swagger-ui-bundle.js",
            swagger_css_url="/static/api/swagger-ui.css",
            swagger_favicon_url="/static/api/favicon.png",
        )
        page.headers.update(NOTHING_FROM_OUTSIDE)
        return page

    @app.get("/redoc", include_in_schema=False)
    def redoc() -> HTMLResponse:
        page = get_redoc_html(
            openapi_url="/openapi.json",
            title="Moksori API",
            redoc_js_url="/static/api/redoc.standalone.js",
            redoc_favicon_url="/static/api/favicon.png",
            with_google_fonts=False,
        )
        page.headers.update(NOTHING_FROM_OUTSIDE)
        return page

    @app.get("/", include_in_schema=False)
    def home() -> RedirectResponse:
        return RedirectResponse("/docs")


def _document_problems(app: FastAPI) -> None:
    """Every error of the OpenAPI document is a Problem; FastAPI's own 422 is none of ours."""
    made = app.openapi

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            document = made()
            schemas = document["components"]["schemas"]
            schemas["Problem"] = Problem.model_json_schema()
            schemas.pop("HTTPValidationError", None)
            schemas.pop("ValidationError", None)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
