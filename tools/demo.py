"""The main job over the HTTP API, in a data folder of its own: recordings in, announcements out.

    tools/demo.py [FOLDER]

FOLDER holds recordings, with a transcript `name.txt` beside `name.wav` where there is one. Without it,
Debian's Asterisk prompts are taken if they are installed, else espeak-ng makes some recordings.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from app.audio.decode import SUFFIXES
from app.batching import speak_lines
from app.remote import Remote, RemoteError

ROOT = Path(__file__).resolve().parent.parent
DATA, OUTPUT = ROOT / ".demo", ROOT / "demo-output"
PROMPTS = Path("/usr/share/asterisk/sounds/en")
TRANSCRIPTS = Path("/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz")
ENOUGH_SECONDS = 120
PROMPT_SECONDS = (2.5, 20.0)  # whole sentences, and none that lasts a minute

ANNOUNCEMENTS = [
    "안녕하세요. 고객센터입니다. 상담원 연결은 0번을 눌러주세요.",
    "고객님의 이번 달 요금은 125,000원이며, 납부 기한은 2026년 6월 25일(목)까지입니다.",
    "분실 신고는 24시간 1588-1234번으로, 해외에서는 +82-2-1234-5678로 전화해 주십시오.",
    "예약 확인은 1번, 예약 변경은 2번, 다시 들으시려면 우물 정자(#)를 눌러 주십시오.",
    "평일 09:00~18:00에 방문하시면 3명까지 30% 할인해 드립니다.",
    "주문번호 A1024의 상품 2개가 10월 6일 오후 3:30에 도착할 예정입니다.",
    "비밀번호를 5회 이상 잘못 입력하셨습니다. 신분증을 지참하시고 KB은행 영업점 2층으로 오십시오.",
    "VIP 고객님께는 5GB 데이터와 $50 상당의 쿠폰을 드립니다.",
]
# What the stand-in actor says where there are no recordings: espeak-ng's own voice, and said to be so.
STAND_IN = [
    "안녕하십니까. 저는 시범으로 만든 목소리입니다.",
    "오늘은 날씨가 맑고 바람이 시원하게 붑니다.",
    "잠시 후 열차가 도착하오니 한 걸음 물러서 주시기 바랍니다.",
    "찾으시는 물건이 있으시면 언제든지 말씀해 주십시오.",
    "감사합니다. 좋은 하루 보내시기 바랍니다.",
]

console = Console()


def main() -> int:
    samples = Path(sys.argv[1]).expanduser() if len(sys.argv) > 1 and sys.argv[1] else None
    if samples and not samples.is_dir():
        console.print(f"[red]There is no folder {samples}.[/red]")
        return 2
    if samples and not recordings_in(samples):
        console.print(f"[red]There are no recordings in {samples} ({', '.join(SUFFIXES)}).[/red]")
        return 2
    started = time.monotonic()
    shutil.rmtree(DATA, ignore_errors=True)
    with service() as remote, tempfile.TemporaryDirectory() as folder:
        files = recordings(samples, Path(folder))
        actor = remote.call(
            "POST",
            "/voice-actors",
            json={"name": "시범 성우", "age_range": "30s", "description": "make demo"},
        )
        console.print(f"Actor {actor['name']} registered.")
        accepted = upload(remote, actor["id"], files)
        if not accepted:
            console.print("[red]None of the recordings could be used.[/red]")
            return 1
        model = remote.call(
            "POST", "/voice-actors/models", json={"voice_actor_id": actor["id"], "model_name": "시범 목소리"}
        )
        with console.status("Building the voice model …"):
            remote.call("POST", f"/voice-actors/models/{model['id']}/train")
            model = remote.wait_for_model(model["id"])
        if model["status"] != "ready":
            console.print(f"[red]{model['failure']['message']}[/red] {model['failure']['fix']}")
            return 1
        console.print(
            f"Voice model ready: engine {model['engine']}, quality {model['quality_score']:.0f} of 100."
        )
        shutil.rmtree(OUTPUT, ignore_errors=True)
        rows = speak_lines(remote, ANNOUNCEMENTS, model["id"], OUTPUT)
    show(rows)
    console.print(f"{time.monotonic() - started:.0f} s. Listen: {OUTPUT.relative_to(ROOT)}/")
    return 0 if all(row[0].endswith(".wav") for row in rows) else 1


@contextlib.contextmanager
def service() -> Iterator[Remote]:
    """The real service on a free port, ended with this program."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MOKSORI_") or name == "MOKSORI_ENGINE"
    } | {"MOKSORI_DATA_DIR": str(DATA), "MOKSORI_HOST": "127.0.0.1", "MOKSORI_PORT": str(port)}
    moksori = [sys.executable, "-m", "app.cli"]
    DATA.mkdir(parents=True)
    with (DATA / "service.out").open("w") as out:
        process = subprocess.Popen(
            [*moksori, "serve"], env=environment, stdout=out, stderr=out, cwd=ROOT / "backend"
        )
    try:
        with console.status("Starting the service …"):
            wait_until_ready(url, process)
            token = subprocess.run(
                [*moksori, "token", "create", "--name", "demo", "--role", "admin", "--quiet"],
                env=environment, cwd=ROOT / "backend", capture_output=True, text=True, check=True,
            ).stdout.strip()  # fmt: skip
        with Remote(url, token) as remote:
            yield remote
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/readyz", timeout=2).is_success:
                return
        time.sleep(0.1)
    raise SystemExit(f"The service did not start; see {DATA / 'service.out'} and {DATA / 'logs/app.log'}.")


