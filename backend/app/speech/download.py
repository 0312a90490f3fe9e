"""One big file over a line that breaks: resumed, bounded in size, checked by its SHA-256."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.speech.interface import SpeechError

TIMEOUT = httpx.Timeout(30.0, connect=10.0)
ATTEMPTS = 5
LONGEST_WAIT = 30.0
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
MORE_ROOM = "Free some room, or set MOKSORI_WEIGHTS_DIR to a bigger disk, and run the command again."
TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})

Progress = Callable[[str, int, int], None]
"""Called with a file's name, how many of its bytes are here, and how many there will be."""


class WeightsError(SpeechError):
    """Weights could not be brought here; `fix` says what to do."""

    code = "weights_failed"


class HubOffline(WeightsError):
    """The hub could not be reached at all."""

    code = "hub_offline"
    retry = True


class HubRefused(WeightsError):
    """The hub answered, and will not give the file."""

    code = "hub_refused"


class ConnectionCut(WeightsError):
    """The connection broke, and again at every new attempt. What has arrived is kept."""

    code = "connection_cut"
    retry = True


class WrongHash(WeightsError):
    """What arrived is not what was published."""

    code = "wrong_hash"


class DiskFull(WeightsError):
    """There is no room for the files."""

    code = "disk_full"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def no_room(folder: Path, needed: int, free: int) -> DiskFull:
    return DiskFull(
        f"{folder} has {free / 1e9:.2f} GB free, and {needed / 1e9:.2f} GB are needed.", MORE_ROOM
    )


def new_client() -> httpx.Client:
    """A client that goes by the environment's proxies and certificates. Raises HubOffline where it cannot."""
    try:
        return httpx.Client(timeout=TIMEOUT, follow_redirects=True)
    except ImportError as error:
        raise HubOffline(
            "The environment names a SOCKS proxy, and the package socksio is not installed.",
            "Install it (pip install socksio), or unset ALL_PROXY, HTTPS_PROXY and HTTP_PROXY.",
        ) from error
    except (OSError, ValueError, httpx.InvalidURL) as error:  # its text may hold a proxy's password
        raise HubOffline(
            f"A proxy or the certificates that the environment names cannot be used ({type(error).__name__}).",
            "Check ALL_PROXY, HTTPS_PROXY, HTTP_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR.",
        ) from error


def without_password(url: str) -> str:
    """`url` as it may be shown and kept: a mirror's address can hold a password."""
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


