from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

from app.kit import priority


def test_a_thread_gives_way_and_the_others_do_not():
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with ThreadPoolExecutor(1, initializer=priority.give_way) as aside:
        assert aside.submit(os.getpriority, os.PRIO_PROCESS, 0).result() == (
            19 if sys.platform == "linux" else before
        )
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
