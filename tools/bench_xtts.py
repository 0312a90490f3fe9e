"""Time the xtts runtime beside coqui-tts: one machine, one run, the same made-up weights of full size, the
same text and number of codes. Needs `make reference`. The last line is one JSON object.

    bench_xtts.py [--runs 5] [--precision auto] [--batches 32,128]

int8, which is an option, stands beside what "auto" chooses.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

STARTED = time.perf_counter()
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "backend"))

from app.speech.xtts.compiled import library
from app.speech.xtts.threads import wait_briefly

wait_briefly()  # as the engine does, like the next line
library.prepare()

OFFICIAL = ROOT / ".reference" / "full"
CONVERTED = ROOT / ".reference" / "full-fp16"
COQUI = ROOT / ".reference" / "venv" / "bin" / "python"
TEXT = "안녕하세요, 고객님. 무엇을 도와드릴까요?"
CODES = 100
# Work an audio second (docs/xtts.md): bytes of weights a step in bf16, and GFLOP.
STEPS, STEP_GB, GFLOP = 21.53, 0.758, 74.5


def child(what: str, runs: int, precision: str, batches: str = "", **environment: str) -> dict[str, Any]:
    """Run one measurement in a fresh process, so that memory and cold start are its own."""
    print(f"measuring: {what}, {precision} {batches}", file=sys.stderr, flush=True)
    command = [sys.executable, __file__, "--child", what, "--runs", str(runs)]
    command += ["--precision", precision, "--batches", batches]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, text=True, env=os.environ | environment
    )
    return json.loads(done.stdout.splitlines()[-1])


def convert_once() -> None:
    """Write the full-size checkpoint in our own form, unless it is there."""
    from app.speech.xtts.checkpoint import convert, model_file

    if model_file(CONVERTED) is None:
        convert(OFFICIAL, CONVERTED)


def speak(arguments: argparse.Namespace) -> None:
    """In a child: cold start, one, first audio, many."""
    import torch

    from app.speech.interface import Clip, Recording, Utterance
    from app.speech.xtts.batch import Batch
    from app.speech.xtts.model import Model
    from tests.speech.xtts import checkpoints

    model = Model(CONVERTED, arguments.precision)
    loaded = time.perf_counter() - STARTED
    voice = model.condition([Recording(checkpoints.recording(0, 6.0, 22050), 22050)])

    batches: dict[int | None, Batch] = {}  # kept, as the engine keeps its own: the voice is known by then

    def run(count: int, slots: int | None, stream: bool = False) -> tuple[float, float, float]:
        """(seconds, seconds to the first audio, seconds of audio)."""
        if slots not in batches:
            batches[slots] = model.batch(slots)
        batch = batches[slots]
        batch.exact_codes = CODES
        start, first, samples = time.perf_counter(), 0.0, 0
        for number in range(count):
            batch.add(Utterance(str(number), TEXT, voice, seed=number, stream=stream))
        while batch.busy:
            for event in batch.step():
                if not isinstance(event, Clip):
                    raise event.error
                first = first or time.perf_counter() - start
                samples += len(event.audio)
                if stream:
                    batch.cancel(event.utterance_id)
        return time.perf_counter() - start, first, samples / 24000

    out: dict[str, Any] = {"load": loaded, "threads": torch.get_num_threads(), "precision": model.precision}
    if arguments.child == "start":
        conditioned = time.perf_counter() - STARTED - loaded  # a published voice needs none of it
        run(1, 1, stream=True)
        out["cold_start"] = time.perf_counter() - STARTED - conditioned
    elif arguments.child == "one":
        run(1, 1)
        runs = [run(1, 1) for _ in range(arguments.runs)]
        out |= {"whole": [seconds for seconds, _, _ in runs], "seconds": runs[0][2]}
        out["first"] = [run(1, 1, stream=True)[1] for _ in range(arguments.runs)]
    else:
        out["many"] = {}
        for count in map(int, arguments.batches.split(",")):
            runs = [run(count, None) for _ in range(arguments.runs)]
            out["many"][count] = [audio / seconds for seconds, _, audio in runs]
            print(f"{count} at once: {out['many'][count]}", file=sys.stderr)
    out["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps(out))


def compare(precision: str) -> dict[str, float]:
    """How far full-size results are from coqui-tts's: the largest difference, relative to the largest value.

    The same bounds as the tests hold for fp32; smaller precisions are reported.
    """
    import numpy as np
    import torch

    from app.speech.interface import Recording
    from app.speech.xtts.model import Model
    from app.speech.xtts.sampling import Sampling, sample
    from app.speech.xtts.vocoder import Frames
    from tests.speech.xtts import checkpoints

    with np.load(OFFICIAL / "arrays.npz") as arrays:
        expected = dict(arrays)
    model, found = Model(CONVERTED if precision != "fp32" else OFFICIAL, precision), {}

    def differ(name: str, ours: Any, theirs: Any) -> None:
        ours = np.asarray(ours)
        found[name] = max(found.get(name, 0.0), float(np.abs(ours - theirs).max() / np.abs(theirs).max()))

    voice = model.condition([Recording(checkpoints.recording(0, 6.7, 22050), 22050)])
    for part in ("latents", "speaker"):
        differ(f"voice {part}", voice.arrays[part], expected[f"voice/one/{part}"])
    gpt, right, total = model.gpt, 0, 0
    with torch.inference_mode():
        prefix = gpt.prefix(torch.from_numpy(expected["voice/one/latents"]))
        for text in ("short", "usual"):
            cache = gpt.cache(1, 192)
            cache.put(0, prefix)
            prompt = gpt.prompt(expected[f"text/{text}/tokens"].tolist())
            x = gpt.prefill(prompt[None], cache, 0, 32)[:, -1]
            lengths = torch.tensor([32 + len(prompt)], device=gpt.device)
            seen = torch.zeros(1, gpt.settings.audio_tokens, dtype=torch.bool, device=gpt.device)
            seen[0, [1, gpt.settings.start_audio]] = True
            states, logits = [], []
            for number, code in enumerate(expected[f"text/{text}/codes"].tolist(), 1):
                for kept, new in zip((states, logits), gpt.states_and_logits(x), strict=True):
                    kept.append(new)
                choice = sample(logits[-1], seen, torch.zeros(1), Sampling(temperature=0))
                right, total = right + (int(choice) == code), total + 1
                seen[0, code] = True
                fed = torch.tensor([[code], [number]], device=gpt.device)
                x = gpt.decode(gpt.embed(*fed), cache, lengths, 192)
                lengths += 1
            wanted = expected[f"text/{text}/logits"]
            # Without the stop code's: it was made to lie far below the others.
            stop, count = gpt.settings.stop_audio, min(len(wanted), len(logits))
            differ("logits", torch.cat(logits)[:count, :stop].cpu(), wanted[:count, :stop])
            differ("latents", torch.cat(states).cpu(), expected[f"text/{text}/states"])
            frames = Frames()
            known = torch.from_numpy(expected[f"text/{text}/states"])
            speaker = torch.from_numpy(expected["voice/one/speaker"])[None]
            wave = model.vocoder(frames(known, 0, frames.total(len(known)))[None], speaker)[0].cpu()
            differ("waveform", wave[::5], expected[f"text/{text}/wave/usual"])
    return {**found, "greedy codes that differ": float(total - right)}


def machine() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), "a processor"
    )
    return f"{len(os.sched_getaffinity(0))} cores of {name}"


def floors(dtype: Any) -> tuple[float, float]:
    """(GB/s that this machine reads, GFLOP/s that it multiplies), the best of some tries."""
    import torch

    memory, square = torch.ones(96 * 1024 * 1024), torch.ones(2048, 2048, dtype=dtype)

    def best(work: Any) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return min(times)

    return memory.numel() * 4 / best(memory.sum) / 1e9, 2 * 2048**3 / best(lambda: square @ square) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--batches", default="32,128")
    parser.add_argument("--compare", choices=["fp32", "bf16", "int8"], help="only compare results")
    parser.add_argument("--child", choices=["convert", "start", "one", "many"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child == "convert":
        convert_once()
        return
    if arguments.child:
        speak(arguments)
        return
    if arguments.compare:
        print(json.dumps({name: round(value, 7) for name, value in compare(arguments.compare).items()}))
        return
    if not (OFFICIAL / "model.pth").is_file() or not COQUI.is_file():
        sys.exit("There is nothing to compare with yet: run `make reference` first.")
    import torch

    convert_once()
    load_before, runs = os.getloadavg()[0], arguments.runs
    bandwidth, compute = floors(torch.bfloat16)
    library.library()  # so that only the very first starts compile
    starts, first_starts = [], []
    for _ in range(runs):
        starts.append(child("start", 1, arguments.precision)["cold_start"])
        with tempfile.TemporaryDirectory() as empty:  # nothing is compiled there
            first = child("start", 1, arguments.precision, XDG_CACHE_HOME=empty)
        first_starts.append(first["cold_start"])
    start = {"cold_start": median(starts), "first": median(first_starts)}
    print("Starts:", starts, "the very first:", first_starts)
    # Half of our runs before coqui-tts's and half after them: the machine's speed changes by the minute.
    one, small = (child("one", -(-runs // 2), each) for each in (arguments.precision, "int8"))
    command = [
        COQUI,
        ROOT / "tools/reference/speak.py",
        OFFICIAL,
        TEXT,
        CODES,
        arguments.runs,
        one["threads"],
    ]
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, check=True, text=True)
    coqui = json.loads(done.stdout.splitlines()[-1])
    for before in (one, small):
        after = child("one", -(-runs // 2), before["precision"])
        before["whole"] += after["whole"]
        before["first"] += after["first"]

    many = child("many", runs, arguments.precision, arguments.batches)
    small_many = child("many", runs, "int8", arguments.batches.split(",")[0])

    for precision in ("fp32", "bf16", "int8"):
        compared = subprocess.run(
            [sys.executable, __file__, "--compare", precision], stdout=subprocess.PIPE, check=True, text=True
        )
        print(f"Differences from coqui-tts in {precision}: {compared.stdout.strip()}")
    theirs = median(coqui["whole"]) / coqui["seconds"]  # work an audio second
    their_first = median(coqui["first"])
    result = figures(start, one, many, theirs, their_first)
    result["int8"] = figures(start, small, small_many, theirs, their_first)
    print(f"\nMachine: {machine()}, {one['threads']} threads, load {load_before:.1f} before and", end=" ")
    print(f"{os.getloadavg()[0]:.1f} after; medians of at least {runs} runs of {CODES} codes.")
    print(
        f"It reads {bandwidth:.0f} GB/s and multiplies {compute:.0f} GFLOP/s in bf16: measured just before.\n"
    )
    print(f"| | coqui-tts | {one['precision']} | ratio | int8 | ratio | bf16 floor |")
    print("| --- | --- | --- | --- | --- | --- | --- |")

    def row(
        what: str, other: float, ours: float, ratio: float, int8: float, int8_ratio: float, floor: str
    ) -> None:
        print(
            f"| {what} | {other:.3g} | {ours:.3g} | {ratio:.1f}× | {int8:.3g} | {int8_ratio:.1f}× | {floor} |"
        )

    ours, its = one_figures(one), one_figures(small)
    floor = STEPS * STEP_GB / bandwidth + 58.2 / compute
    row(
        "one announcement, real-time factor",
        theirs,
        ours[0],
        theirs / ours[0],
        its[0],
        theirs / its[0],
        f"{floor:.2f}",
    )
    row("first audio, s", their_first, ours[1], their_first / ours[1], its[1], their_first / its[1], "")
    for count, rates in many["many"].items():
        rate, int8 = median(rates), median(small_many["many"].get(count, [float("nan")]))
        row(
            f"{count} announcements, audio s/s",
            1 / theirs,
            rate,
            rate * theirs,
            int8,
            int8 * theirs,
            f"{compute / GFLOP:.1f}",
        )
    print(f"| peak memory, GB | | {result['peak_gb']:.2f} | | {result['int8']['peak_gb']:.2f} | | |")
    print(f"| start to first audio, s | | {start['cold_start']:.1f} | | | | |")
    print(f"| the very first start, s | | {start['first']:.1f} | | | | |\n")
    print(json.dumps(result))


def one_figures(one: dict[str, Any]) -> tuple[float, float]:
    """(real-time factor, seconds to the first audio), medians."""
    return median(one["whole"]) / one["seconds"], median(one["first"])


def figures(
    start: dict[str, float], one: dict[str, Any], many: dict[str, Any], theirs: float, their_first: float
) -> dict[str, Any]:
    """What the last line reports of one precision; of the batch sizes the slowest counts."""
    factor, first = one_figures(one)
    slowest = min(median(rates) for rates in many["many"].values())
    return {
        "precision": one["precision"],
        "single_speedup": round(theirs / factor, 2),
        "single_rtf": round(factor, 3),
        "first_audio_ratio": round(first / their_first, 4),
        "batch_speedup": round(slowest * theirs, 2),
        "batch_audio_seconds_per_second": round(slowest, 3),
        "peak_gb": round(max(each["peak_gb"] for each in (one, many)), 3),
        "cold_start_seconds": round(start["cold_start"], 2),
        "first_start_seconds": round(start["first"], 2),
    }


if __name__ == "__main__":
    main()