def recordings(folder: Path | None, made: Path) -> list[tuple[Path, str]]:
    """Recordings with their transcripts, and a word on where they come from."""
    if folder:
        files = recordings_in(folder)
        console.print(f"{len(files)} recordings from {folder}.")
        return [(file, transcript(file)) for file in files]
    if PROMPTS.is_dir():
        files = asterisk_prompts()
        console.print(f"{len(files)} prompts of Debian's package asterisk-core-sounds-en-wav.")
        return files
    console.print(
        "[yellow]No recordings were given (SAMPLES=folder): espeak-ng makes some, in its own voice.[/yellow]"
    )
    return stand_in(made)


def recordings_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)


def transcript(file: Path) -> str:
    beside = file.with_suffix(".txt")
    return beside.read_text(encoding="utf-8").strip() if beside.exists() else ""


def asterisk_prompts() -> list[tuple[Path, str]]:
    import soundfile

    texts = {}
    if TRANSCRIPTS.exists():
        with gzip.open(TRANSCRIPTS, "rt", encoding="utf-8") as lines:
            texts = dict(line.strip().split(": ", 1) for line in lines if ": " in line)
    chosen, seconds = [], 0.0
    for file in sorted(PROMPTS.glob("*.wav")):
        length = soundfile.info(file).duration
        if PROMPT_SECONDS[0] <= length <= PROMPT_SECONDS[1] and seconds < ENOUGH_SECONDS:
            chosen.append((file, texts.get(file.stem, "")))
            seconds += length
    return chosen


def stand_in(folder: Path) -> list[tuple[Path, str]]:
    import soundfile

    from app.speech.builtin.espeak import Espeak

    made = []
    with Espeak() as espeak:
        for number, text in enumerate(STAND_IN):
            spoken = espeak.say(text, pitch=62, rate=150)
            file = folder / f"{number}.wav"
            soundfile.write(file, spoken.audio, spoken.sample_rate)
            made.append((file, text))
    return made


def upload(remote: Remote, actor_id: str, files: list[tuple[Path, str]]) -> int:
    from rich.progress import track

    accepted = 0
    for file, text in track(files, description="Uploading", console=console):
        try:
            remote.upload_sample(actor_id, file, text)
            accepted += 1
        except RemoteError as error:
            console.print(f"[yellow]{file.name}: {error}[/yellow]")
    return accepted


def show(rows: list[list[str]]) -> None:
    table = Table(title="Announcements")
    for head in ("announcement", "engine", "seconds", "quality", "file"):
        table.add_column(head, overflow="fold")
    for file, seconds, engine, quality, text in rows:
        shown = str(Path(file).relative_to(ROOT)) if file.endswith(".wav") else file
        table.add_row(text, engine, seconds, quality, shown)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
