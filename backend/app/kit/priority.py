"""Threads that let others go first."""

from __future__ import annotations

import os
import sys
import threading

_LEAST = 19


def give_way() -> None:
    """Let every other thread go first, from now on; where threads have no priorities of their own, do nothing."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LEAST)
