"""How long the diagnosis takes with many samples: `python tools/bench_diagnosis.py [--samples 1000]`.

Samples and takes with their files, on SQLite and, where there are binaries, on PostgreSQL; asked over HTTP
of a service that was just started in this process, the median and the slowest of twenty. Prints JSON; the
bound is 300 ms with 1,000 samples.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "backend"))

from app.config import Settings
from app.kit.ids import new_id
from app.main import create_app
from app.models import Generation, Sample, Script, Take
from tests.databases import POSTGRESQL, Databases, PostgresServer, kinds
from tests.service import Service, serving

ROUNDS = 20


def fill(service: Service, folder: Path, number: int) -> None:
    """So many samples and takes, each with a file of the size that its row says."""
    actor, model = service.actor(), service.model()
    with service.container.database.session() as session:
        script = Script(id=new_id(), voice_model_id=model, title="", text="안내")
        session.add(script)
        session.flush()
        for index in range(number):
            sample, take = new_id(), new_id()
            stem = f"{actor}/{sample}/{sample}"
            for key in (
                f"voice_samples/{stem}.original",
                f"voice_samples/{stem}.wav",
                f"audio_files/{take}.wav",
            ):
                (folder / key).parent.mkdir(parents=True, exist_ok=True)
                (folder / key).write_bytes(b"1234")
            session.add(
                Sample(
                    id=sample, voice_actor_id=actor, file_name="a.wav", text_content="", sha256=f"{index:064}",
                    bytes=4, format="WAV", seconds=1.0, sample_rate=16_000, channels=1, wav_bytes=4, wav_sha256="",
                    original_key=f"{stem}.original", wav_key=f"{stem}.wav", report={}, verdict="good",
                )
            )  # fmt: skip
            session.add(
                Generation(
                    id=take, script_id=script.id, voice_model_id=model, text="", settings={}, fingerprint="",
                    outcome="done", take_id=take,
                )
            )  # fmt: skip
            session.flush()
            session.add(
                Take(
                    id=take, generation_id=take, script_id=script.id, voice_model_id=model, model_version=1,
                    engine="builtin", simulated=False, fingerprint="", text="", reading={"text": ""}, seed=0,
                    audio_key=f"{take}.wav", sha256="", bytes=4, seconds=1.0, sample_rate=24_000, report={},
                )
            )  # fmt: skip


def ask(service: Service, number: int) -> float:
    """Milliseconds until the answer is there."""
    start = time.perf_counter()
    answer = service.get("/voice-actors/debug/diagnosis")
    milliseconds = (time.perf_counter() - start) * 1000
    assert answer.json()["diagnosis"]["samples"]["count"] == number
    return milliseconds


def measure(url: str, number: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="moksori-bench-") as name:
        folder = Path(name)
        settings = Settings(data_dir=folder, database_url=url, engine="builtin", workers=0)
        with serving(create_app(settings), settings) as service:
            fill(service, folder, number)
            service.token("producer")
            gc.collect()  # what filling left
            with service.client:  # starts it, as `serve` does, and the service then looks round by itself
                [first_look] = [each for each in threading.enumerate() if each.name == "first-diagnosis"]
                first_look.join()
                times = [ask(service, number) for _ in range(ROUNDS)]
    return {"median_ms": round(median(times), 1), "slowest_ms": round(max(times), 1)}


def databases() -> Iterator[tuple[str, str]]:
    """A kind and the address of a database with all tables."""
    for kind in kinds():
        server = PostgresServer() if kind == POSTGRESQL else None
        with tempfile.TemporaryDirectory(prefix="moksori-bench-") as name:
            try:
                if server:
                    server.start()
                for url in Databases(kind, Path(name), server).laid_out():
                    yield kind, url
            finally:
                if server:
                    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1000)
    number = parser.parse_args().samples
    found = {kind: measure(url, number) for kind, url in databases()}
    print(json.dumps({"samples": number, "takes": number, "diagnosis": found}))


if __name__ == "__main__":
    main()
