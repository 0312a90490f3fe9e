"""Time coqui-tts on a checkpoint: the other side of `tools/bench_xtts.py`. Prints one JSON object.

speak.py FOLDER TEXT CODES RUNS THREADS
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "backend"))
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)

import torch  # noqa: E402
import torchaudio  # noqa: E402
from TTS.tts.configs.xtts_config import XttsConfig  # noqa: E402
from TTS.tts.models import xtts as coqui  # noqa: E402

from tests.speech.xtts import checkpoints  # noqa: E402


def main() -> None:
    folder, text, codes, runs, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    config = XttsConfig()
    config.load_json(f"{folder}/config.json")
    model = coqui.Xtts(config)
    model.load_checkpoint(config, checkpoint_dir=folder, eval=True)
    if torch.cuda.is_available():
        model.cuda()
    audio = torch.from_numpy(checkpoints.recording(0, 6.0, 22050))[None]
    coqui.load_audio = lambda samples, rate: torchaudio.functional.resample(samples, 22050, rate)
    latents, speaker = model.get_conditioning_latents([audio])
    whole, first, seconds = [], [], 0.0
    for number in range(int(runs) + 1):  # the first one warms up
        start = time.perf_counter()
        out = model.inference(text, "ko", latents, speaker, max_new_tokens=int(codes))
        whole.append(time.perf_counter() - start)
        seconds = len(out["wav"]) / 24000
        start = time.perf_counter()
        stream = model.inference_stream(text, "ko", latents, speaker, max_new_tokens=int(codes))
        next(stream).cpu()  # waits for it: a GPU is still computing what it hands out
        first.append(time.perf_counter() - start)
        stream.close()
        print(f"coqui-tts, run {number}: {whole[-1]:.2f} s, first audio {first[-1]:.2f} s", file=sys.stderr)
    print(json.dumps({"whole": whole[1:], "first": first[1:], "seconds": seconds}))


if __name__ == "__main__":
    main()
