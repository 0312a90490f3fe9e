"""The processes, and what is done in place: serve, worker, wyoming, doctor, normalize."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from socket import socket
from typing import Annotated, Optional

import typer

from app.cli.shell import Token, Url, fail, here, service


def serve(
    host: Annotated[Optional[str], typer.Option(help="MOKSORI_HOST")] = None,  # noqa: UP045
    port: Annotated[Optional[int], typer.Option(help="MOKSORI_PORT")] = None,  # noqa: UP045
) -> None:
    """Start the service, with a worker beside it."""
    import uvicorn

    from app import bootstrap
    from app.config import load_settings
    from app.main import create_app

    settings = load_settings(**{k: v for k, v in {"host": host, "port": port}.items() if v is not None})
    bootstrap.prepare_folders(settings)
    bootstrap.check_database(settings)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket] | None = None) -> None:
            await super().startup(sockets)
            address = f"http://{settings.host}:{settings.port}"
            typer.echo(f"Moksori on {address} (API pages: /docs), data in {settings.data_dir}")

    config = uvicorn.Config(
        create_app(settings), host=settings.host, port=settings.port, log_config=None, access_log=False,
        timeout_graceful_shutdown=10, server_header=False,
    )  # fmt: skip
    try:
        with suppress(KeyboardInterrupt):
            Server(config).run()
    except SystemExit as ended:
        if ended.code:
            log = settings.logs_dir / "app.log"
            raise fail(
                f"The service did not start. Is port {settings.port} taken? {log} says more."
            ) from None


def worker() -> None:
    """Start one more worker on the service's database."""
    import os

    from app.worker import main as work

    code = work()
    sys.stdout.flush()
    os._exit(code)


def wyoming(
    listen: Annotated[str, typer.Option(help="tcp://HOST:PORT or unix://PATH")] = "tcp://127.0.0.1:10200",
    url: Url = None,
    token: Token = None,
) -> None:
    """Speak Wyoming, the protocol of Home Assistant, for the running service."""
    import asyncio

    from app.clients.wyoming import serve as speak_wyoming
    from app.clients.wyoming import server_at

    try:
        server = server_at(listen)
    except ValueError:
        raise fail(f"--listen: {listen} is neither tcp://HOST:PORT nor unix://PATH.", 2) from None
    with service(url, token) as remote:
        voices = len(list(remote.pages("/voice-actors/models")))
        typer.echo(f"Wyoming on {listen}, {voices} voice models of {remote.url}")
        with suppress(KeyboardInterrupt):
            asyncio.run(speak_wyoming(server, remote.url, remote.token))


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="repair what can be repaired safely")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one line of JSON")] = False,
) -> None:
    """Diagnose this installation in place: the same findings as the API's. Exit code 1 when one is an error."""
    from app.diagnosis.repairs import fix as repair
    from app.diagnosis.report import print_report
    from app.diagnosis.service import diagnose

    with here() as container:
        repaired = repair(container) if fix else None
        found = diagnose(container)
    if as_json:
        repairs = {"repairs": repaired.model_dump(mode="json")} if repaired else {}
        typer.echo(json.dumps(found.model_dump(mode="json") | repairs, ensure_ascii=False))
    else:
        print_report(found, repaired)
    raise typer.Exit(
        1
        if any(each.severity == "error" and each.code != "no_worker" for each in found.diagnosis.findings)
        else 0
    )


def normalize(
    trace: Annotated[
        bool, typer.Option("--trace", help="JSON lines: reading, trace and what is unclear")
    ] = False,
) -> None:
    """Read lines from standard input and print how each is spoken, a line each."""
    from app.text.cli import normalize_lines

    raise typer.Exit(normalize_lines(sys.stdin, sys.stdout, trace=trace))
