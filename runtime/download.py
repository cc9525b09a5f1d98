"""A file from the network: with progress, resumed after a kill, moved to its place when it is whole.

Nothing here is called unless the user asked for a download.
"""

import fcntl
import hashlib
import http.client
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twinbench.protocols.house import UserError
from twinbench.runtime.progress import bar

CHUNK = 1 << 20  # bytes
TIMEOUT = 60  # seconds without a byte


class FetchError(UserError):
    """An address that does not answer, or answers with something else than the file."""

    def __init__(self, address: str, path: Path, why: str) -> None:
        """Name the file to put there by hand."""
        super().__init__(f"{address} cannot be fetched ({why}); fetch it by hand and save it as {path}")


@contextmanager
def alone(path: Path) -> Generator[None]:
    """Hold the right to write `path`; the processes of a suite ask for the same file at once."""
    with open(path.with_name(f".{path.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fetch_file(address: str, path: Path, *, what: str, sha256: str = "", md5: str = "") -> None:
    """Fetch a file beside `path`, going on where a killed run stopped, and move it there when it is whole.

    Bytes of another `sha256` or `md5` than the one given are thrown away. `what` names the file in the progress bar.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        total = _download(address, part, what)
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError and timeouts are OSErrors
        raise FetchError(address, path, str(getattr(error, "reason", error)) or type(error).__name__) from None
    size = part.stat().st_size
    if total is not None and size != total:
        why = f"the connection ended after {size:,} of {total:,} bytes; run again to go on"
        raise FetchError(address, path, why)
    with open(part, "rb") as file:
        page = file.read(64).lstrip().startswith((b"<", b'{"error'))
    if page:
        part.unlink()
        raise FetchError(address, path, "it answers with a web page instead of the file")
    for algorithm, expected in (("sha256", sha256), ("md5", md5)):
        if expected and (found := digest(part, algorithm)) != expected:
            part.unlink()
            raise FetchError(address, path, f"its {algorithm} is {found[:12]}..., expected {expected[:12]}...")
    os.replace(part, path)


def digest(path: Path, algorithm: str) -> str:
    """Return the digest of a file in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _download(address: str, part: Path, what: str) -> int | None:
    """Write what is missing of `part`; return how many bytes the whole file has, if the server says so."""
    had = part.stat().st_size if part.exists() else 0
    with _opened(address, had) as (answer, start):
        if answer is None:
            return had
        left = answer.headers.get("Content-Length")
        total = start + int(left) if left and left.isdigit() else None
        with open(part, "ab" if start else "wb") as file:
            count = total and -(-total // CHUNK)
            for chunk in bar(_chunks(answer), what=what, total=count, start=start // CHUNK, unit="MiB"):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    return total


@contextmanager
def _opened(address: str, start: int) -> Generator[tuple[Any, int]]:
    """Open an http(s) address from byte `start` on; yield the answer and where it really starts.

    The answer is None where the file has just `start` bytes: a run that was killed before it moved a file of 120 GB
    had fetched it all.
    """
    if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
        raise ValueError(f"not an http address: {address}")
    headers = {"User-Agent": "twinbench", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        if error.headers.get("Content-Range") == f"bytes */{start}":
            yield None, start
            return
        answer = urllib.request.urlopen(urllib.request.Request(address), timeout=TIMEOUT)  # the part is too long: anew
    with answer:
        yield answer, start if answer.status == http.client.PARTIAL_CONTENT else 0


def _chunks(answer: Any) -> Iterator[bytes]:
    while chunk := answer.read(CHUNK):
        yield chunk
