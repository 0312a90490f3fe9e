"""Announcements from the shell: one, or a line each of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.shell import VOICE_HELP, Token, Url, fail, service, table, text_of, unfinished

ENDINGS = (".wav", ".flac", ".mp3", ".ogg", ".ulaw", ".alaw")


def say(
    text: str,
    voice: Annotated[str, typer.Option(help=VOICE_HELP)],
    output: Annotated[
        Path, typer.Option("-o", "--output", help=f"a file that ends in one of {', '.join(ENDINGS)}")
    ] = Path("out.wav"),
    speed: float = 1.0,
    seed: int = 0,
    url: Url = None,
    token: Token = None,
) -> None:
    """Speak a text and leave the audio in a file."""
    ending = output.suffix.lower()
    if ending not in ENDINGS:
        raise fail(f"{output}: one of {', '.join(ENDINGS)} is needed.", 2)
    with service(url, token) as remote:
        model = remote.voice(voice)
        body = {"text": text, "voice_model_id": model, "title": text[:60], "speed": speed, "seed": seed}
        script = remote.call("POST", "/voice-actors/tts-scripts", json=body)
        started = remote.call("POST", f"/voice-actors/tts-scripts/{script['id']}/generate")
        done = remote.wait_for_generation(started["generation_id"])
        if done["status"] != "done":
            raise unfinished(done)
        path = f"/voice-actors/tts-generations/{done['id']}/audio"
        output.write_bytes(remote.call("GET", path, params={"format": ending[1:]}))
    take = done["take"]
    typer.echo(f"{output}: {take['seconds']:.2f} s, engine {take['engine']}, quality {take['quality_score']}")


def batch(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="an announcement a line")],
    voice: Annotated[str, typer.Option(help=VOICE_HELP)],
    output: Annotated[Path, typer.Option("-o", "--output", help="a folder for the WAV files")] = Path(),
    url: Url = None,
    token: Token = None,
) -> None:
    """Speak every line of a file; exit code 1 when one failed."""
    from app.batching import speak_lines

    lines = [line.strip() for line in text_of(file).splitlines() if line.strip()]
    if not lines:
        raise fail(f"{file} has no text.", 2)
    with service(url, token) as remote:
        takes = speak_lines(remote, lines, remote.voice(voice), output)
    table(["file", "seconds", "engine", "quality", "announcement"], takes)
    if any(not row[0].endswith(".wav") for row in takes):
        raise typer.Exit(1)