@dataclass(frozen=True, slots=True)
class _File:
    """A file on its way: `<target>.part` is what has come, `<target>.etag` says of which version."""

    url: str
    target: Path
    size: int
    sha256: str

    @property
    def part(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def etag(self) -> Path:
        return self.target.with_name(f"{self.target.name}.etag")

    @property
    def arrived(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    @property
    def version(self) -> str:
        """The ETag of what has come, if a header can carry it back; else an empty string."""
        etag = self.etag.read_text("utf-8", errors="replace") if self.etag.exists() else ""
        return etag if etag.isascii() and etag.isprintable() else ""

    @property
    def shown(self) -> str:
        return without_password(self.url)

    def discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.etag.unlink(missing_ok=True)


class _TryAgain(Exception):
    """The hub is busy, or the part here does not fit what it has now."""


class Downloader:
    """Brings files over one client. `sleep` is called with the seconds to wait before a new attempt."""

    def __init__(
        self, client: httpx.Client, progress: Progress, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._client = client
        self._progress = progress
        self._sleep = sleep

    def bring(self, url: str, target: Path, size: int, sha256: str) -> None:
        """Bring `url` to `target`, whole and verified, going on where an earlier call was cut off.

        Attempts are counted anew whenever more has arrived than ever before. Raises WeightsError.
        """
        file = _File(url, target, size, sha256)
        resumed = file.arrived > 0
        self._fill(file)
        if sha256_of(file.part) != sha256:
            file.discard()
            if resumed:  # What was here before may have been the bad part of it.
                self.bring(url, target, size, sha256)
                return
            raise WrongHash(
                f"{target.name} from {file.shown} has another SHA-256 than the published file; it was "
                "thrown away.",
                "Try again; if it stays so, the hub at HF_ENDPOINT gives out something else: use another.",
            )
        with file.part.open("rb") as part:
            os.fsync(part.fileno())
        file.part.replace(target)
        file.etag.unlink(missing_ok=True)

    def _fill(self, file: _File) -> None:
        """Make attempts until all bytes are here, or too many in a row came no further."""
        failures = 0
        reached = False
        furthest = file.arrived  # a hub without ranges begins at 0 each time: that is no progress
        while True:
            try:
                self._attempt(file)
                if file.arrived == file.size:
                    return
                reason: Exception = _TryAgain("the answer ended early")
            except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
                raise HubRefused(
                    f"{file.shown} leads nowhere: {error}",
                    "HF_ENDPOINT must be an address like https://hub.example.",
                ) from error
            except httpx.DecodingError as error:
                raise HubRefused(
                    f"{file.shown} came in another encoding than its answer says.",
                    "Something between here and the hub alters answers: go around that proxy, or set "
                    "HF_ENDPOINT to a mirror.",
                ) from error
            except (httpx.TransportError, _TryAgain) as error:
                reason = error
            except OSError as error:
                if error.errno in FULL:
                    raise DiskFull(
                        f"The disk ran full while {file.part} was written; what has arrived is kept.",
                        "Free some room and run the command again: it goes on from there.",
                    ) from error
                raise
            reached = reached or not isinstance(reason, httpx.ConnectError | httpx.ConnectTimeout)
            failures = 1 if file.arrived > furthest else failures + 1
            furthest = max(furthest, file.arrived)
            if failures < ATTEMPTS:
                self._sleep(min(2.0**failures, LONGEST_WAIT))
            elif reached:
                raise ConnectionCut(
                    f"{file.shown}: {reason}; {ATTEMPTS} attempts in a row came no further.",
                    "Run the command again: it goes on from what has arrived.",
                ) from reason
            else:
                raise HubOffline(
                    f"{file.shown} cannot be reached: {reason}",
                    "Connect this machine, set HF_ENDPOINT to a mirror, or carry a folder over and run "
                    "`moksori weights import FOLDER`.",
                ) from reason

    def _attempt(self, file: _File) -> None:
        """Ask once for what is missing, and append what comes."""
        if file.arrived > file.size:
            file.discard()
        have = file.arrived
        if have == file.size:
            return
        # A compressed answer would have other lengths and offsets than the file.
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if file.version:
                headers["If-Range"] = file.version
        with self._client.stream("GET", file.url, headers=headers) as answer:
            if answer.status_code in TEMPORARY:
                raise _TryAgain(f"the hub answered {answer.status_code}")
            if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                file.discard()
                raise _TryAgain("the hub has no such range")
            if not answer.is_success:
                raise HubRefused(
                    f"{file.shown} answered {answer.status_code}.",
                    "Check HF_ENDPOINT; a mirror must carry the repository at this revision.",
                )
            range_given = answer.headers.get("Content-Range", "")
            goes_on = answer.status_code == httpx.codes.PARTIAL_CONTENT and range_given.startswith(
                f"bytes {have}-"
            )
            self._keep_etag(file, answer.headers.get("ETag", ""))
            self._append(file, answer, have if goes_on else 0)

    def _append(self, file: _File, answer: httpx.Response, done: int) -> None:
        with file.part.open("ab" if done else "wb") as part:
            # Without a size of its own: a block that is still being filled would be lost at a cut.
            for block in answer.iter_bytes():
                done += len(block)
                if done > file.size:
                    file.discard()
                    raise WrongHash(
                        f"{file.shown} is longer than the published {file.size} bytes.",
                        "The hub at HF_ENDPOINT gives out something else: use another.",
                    )
                part.write(block)
                self._progress(file.target.name, done, file.size)

    def _keep_etag(self, file: _File, etag: str) -> None:
        if etag and not etag.startswith("W/"):  # If-Range takes strong ones alone.
            file.etag.write_text(etag, "utf-8")
        else:
            file.etag.unlink(missing_ok=True)
