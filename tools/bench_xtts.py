"""Time the xtts runtime beside coqui-tts: one machine, one run, the same made-up weights of full size, the
same text and number of codes. Needs `make reference`. The last line is one JSON object.

    bench_xtts.py [--runs 5] [--precision auto] [--batches 32,128] [--coqui PYTHON | --without-coqui]

On a CPU int8, which is an option, stands beside what "auto" chooses; on a GPU it is multiplied in bf16, and
would take as long. There the first audio of many streams and the memory of the device are measured too.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from math import isnan, nan
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

STARTED = time.perf_counter()
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "backend"))

from app.speech.interface import Clip, Recording, Utterance, VoiceState
from app.speech.xtts.compiled import library
from app.speech.xtts.threads import wait_briefly

if TYPE_CHECKING:
    from app.speech.xtts.model import Model

wait_briefly()  # as the engine does, like the next line
library.prepare()

OFFICIAL = ROOT / ".reference" / "full"
CONVERTED = ROOT / ".reference" / "full-fp16"
COQUI = ROOT / ".reference" / "venv" / "bin" / "python"
TEXT = "안녕하세요, 고객님. 무엇을 도와드릴까요?"
CODES = 100
# Work an audio second (docs/xtts.md): bytes of weights a step in bf16, and GFLOP, of which the vocoder's.
STEPS, STEP_GB, GFLOP, VOCODER_GFLOP = 21.53, 0.758, 74.5, 58.2
# First audio on a GPU: runs alone, streams side by side, rounds in which all begin at once, and streams that
# begin one by one while the others go on.
ALONE, STREAMS, ROUNDS, STEADY = 40, 32, 6, 100
NONE = nan  # of what was not measured


# In processes of their own


def program(what: str, *command: object, **environment: str) -> dict[str, Any]:
    """The JSON object that a program's last line is; says how long it took."""
    print(f"measuring: {what}", file=sys.stderr, flush=True)
    start = time.perf_counter()
    done = subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE, check=True, text=True, env=os.environ | environment
    )
    print(f"{time.perf_counter() - start:5.1f} s: {what}", file=sys.stderr, flush=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def child(
    what: str, runs: int = 1, precision: str = "auto", batches: str = "", **environment: str
) -> dict[str, Any]:
    """One measurement in a fresh process, so that memory and cold start are its own."""
    command = [sys.executable, __file__, "--child", what, "--runs", runs]
    command += ["--precision", precision, "--batches", batches]
    return program(f"{what}, {precision} {batches}", *command, **environment)


def starts(colds: Sequence[int], precision: str) -> dict[str, float]:
    """Medians of starts where nothing is compiled yet, and of so many after each, where everything is."""
    first, cold = [], []
    for count in colds:
        with tempfile.TemporaryDirectory() as folder:
            caches = dict.fromkeys(("XDG_CACHE_HOME", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH"), folder)
            times = [child("start", 1, precision, **caches)["cold_start"] for _ in range(1 + count)]
        first.append(times[0])
        cold += times[1:]
    print("Starts:", cold, "the very first:", first)
    return {"cold_start": median(cold), "first": median(first)}


def both_halves(runs: int, precisions: Sequence[str], coqui: Callable[[int], Any]) -> tuple[Any, list[Any]]:
    """What coqui-tts takes, and one announcement in each precision: half of our runs before coqui-tts's and
    half after them, since the machine's speed changes by the minute."""
    half = -(-runs // 2)
    ones = [child("one", half, each) for each in precisions]
    theirs = coqui(ones[0]["threads"])
    for before in ones:
        after = child("one", half, before["precision"])
        for name in ("whole", "first"):
            before[name] += after[name]
    return theirs, ones


def convert_once() -> None:
    """Write the full-size checkpoint in our own form, unless it is there."""
    from app.speech.xtts.checkpoint import convert

    if not (CONVERTED / "model.safetensors").is_file():
        convert(OFFICIAL, CONVERTED)


# What a child measures


class Speaker:
    """The text, spoken by a batch that is kept, as the engine keeps its own: the voice is known by then."""

    def __init__(self, model: Model, voice: VoiceState, slots: int | None) -> None:
        self._batch, self._voice = model.batch(slots), voice
        self._batch.prepare()
        self.slots = self._batch.slots

    def whole(self, count: int) -> tuple[float, float]:
        """(seconds, seconds of audio) of so many at once."""
        start = time.perf_counter()
        for number in range(count):
            self._add(number)
        samples = sum(len(clip.audio) for clip in self._clips())
        return time.perf_counter() - start, samples / 24000

    def first(self, count: int) -> list[float]:
        """Seconds from the first one's beginning to each one's first audio, of so many begun at once."""
        start, first = time.perf_counter(), dict[str, float]()
        for number in range(count):
            self._add(number, stream=True)
        for clip in self._clips():
            first.setdefault(clip.utterance_id, time.perf_counter() - start)
            if len(first) == count:
                self._cancel(count)
        return list(first.values())

    def first_of_steady(self, side_by_side: int, count: int) -> list[float]:
        """Seconds to the first audio of `count` streams, each of which begins when another one ends.

        Their lengths are left to chance: else all that began together would end together.
        """
        lengths, begun, first = random.Random(0), list[float](), dict[int, float]()

        def begin() -> None:
            begun.append(time.perf_counter())
            self._add(len(begun) - 1, stream=True, codes=lengths.randint(CODES // 2, CODES * 3 // 2))

        for _ in range(side_by_side):
            begin()
        for clip in self._clips():
            number = int(clip.utterance_id)
            first.setdefault(number, time.perf_counter() - begun[number])
            if len(first) >= side_by_side + count:
                self._cancel(len(begun))
            elif clip.final:
                begin()
        return [seconds for number, seconds in first.items() if number >= side_by_side]

    def _add(self, number: int, stream: bool = False, codes: int = CODES) -> None:
        self._batch.exact_codes = codes
        self._batch.add(Utterance(str(number), TEXT, self._voice, seed=number, stream=stream))

    def _cancel(self, count: int) -> None:
        for number in range(count):
            self._batch.cancel(str(number))

    def _clips(self) -> Iterator[Clip]:
        """Until nothing is left to speak; audio is in the computer's memory, so a clock may be read."""
        while self._batch.busy:
            for event in self._batch.step():
                if not isinstance(event, Clip):
                    raise event.error
                yield event


def measure(what: str, runs: int, precision: Any, batches: str) -> dict[str, Any]:
    """In a child: a cold start, one announcement and first audio, or many announcements."""
    import torch

    from app.speech.xtts.model import Model
    from tests.speech.xtts import checkpoints

    model = Model(CONVERTED, precision)
    out: dict[str, Any] = {"load": time.perf_counter() - STARTED, "precision": model.precision}
    on_gpu = model.device.type == "cuda"
    # A GPU has the engine's number of slots for everything; a CPU one for one announcement.
    slots = None if on_gpu or what == "many" else 1
    if what == "start":
        Speaker(model, published(model), slots).first(1)
        out["cold_start"] = time.perf_counter() - STARTED
        return out
    voice = model.condition([Recording(checkpoints.recording(0, 6.0, 22050), 22050)])
    speaker = Speaker(model, voice, slots)
    if what == "one":
        speaker.whole(1)  # warms up
        wholes = [speaker.whole(1) for _ in range(runs)]
        out |= {"whole": [seconds for seconds, _ in wholes], "seconds": wholes[0][1]}
        out |= first_audio(speaker, runs, on_gpu)
    else:
        out["many"] = {}
        for count in map(int, batches.split(",")):
            if on_gpu:  # kernels are chosen and steps recorded the first time
                speaker.whole(count)
            wholes = [speaker.whole(count) for _ in range(runs)]
            out["many"][count] = [audio / seconds for seconds, audio in wholes]
            print(f"{count} at once: {out['many'][count]}", file=sys.stderr)
    out |= {"threads": torch.get_num_threads(), "slots": speaker.slots}
    out["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    if on_gpu:
        out["device_gb"] = device_gb()
    return out


def published(model: Model) -> VoiceState:
    """A voice that nothing has to be computed for, as a worker reads it."""
    import numpy as np

    from app.speech.xtts.batch import ENGINE
    from app.speech.xtts.layout import LATENTS, SPEAKER

    noise = np.random.RandomState(0).standard_normal
    latents = noise((LATENTS, model.settings.channels)).astype(np.float32)
    arrays = {"latents": latents, "speaker": noise(SPEAKER).astype(np.float32)}
    return VoiceState(ENGINE, arrays, {"checkpoint": model.fingerprint})


def first_audio(speaker: Speaker, runs: int, on_gpu: bool) -> dict[str, list[float]]:
    """Seconds to the first audio: alone, and on a GPU of many streams; each warmed up."""

    def repeated(rounds: int, measured: Callable[[], list[float]]) -> list[float]:
        measured()
        return [seconds for _ in range(rounds) for seconds in measured()]

    if not on_gpu:
        return {"first": repeated(runs, lambda: speaker.first(1))}
    return {
        "first": repeated(max(runs, ALONE), lambda: speaker.first(1)),
        "first_of_many": repeated(ROUNDS, lambda: speaker.first(STREAMS)),
        "first_of_steady": repeated(1, lambda: speaker.first_of_steady(STREAMS, STEADY)),
    }


def device_gb() -> float:
    """The most that this process had of the GPU's memory, as the driver counts it, loading included.

    That is what PyTorch held at most, and what lies beside it now: the context, kernels, recorded graphs,
    which only become more. What other programs hold counts too, so there should be none.
    """
    import torch

    free, total = torch.cuda.mem_get_info()
    beside = total - free - torch.cuda.memory_reserved()
    return float(beside + torch.cuda.max_memory_reserved()) / 1e9


def compare(precision: Any) -> dict[str, float]:
    """How far full-size results are from coqui-tts's: the largest difference, relative to the largest value.

    The same bounds as the tests hold for fp32; smaller precisions are reported.
    """
    import numpy as np
    import torch

    from app.speech.xtts.model import Model
    from app.speech.xtts.sampling import Sampling, sample
    from app.speech.xtts.vocoder import Frames
    from tests.speech.xtts import checkpoints

    with np.load(OFFICIAL / "arrays.npz") as arrays:
        expected = dict(arrays)
    model = Model(CONVERTED if precision != "fp32" else OFFICIAL, precision)
    found: dict[str, float] = {}

    def on_device(name: str) -> torch.Tensor:
        return torch.from_numpy(expected[name]).to(model.device)

    def differ(name: str, ours: Any, theirs: Any) -> None:
        ours = torch.as_tensor(ours).float().cpu().numpy()
        found[name] = max(found.get(name, 0.0), float(np.abs(ours - theirs).max() / np.abs(theirs).max()))

    voice = model.condition([Recording(checkpoints.recording(0, 6.7, 22050), 22050)])
    for part in ("latents", "speaker"):
        differ(f"voice {part}", voice.arrays[part], expected[f"voice/one/{part}"])
    gpt, right, total = model.gpt, 0, 0
    with torch.inference_mode():
        prefix = gpt.prefix(on_device("voice/one/latents"))
        for text in ("short", "usual"):
            cache = gpt.cache(1, 192)
            cache.put(0, prefix)
            prompt = gpt.prompt(expected[f"text/{text}/tokens"].tolist())
            x = gpt.prefill(prompt[None], cache, 0, 32)[:, -1]
            lengths = torch.tensor([32 + len(prompt)], device=gpt.device)
            seen = torch.zeros(1, gpt.settings.audio_tokens, dtype=torch.bool, device=gpt.device)
            seen[0, [1, gpt.settings.start_audio]] = True
            draw = torch.zeros(1, device=gpt.device)
            states: list[torch.Tensor] = []
            logits: list[torch.Tensor] = []
            for number, code in enumerate(expected[f"text/{text}/codes"].tolist(), 1):
                for kept, new in zip((states, logits), gpt.states_and_logits(x), strict=True):
                    kept.append(new)
                choice = sample(logits[-1], seen, draw, Sampling(temperature=0))
                right, total = right + (int(choice) == code), total + 1
                seen[0, code] = True
                fed = torch.tensor([[code], [number]], device=gpt.device)
                x = gpt.decode(gpt.embed(*fed), cache, lengths)
                lengths += 1
            wanted = expected[f"text/{text}/logits"]
            # Without the stop code's: it was made to lie far below the others.
            stop, count = gpt.settings.stop_audio, min(len(wanted), len(logits))
            differ("logits", torch.cat(logits)[:count, :stop], wanted[:count, :stop])
            differ("latents", torch.cat(states), expected[f"text/{text}/states"])
            frames = Frames()
            known = on_device(f"text/{text}/states")
            speaker = on_device("voice/one/speaker")[None]
            wave = model.vocoder(frames(known, 0, frames.total(len(known)))[None], speaker)[0]
            differ("waveform", wave[::5], expected[f"text/{text}/wave/usual"])
    return {**found, "greedy codes that differ": float(total - right)}


def floors() -> dict[str, Any]:
    """GB/s that this machine reads and GFLOP/s that it multiplies in bf16, the best of some tries."""
    import torch

    on_gpu = torch.cuda.is_available()
    device = "cuda" if on_gpu else "cpu"
    # On a GPU: far more than caches hold, as large as keeps it busy, and often enough to hide the call.
    numbers, side, calls = (2**30, 8192, 10) if on_gpu else (96 * 2**20, 2048, 1)
    memory = torch.ones(numbers, device=device)
    left, right = torch.randn(2, side, side, device=device).bfloat16()  # zeros or ones would take less power

    def best(work: Callable[[], Any]) -> float:
        times = []
        for _ in range(6):
            start = time.perf_counter()
            for _ in range(calls):
                work()
            if on_gpu:
                torch.cuda.synchronize()
            times.append((time.perf_counter() - start) / calls)
        return min(times)

    return {
        "machine": torch.cuda.get_device_name() if on_gpu else processor(),
        "bandwidth": numbers * 4 / best(memory.sum) / 1e9,
        "compute": 2 * side**3 / best(lambda: left @ right) / 1e9,
    }


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), "a processor"
    )
    return f"{len(os.sched_getaffinity(0))} cores of {name}"


# What is made of it


def one_figures(one: dict[str, Any]) -> tuple[float, float]:
    """(real-time factor, seconds to the first audio), medians."""
    return median(one["whole"]) / one["seconds"], median(one["first"])


def p95(values: Sequence[float]) -> float:
    """The value that 95 of 100 do not exceed."""
    return sorted(values)[-(-len(values) * 95 // 100) - 1]


def figures(
    start: dict[str, float], one: dict[str, Any], many: dict[str, Any], theirs: tuple[float, float]
) -> dict[str, Any]:
    """What the last line reports of one precision; of the batch sizes the slowest counts."""
    factor, first = one_figures(one)
    slowest = min(median(rates) for rates in many["many"].values())
    found = {
        "precision": one["precision"],
        "single_speedup": round(theirs[0] / factor, 2),
        "single_rtf": round(factor, 4),
        "first_audio_ratio": round(first / theirs[1], 4),
        "batch_speedup": round(slowest * theirs[0], 2),
        "batch_audio_seconds_per_second": round(slowest, 3),
        "peak_gb": round(max(each["peak_gb"] for each in (one, many)), 3),
        "cold_start_seconds": round(start["cold_start"], 2),
        "first_start_seconds": round(start["first"], 2),
    }
    if "device_gb" in many:
        found |= {
            "first_audio_p95_ms": round(p95(one["first"]) * 1000, 1),
            f"first_audio_{STREAMS}_p95_ms": round(p95(one["first_of_many"]) * 1000, 1),
            f"first_audio_{STREAMS}_steady_p95_ms": round(p95(one["first_of_steady"]) * 1000, 1),
            "device_gb": round(many["device_gb"], 3),
        }
    return {name: value for name, value in found.items() if name == "precision" or not isnan(value)}


def table(
    start: dict[str, float],
    ones: Sequence[dict[str, Any]],
    manies: Sequence[dict[str, Any]],
    theirs: tuple[float, float],
    floor: dict[str, Any],
) -> Iterator[str]:
    """The lines of a table: coqui-tts, each precision and its ratio, and what the machine allows."""
    heads = ["", "coqui-tts", *(head for one in ones for head in (one["precision"], "ratio")), "bf16 floor"]
    reading, multiplying = STEPS * STEP_GB / floor["bandwidth"], GFLOP / floor["compute"]

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    def row(
        what: str, ours: Sequence[float], other: float = NONE, least: float = NONE, rate: bool = False
    ) -> str:
        cells = [what, short(other)]
        for value in ours:
            ratio = value / other if rate else other / value
            cells += [short(value), f"{ratio:.1f}×" if not isnan(ratio) else ""]
        return line([*cells, short(least)])

    yield line(heads)
    yield line(["---"] * len(heads))
    factors, firsts = zip(*map(one_figures, ones), strict=True)
    least = reading + VOCODER_GFLOP / floor["compute"]
    yield row("one announcement, real-time factor", factors, theirs[0], least)
    yield row("first audio, s", firsts, theirs[1])
    for count in manies[0]["many"]:
        rates = [median(many["many"].get(count, [NONE])) for many in manies]
        # Weights are read once for all who are spoken together, while products of theirs are computed.
        most = 1 / max(reading / min(int(count), manies[0]["slots"]), multiplying)
        yield row(f"{count} announcements, audio s/s", rates, 1 / theirs[0], most, rate=True)
    both = zip(ones, manies, strict=True)
    yield row("peak memory, GB", [max(one["peak_gb"], many["peak_gb"]) for one, many in both])
    if "device_gb" in manies[0]:
        yield row(f"the GPU's, at {manies[0]['slots']} slots, GB", [many["device_gb"] for many in manies])
    others = [NONE] * (len(ones) - 1)
    yield row("start to first audio, s", [start["cold_start"], *others])
    yield row("the very first start, s", [start["first"], *others])


def streams_table(one: dict[str, Any]) -> Iterator[str]:
    """The lines of a table of first audio on a GPU."""
    yield "| first audio, ms | median | p95 | longest | streams |"
    yield "| --- | --- | --- | --- | --- |"
    for what, name in (
        ("alone", "first"),
        (f"of {STREAMS} begun at once", "first_of_many"),
        (f"of {STREAMS} kept going", "first_of_steady"),
    ):
        cells = [f"{value(one[name]) * 1000:.1f}" for value in (median, p95, max)]
        yield f"| {what} | {' | '.join(cells)} | {len(one[name])} |"


def short(value: float) -> str:
    """Three digits or more; nothing for what was not measured."""
    return "" if isnan(value) else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def bench(arguments: argparse.Namespace) -> None:
    import torch

    convert_once()
    library.library()  # so that nothing is compiled beside what is measured, but for the very first starts
    # Asking takes nothing of a GPU's memory. Computing would: all of that is done by children.
    on_gpu = torch.cuda.is_available()
    load_before, runs, precision = os.getloadavg()[0], arguments.runs, arguments.precision
    floor = child("floors")
    start = starts([2] if on_gpu else [1] * runs, precision)

    def coqui(threads: int) -> tuple[float, float]:
        """(real-time factor, seconds to the first audio)."""
        if arguments.without_coqui:
            return NONE, NONE
        script = ROOT / "tools/reference/speak.py"
        return one_figures(
            program("coqui-tts", arguments.coqui, script, OFFICIAL, TEXT, CODES, runs, threads)
        )

    if on_gpu:
        ones = [child("one", runs, precision)]
        theirs = coqui(ones[0]["threads"])
    else:
        theirs, ones = both_halves(runs, (precision, "int8"), coqui)
    manies = [child("many", runs, precision, arguments.batches)]
    if not on_gpu:
        manies.append(child("many", runs, "int8", arguments.batches.split(",")[0]))

    print(
        f"\nMachine: {floor['machine']}, {ones[0]['threads']} threads, load {load_before:.1f} before", end=" "
    )
    print(f"and {os.getloadavg()[0]:.1f} after; medians of at least {runs} runs of {CODES} codes.")
    multiplies = floor["compute"]
    speed = f"{multiplies:.0f} GFLOP/s" if multiplies < 1e4 else f"{multiplies / 1000:.0f} TFLOP/s"
    print(f"It reads {floor['bandwidth']:.0f} GB/s and multiplies {speed} in bf16: measured just before.\n")
    print(*table(start, ones, manies, theirs, floor), "", sep="\n", flush=True)
    if on_gpu:
        print(*streams_table(ones[0]), "", sep="\n", flush=True)
    # After the tables, which are there whatever becomes of it.
    precisions = ("fp32", "bf16") if on_gpu else ("fp32", "bf16", "int8")
    for each in () if arguments.without_coqui else precisions:
        compared = program(f"differences in {each}", sys.executable, __file__, "--compare", each)
        print(f"Differences from coqui-tts in {each}: {json.dumps(compared)}")
    result, *small = [figures(start, *each, theirs) for each in zip(ones, manies, strict=True)]
    print(json.dumps(result | ({"int8": small[0]} if small else {})))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--batches", default="32,128")
    parser.add_argument("--coqui", default=str(COQUI), metavar="PYTHON", help="where coqui-tts is installed")
    parser.add_argument("--without-coqui", action="store_true", help="no ratios, and no results compared")
    parser.add_argument("--compare", choices=["fp32", "bf16", "int8"], help="only compare results")
    parser.add_argument(
        "--child", choices=["convert", "floors", "start", "one", "many"], help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    if arguments.child == "convert":
        convert_once()
    elif arguments.child == "floors":
        print(json.dumps(floors()))
    elif arguments.child:
        found = measure(arguments.child, arguments.runs, arguments.precision, arguments.batches)
        print(json.dumps(found))
    elif arguments.compare:
        print(json.dumps({name: round(value, 7) for name, value in compare(arguments.compare).items()}))
    elif not (OFFICIAL / "model.pth").is_file() or not (
        arguments.without_coqui or shutil.which(arguments.coqui)
    ):
        sys.exit("There is nothing to compare with yet: run `make reference` first.")
    else:
        bench(arguments)


if __name__ == "__main__":
    main()
