"""The tensors of everything that is being spoken, and the step that gives each utterance its next code.

Rows are dense: the batch is always the first `len(rows)` of them, and when one leaves, the last takes its
place. Everything a step needs lies in buffers that it updates in place, so that a step is the same list of
operations whichever utterances are in it; on a GPU it is recorded once a batch size and replayed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.speech.xtts import pages
from app.speech.xtts.gpt import Cache, Gpt
from app.speech.xtts.gpu.cache import PAGE, pages_of
from app.speech.xtts.gpu.recording import Recorder
from app.speech.xtts.sampling import Sampling, draws, sample
from app.speech.xtts.threads import Threads

_VOICES_KEPT = 16  # each up to 8 MB
_PREFILL_TOKENS = 2048  # in one pass, to bound its memory


@dataclass(frozen=True, slots=True)
class Job:
    """One utterance to be decoded. `cap` codes are its most; `voice` names its latents, (32, channels)."""

    id: str
    tokens: list[int]
    voice: str
    latents: NDArray[np.float32]
    seed: int
    cap: int


@dataclass(slots=True)
class Row:
    """What is known of a job that is being spoken, without a tensor."""

    job: Job
    codes: list[int] = field(default_factory=list)
    stopped: bool = False

    @property
    def ended(self) -> bool:
        """It stopped by itself, or ran into its cap."""
        return self.stopped or len(self.codes) >= self.job.cap

    @property
    def states(self) -> int:
        """How many states it has: one a code, and the one that predicted the stop."""
        return len(self.codes) + self.stopped


@dataclass(frozen=True, slots=True)
class _Step:
    """A step that was begun: who spoke in it, and their codes once it is through."""

    rows: list[Row]
    codes: Tensor
    through: torch.cuda.Event | None = None


class Runner:
    """`admit` jobs, `step` (or `start` and `finish`), `release` rows. One thread only.

    Where the cache is paged, all rows share `room` positions of it (by default, what the longest ones need).

    A GPU is given the next step before the codes of the last one are looked at, so that it never waits: a row that
    has ended takes part in one more step, of which nothing is noted.
    """

    def __init__(self, gpt: Gpt, slots: int, sampling: Sampling, room: int | None = None) -> None:
        self._gpt = gpt
        self._sampling = sampling
        self._prefixes: OrderedDict[str, Any] = OrderedDict()
        self._graphs: dict[tuple[str, int], Any] = {}
        self._recorder = Recorder()
        self._steps: list[_Step] = []  # begun, and not noted yet
        self._ahead = 1 if self._recording else 0  # how many of them there may be after `finish`
        self.rows: list[Row] = []
        self.slots = slots
        self.room = max(self._longest, slots * self._longest if room is None else room) if gpt.paged else 0
        self._allocated = False
        cores = torch.get_num_threads() if gpt.device.type == "cpu" else 1
        self._threads, self._threads_of_some = (Threads(cores, torch.set_num_threads) for _ in range(2))

    @property
    def _longest(self) -> int:
        """Positions of the longest utterance there can be, in whole pages."""
        return pages_of(32 + self._gpt.max_prompt + self._gpt.settings.max_codes) * PAGE

    def takes(self, job: Job) -> int:
        """How much of `room` a job takes."""
        return pages_of(self._most(job)) * PAGE if self._gpt.paged else 0

    def kernels(self) -> list[Callable[[], object]]:
        """What there is to be compiled for a GPU, once on a machine; each can be done beside the others."""
        logits = torch.zeros(1, self._gpt.settings.audio_tokens, device=self._gpt.device)
        choice = partial(sample, logits, logits > 0, logits[:, 0], self._sampling)
        return [choice, *self._gpt.kernels(self._longest)]

    @torch.inference_mode()
    def prepare(self) -> None:
        """Record every step there can be, so that nobody waits for it later."""
        if self._recording and not self._allocated:
            self._allocate()
            # The largest first: the others then find room in its memory.
            for rows in sorted({self._bucket(rows) for rows in range(1, self.slots + 1)}, reverse=True):
                self._recorded(rows, self._decode)
            for tokens in sorted(
                {self._lot(tokens) for tokens in range(1, _PREFILL_TOKENS + 1)}, reverse=True
            ):
                self._recorded(tokens, self._read)

    def resize(self, slots: int) -> None:
        """Give up all rows and all memory; `slots` rows get theirs with the next admission.

        What was spoken is to be admitted again. Called when something went wrong, so it asks for nothing.
        """
        self.rows.clear()
        self._steps.clear()
        self._graphs.clear()
        self._recorder = Recorder()
        self._prefixes.clear()
        self.room = max(self._longest, self.room * slots // self.slots) if self._gpt.paged else 0
        self.slots = slots
        self._allocated = False
        for name in ("_cache", "_states", "_draws", "_seen", "_next_codes"):
            self.__dict__.pop(name, None)
        if self._gpt.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def admit(self, jobs: Sequence[Job]) -> None:
        """Give each job a row and its first code; as many as there are slots left."""
        if len(self.rows) + len(jobs) > self.slots:
            raise ValueError(f"{len(jobs)} more jobs do not fit {self.slots} slots")
        if not self._allocated:
            self._allocate()
        # Prompts of like length share a pass: little padding, and bounded memory.
        waiting = sorted(jobs, key=lambda job: len(job.tokens))
        while waiting:
            longest = len(waiting[-1].tokens) + 3
            count = max(1, _PREFILL_TOKENS // longest)
            self._prefill(waiting[-count:])
            del waiting[-count:]

    @property
    def can_step_some(self) -> bool:
        """Whether `start` takes some rows alone."""
        return self._gpt.compiled

    @torch.inference_mode()
    def start(self, some: Sequence[int] = ()) -> None:
        """Begin to give every row its next code, or `some` of them; on a GPU this returns at once. No row may be known
        to have ended."""
        if not self.rows:
            return
        self._fit()
        numbers = some or range(len(self.rows))
        if self._next_codes is not None:
            with (self._threads_of_some if some else self._threads)(len(numbers)):
                self._next_codes(self._cache, numbers)
        else:
            self._begin(len(numbers))
        codes = self._code[list(some)] if some else self._code[: len(numbers)]
        self._steps.append(_Step([self.rows[number] for number in numbers], *self._copied(codes)))

    def finish(self) -> None:
        """Wait for what `start` began and note the codes; where it works ahead, for all but the last step."""
        while len(self._steps) > self._ahead:
            step = self._steps.pop(0)
            if step.through is not None:
                step.through.synchronize()
            self._note(step.rows, step.codes)

    def step(self) -> None:
        """Give every row its next code, be it noted now or later."""
        self.start()
        self.finish()

    def states(self, row: int, start: int = 0) -> Tensor:
        """A row's states from number `start` on, (count, channels); valid until the next call."""
        return self._states[row, start : self.rows[row].states]

    def index(self, job_id: str) -> int | None:
        """Where a job is now; rows move."""
        return next((number for number, row in enumerate(self.rows) if row.job.id == job_id), None)

    @torch.inference_mode()
    def release(self, row: int) -> None:
        """Free a row; the last one moves there."""
        last = len(self.rows) - 1
        self._cache.free(row)
        if row != last:
            length = self._length(self.rows[last])
            self._cache.move(last, row, length)
            states = self.rows[last].states + len(self._steps)
            self._states[row, :states] = self._states[last, :states]
            for buffer in (self._code, self._count, self._lengths, self._draws, self._seen):
                buffer[row] = buffer[last]
            self.rows[row] = self.rows[last]
        del self.rows[last]

    def _allocate(self) -> None:
        gpt, slots = self._gpt, self.slots
        settings, device = gpt.settings, gpt.device
        self._cache = (
            gpt.cache(slots, self._longest, self.room) if gpt.paged else gpt.cache(slots, Cache.STEP)
        )
        self._code = torch.zeros(slots, dtype=torch.long, device=device)
        self._count = torch.zeros(slots, dtype=torch.long, device=device)  # codes that a row has
        self._lengths = torch.zeros(slots, dtype=torch.long, device=device)  # cache positions in use
        self._draws = torch.zeros(slots, settings.max_codes + 1, device=device)
        self._seen = torch.zeros(slots, settings.audio_tokens, dtype=torch.bool, device=device)
        shape = (slots, settings.max_codes + 1, settings.channels)
        if self._recording:
            self._tokens = torch.zeros(_PREFILL_TOKENS, settings.channels, device=device)
            self._places = torch.zeros(2, _PREFILL_TOKENS, dtype=torch.int32, device=device)
        # On a CPU touched only where it is written, like the cache.
        self._states = pages.zeros(shape, torch.float32, device)
        self._next_codes = gpt.steps(
            self._sampling,
            code=self._code,
            count=self._count,
            lengths=self._lengths,
            draws=self._draws,
            seen=self._seen,
            states=self._states,
        )
        self._allocated = True

    @property
    def _recording(self) -> bool:
        return self._gpt.paged and self._gpt.device.type == "cuda"

    def _bucket(self, rows: int) -> int:
        """How many rows a step of so many is recorded for."""
        return min(self.slots, 1 << (rows - 1).bit_length())

    @staticmethod
    def _lot(tokens: int) -> int:
        """How many tokens of prompts a pass over so many is recorded for."""
        step = 64 if tokens <= 512 else 256
        return -(-tokens // step) * step

    def _prefix(self, job: Job) -> Any:
        """Keys and values of a voice's latents: computed once a voice, kept for the last ones used."""
        prefix = self._prefixes.get(job.voice)
        if prefix is None:
            prefix = self._gpt.prefix(torch.from_numpy(job.latents))
            while len(self._prefixes) >= _VOICES_KEPT:
                self._prefixes.popitem(last=False)
            self._prefixes[job.voice] = prefix
        self._prefixes.move_to_end(job.voice)
        return prefix

    def _length(self, row: Row) -> int:
        """Cache positions that a row uses: latents, prompt, and all codes but the last, of steps under way too."""
        return len(row.job.latents) + len(row.job.tokens) + 3 + max(0, len(row.codes) - 1) + len(self._steps)

    def _most(self, job: Job) -> int:
        """Cache positions that a job can come to use."""
        return len(job.latents) + len(job.tokens) + 3 + job.cap

    def _fit(self, rows: int | None = None) -> None:
        """Let a cache without pages be as long as the longest row needs."""
        if isinstance(self._cache, Cache):
            needed = max(self._length(row) for row in self.rows) + 1
            # Shrinking pays when much of what every step reads is padding.
            if needed > self._cache.capacity or needed + 2 * Cache.STEP <= self._cache.capacity:
                self._cache.fit(needed, len(self.rows) if rows is None else rows)

    def _prefill(self, jobs: Sequence[Job]) -> None:
        first, gpt, device = len(self.rows), self._gpt, self._gpt.device
        self._cache.reserve(first, [self._most(job) for job in jobs])
        self.rows += [Row(job) for job in jobs]
        self._fit(first)
        rows = slice(first, len(self.rows))
        prompts = [gpt.prompt(job.tokens) for job in jobs]
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        past = {len(job.latents) for job in jobs}
        if len(past) != 1:
            raise ValueError("voices of one batch have different numbers of latents")
        for number, job in enumerate(jobs, first):
            self._cache.put(number, self._prefix(job))
        self._draws[rows] = torch.stack([draws(job.seed, self._draws.shape[1]) for job in jobs]).to(device)
        x = torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True)
        x = self._prompted(x, first, past.pop())
        last = x[torch.arange(len(jobs), device=device), lengths - 1]
        self._count[rows] = 0
        self._lengths[rows] = lengths + len(jobs[0].latents)
        # coqui-tts writes id 1 in the places of latents and text, and so penalises it from the start.
        self._seen[rows] = False
        self._seen[rows, 1] = True
        self._seen[rows, gpt.settings.start_audio] = True
        self._choose(*gpt.states_and_logits(last), first, len(self.rows))
        self._note(self.rows[first:], self._code[rows])

    def _decode(self, rows: int) -> None:
        """One step of the first `rows` rows, all of it on buffers."""
        gpt = self._gpt
        x = gpt.embed(self._code[:rows], self._count[:rows])
        x = gpt.decode(x, self._cache, self._lengths[:rows])
        self._lengths[:rows] += 1
        self._choose(*gpt.states_and_logits(x), 0, rows)

    def _choose(self, states: Tensor, logits: Tensor, start: int, stop: int) -> None:
        """Keep the states of rows `start` … `stop`, and choose their next codes."""
        rows = slice(start, stop)
        place = self._count[rows, None, None].expand(-1, 1, states.shape[-1])
        self._states[rows].scatter_(1, place, states[:, None])
        draw = self._draws[rows].gather(1, self._count[rows, None])[:, 0]
        codes = sample(logits, self._seen[rows], draw, self._sampling)
        self._code[rows] = codes
        self._seen[rows].scatter_(1, codes[:, None], True)
        self._count[rows] += 1

    def _note(self, rows: Sequence[Row], codes: Tensor) -> None:
        for row, code in zip(rows, codes.tolist(), strict=True):
            if row.ended:
                continue
            if code == self._gpt.settings.stop_audio:
                row.stopped = True
            else:
                row.codes.append(code)

    def _copied(self, codes: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
        """Codes as they are now, and when they are here."""
        if codes.device.type == "cpu":
            return codes.clone(), None
        here = torch.empty(codes.shape, dtype=codes.dtype, pin_memory=True)
        return here.copy_(codes, non_blocking=True), torch.cuda.current_stream().record_event()

    def _begin(self, rows: int) -> None:
        if self._recording:
            self._replay(rows)
        else:
            with self._threads(rows):
                self._decode(rows)

    def _replay(self, rows: int) -> None:
        """Record the step of a bucket of rows once, then replay it.

        Rows of the bucket that nobody speaks in write into memory of their own, which is cleared on
        admission.
        """
        bucket = self._bucket(rows)
        self._count[rows:bucket] = 0
        self._lengths[rows:bucket] = 0
        self._recorded(bucket, self._decode).replay()

    def _prompted(self, x: Tensor, first: int, past: int) -> Tensor:
        """As Gpt.prefill; on a GPU by a recording of the next lot of tokens."""
        if not self._recording:
            return self._gpt.prefill(x, self._cache, first, past)
        rows, length, channels = x.shape
        tokens = rows * length
        bucket = self._lot(tokens)
        self._tokens[:tokens] = x.view(-1, channels)
        places = torch.tensor([[row, past + n] for row in range(first, first + rows) for n in range(length)])
        self._places[:, :tokens] = places.T.to(self._places)
        # Those that are none stand in a row that is nobody's.
        self._places[0, tokens:bucket] = self.slots
        self._places[1, tokens:bucket] = 0
        self._recorded(bucket, self._read).replay()
        return self._tokens[:tokens].view(rows, length, channels)

    def _read(self, tokens: int) -> None:
        """The pass over so many tokens of prompts, on buffers."""
        rows, positions = self._places[:, :tokens]
        self._tokens[:tokens] = self._gpt.read(self._tokens[:tokens], self._cache, rows, positions)

    def _recorded(self, size: int, work: Callable[[int], None]) -> Any:
        """What `work` does for a size, recorded once. It changes none of what is being spoken then."""
        graph = self._graphs.get((work.__name__, size))
        if graph is None:
            graph = self._graphs[work.__name__, size] = self._record(size, work)
        return graph

    def _record(self, size: int, work: Callable[[int], None]) -> Any:
        buffers = (self._code, self._count, self._lengths, self._seen, self._tokens, self._places)
        kept = [buffer.clone() for buffer in buffers]
        graph, _ = self._recorder.record(lambda: work(size))
        for buffer, old in zip(buffers, kept, strict=True):
            buffer.copy_(old)
        return graph
