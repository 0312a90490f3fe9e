"""Threads that share work out, given work of Python's."""

from __future__ import annotations

import ctypes
import threading
from collections import Counter

import pytest

from app.speech.xtts.compiled import library
from app.speech.xtts.compiled.library import Team

CHUNKS, PHASES, THREADS = 9, 3, 3
_COUNT = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p, ctypes.c_int)
_DO = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_int)


class _Work(ctypes.Structure):
    _fields_ = [("of", ctypes.c_void_p), ("phases", ctypes.c_int), ("chunks", _COUNT), ("chunk", _DO)]


@pytest.mark.parametrize("waits", range(CHUNKS))
def test_a_thread_that_is_held_up_holds_up_no_other(waits: int) -> None:
    """One chunk of each phase ends only when all the others of the phase have: whoever has it does no other, so
    that his share of them is done by others. And every chunk is done once."""
    done: Counter[tuple[int, int]] = Counter()
    others = [threading.Event() for _ in range(PHASES)]
    late: list[int] = []
    lock = threading.Lock()

    def chunk(_of: int, phase: int, at: int, _thread: int) -> None:
        if at == waits and not others[phase].wait(20):
            late.append(phase)
        with lock:
            done[phase, at] += 1
            if sum(count for (each, _), count in done.items() if each == phase) == CHUNKS - 1:
                others[phase].set()

    work = _Work(None, PHASES, _COUNT(lambda _of, _phase: CHUNKS), _DO(chunk))
    code, team = library.library(), Team(THREADS)
    code.team_run.restype = ctypes.c_bool
    assert code.team_run(team.handle, ctypes.byref(work), THREADS)
    assert not late
    assert done == {(phase, at): 1 for phase in range(PHASES) for at in range(CHUNKS)}
