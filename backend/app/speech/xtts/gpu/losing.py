"""Losing the GPU: after an illegal access, say, every call of this process fails, for as long as it lives."""

from __future__ import annotations

import logging
import os
import signal

import torch

_log = logging.getLogger(__name__)


def is_lost(device: torch.device) -> bool:
    """Whether the device answers this process no more. To have run out of its memory is not that."""
    if device.type != "cuda":
        return False
    try:
        torch.cuda.current_stream(device).synchronize()  # another one may be recording
    except RuntimeError:
        return True
    return False


def leave_if_lost(device: torch.device) -> None:
    """Where only a new process helps, end this one as if it had crashed: its work is begun again then."""
    if is_lost(device):
        _log.critical("tts.xtts.gpu_lost")
        os.kill(os.getpid(), signal.SIGKILL)
