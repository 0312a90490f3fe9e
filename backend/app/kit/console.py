"""A terminal for what users and files say."""

from __future__ import annotations

from rich.console import Console


def plain_console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Prints text as it stands: rich would take `[data]` in a path for markup, and `:key:` for a picture."""
    return Console(stderr=stderr, soft_wrap=soft_wrap, markup=False, emoji=False)
