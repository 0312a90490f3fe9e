from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from app.auth.secrets import signing_key


def test_the_first_logins_at_once_agree_on_a_key(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def sign(folder: Path) -> str:
        together.wait(10)
        return signing_key(folder)

    with ThreadPoolExecutor(8) as pool:
        for number in range(50):
            folder = tmp_path / str(number)
            [key] = set(pool.map(sign, [folder] * 8))
            assert len(key) == 64
            assert [(file.name, file.stat().st_mode & 0o777) for file in folder.iterdir()] == [
                ("signing.key", 0o600)
            ]
