"""Requests made from the OpenAPI document, well formed and not: no fault, no answer that it does not name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import one_of
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from app.audio import decode
from app.auth import secrets
from app.config import Settings
from app.main import create_app
from tests.databases import Databases
from tests.service import Service, decode_here, serving
from tests.sheets.factories import generated_sheet, lines

EXAMPLES = {"sqlite": 24, "postgresql": 12}
NAMES = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)


@dataclass
class Target:
    """A service with one thing of each kind, and its document."""

    service: Service
    schema: Any
    ids: dict[str, list[str]]


@pytest.fixture(scope="module")
def target(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("schemathesis")
    cheap = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=64, parallelism=1),))
    for url in databases.laid_out():
        configured = Settings(
            _env_file=None, engine="mock", workers=0, data_dir=folder, database_url=url,  # type: ignore[call-arg]
            debug_train_seconds=0.001, login_tries=100_000,
        )  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decode, "_run_child", decode_here)
            app = create_app(configured)
            patch.setattr(secrets, "_passwords", cheap)
            with serving(app, configured) as service:
                target = Target(service, _document(app), _things(service))
                with service.hands.at_work():  # some answers wait for a take
                    yield target


def _document(app: FastAPI) -> Any:
    async def always_on(scope: Any, receive: Any, send: Any) -> None:
        """The application without its start and end, which every request here would go through."""
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})

    return schemathesis.openapi.from_asgi("/openapi.json", always_on)


def _things(service: Service) -> dict[str, list[str]]:
    """Ids that exist, beside some that do not."""
    actor = service.actor()
    sample = service.sample(actor)["id"]
    model = service.model(actor)
    script = service.script(model)
    generation = service.generate(script)["id"]
    batch = service.batch([script], force=True)["batch_id"]
    service.hands.do_all()
    lexicon = service.post("/lexicons", json={"name": "x", "entries": [{"written": "a", "spoken": "에이"}]})
    sheet = generated_sheet(service, model=model)
    return {
        "actor_id": [actor],
        "sample_id": [sample],
        "model_id": [model],
        "script_id": [script],
        "generation_id": [generation],
        "batch_id": [batch],
        "lexicon_id": [lexicon.json()["id"]],
        "sheet_id": [sheet],
        "line_id": [lines(service, sheet)[0]["id"]],
    }


def _operations() -> list[str]:
    app = create_app(Settings(_env_file=None, engine="mock", workers=0, database_url="sqlite://"))  # type: ignore[call-arg]
    return [
        f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods
    ]


@pytest.mark.parametrize("label", _operations())
def test_every_answer_is_one_that_the_document_names(
    target: Target, databases: Databases, label: str, request: pytest.FixtureRequest
) -> None:
    method, path = label.split(" ", 1)
    operation = target.schema[path][method]
    checks = CHECKS.get_by_names(NAMES)
    token = target.service.token("admin")
    headers = {"Authorization": f"Bearer {token}", "xi-api-key": token}

    @seed(1)
    @settings(
        max_examples=EXAMPLES[databases.kind], deadline=None, database=None, derandomize=False,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode)))
    def ask(case: schemathesis.Case) -> None:
        if crc32(str(case.body).encode()) % 3:  # mostly things that are there, else all answers would be 404
            for name, ids in target.ids.items():
                if name in case.path_parameters:
                    case.path_parameters[name] = ids[0]
        case.call_and_validate(headers=headers, checks=checks)

    ask()
