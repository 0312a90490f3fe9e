"""The compiled code's own tests run where it does; test_library.py runs everywhere."""

from __future__ import annotations

import os
import shutil

import torch

from app.speech.xtts.compiled import library


def _runs_here() -> bool:
    """As library.supported, but for the compiling itself: code that cannot be compiled has to fail here."""
    return library.capable(torch.device("cpu")) and shutil.which(os.environ.get("CC", "cc")) is not None


collect_ignore = (
    []
    if _runs_here()
    else [
        "test_choice.py",
        "test_layers.py",
        "test_pictures.py",
        "test_convolutions.py",
        "test_team.py",
        "test_weights.py",
    ]
)
