"""Building kernels: Triton joins each to Python by a module in C, so that it needs a compiler, and a place to keep it."""

from __future__ import annotations

import logging
import os
from functools import cache

from app.speech.xtts.compiled.library import cache_folder

COMPILER = "a C compiler and Python's headers (Debian: gcc, libc6-dev, python3-dev)"
_log = logging.getLogger(__name__)


@cache
def builds() -> bool:
    """Whether Triton can build here, found out by its first module, the one that speaks with the driver.

    It is kept where our own code is, unless somebody has chosen: Triton's own place is the home directory, which a
    container's user may not have.
    """
    if not os.environ.keys() & {"TRITON_CACHE_DIR", "TRITON_HOME"}:
        os.environ["TRITON_CACHE_DIR"] = str(cache_folder() / "triton")
    try:
        from triton.runtime import driver

        driver.active.get_current_target()
    except Exception as error:  # of many kinds, a compiler's and an assertion among them
        _log.warning("tts.xtts.no_kernels", extra={"error": str(error), "fix": f"Install {COMPILER}."})
        return False
    return True
