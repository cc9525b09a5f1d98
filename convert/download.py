"""Fetching a checkpoint of the zoo: with progress, resumed after a kill, checked once, offline ever after.

Files lie in $TWINBENCH_CACHE, by default ~/.cache/twinbench, as NAME/FILE; FILE.json beside one says that it was
checked. A file put there by hand is checked and used like a fetched one.
"""

import fcntl
import hashlib
import http.client
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from convert.zoo import Entry, ZooError
from protocols.house import replacing
from slurm.progress import bar

CHUNK = 1 << 20  # bytes
TIMEOUT = 60  # seconds without a byte


def cached_path(entry: Entry) -> Path:
    """Return where the file of `entry` lies, or will lie."""
    root = os.environ.get("TWINBENCH_CACHE")
    cache = Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "twinbench"
    file = urllib.parse.unquote(urllib.parse.urlsplit(entry.address).path.rsplit("/", 1)[-1])
    return cache / entry.name / ("checkpoint" if entry.by_hand else file)


def is_cached(entry: Entry) -> bool:
    """Return True if the file is there; no network is needed for it then."""
    return cached_path(entry).is_file()


def fetch(entry: Entry) -> Path:
    """Return the path of the checkpoint, fetched if it is not there, checked if it was not yet.

    Raises ZooError for an address that does not answer and for bytes that are not the documented ones; both name the
    file to put there by hand.
    """
    path = cached_path(entry)
    if not path.is_file():
        if entry.by_hand:
            raise ZooError(
                f"zoo:{entry.name}: no program can fetch it; take it from {entry.address} and save it as {path}"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            if not path.is_file():  # else another process has just fetched it
                print(f"zoo:{entry.name}: {entry.address}, licence {entry.licence}", file=sys.stderr)
                _download(entry, path)
    _check(entry, path)
    return path


@contextmanager
def _alone(path: Path) -> Generator[None]:
    """Hold the right to write `path`; the processes of a suite ask for the same file at once."""
    with open(path.with_name(f".{path.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(entry: Entry, path: Path) -> None:
    """Fetch the file beside `path`, going on where a killed run stopped, and move it there when it is whole."""
    part = path.with_name(f".{path.name}.part")
    try:
        with _opened(entry.address, part.stat().st_size if part.exists() else 0) as (answer, start):
            left = answer.headers.get("Content-Length")
            total = start + int(left) if left and left.isdigit() else None
            with open(part, "ab" if start else "wb") as file:
                count = total and -(-total // CHUNK)
                for chunk in bar(_chunks(answer), what=entry.name, total=count, start=start // CHUNK, unit="MiB"):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError and timeouts are OSErrors
        raise _unreachable(entry, path, str(getattr(error, "reason", error)) or type(error).__name__) from None
    size = part.stat().st_size
    if total is not None and size != total:
        raise _unreachable(entry, path, f"the connection ended after {size:,} of {total:,} bytes; run again to go on")
    with open(part, "rb") as file:
        if file.read(64).lstrip().startswith((b"<", b'{"error')):
            part.unlink()
            raise _unreachable(entry, path, "it answers with a web page instead of the file")
    os.replace(part, path)


@contextmanager
def _opened(address: str, start: int) -> Generator[tuple[Any, int]]:
    """Open an http(s) address from byte `start` on; yield the answer and where it really starts."""
    if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
        raise ValueError(f"not an http address: {address}")
    headers = {"User-Agent": "twinbench", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        answer = urllib.request.urlopen(urllib.request.Request(address), timeout=TIMEOUT)  # the part is too long: anew
    with answer:
        yield answer, start if answer.status == http.client.PARTIAL_CONTENT else 0


def _chunks(answer: Any) -> Iterator[bytes]:
    while chunk := answer.read(CHUNK):
        yield chunk


def _unreachable(entry: Entry, path: Path, why: str) -> ZooError:
    return ZooError(
        f"zoo:{entry.name}: {entry.address} cannot be fetched ({why}); fetch it by hand and save it as {path}"
    )


def _check(entry: Entry, path: Path) -> None:
    """Compare the file with the documented hash, once; what was checked is noted beside it."""
    note, size = path.with_name(f"{path.name}.json"), path.stat().st_size
    try:
        known = json.loads(note.read_text())
    except (OSError, ValueError):
        known = {}
    if isinstance(known, dict) and known.get("size") == size and known.get("hash") == entry.hash:
        return
    digests = {name: _digest(path, name) for name in {"sha256", entry.hash.partition(":")[0] or "sha256"}}
    algorithm, _, documented = entry.hash.partition(":")
    if documented and not digests[algorithm].startswith(documented):
        raise ZooError(
            f"{path}: {algorithm} {digests[algorithm][:16]}..., expected {documented}... as documented for "
            f"zoo:{entry.name}: damaged, or changed by its owner; remove it, or fetch {entry.address} by hand to there"
        )
    with replacing(note) as beside:
        beside.write_text(json.dumps({"address": entry.address, "hash": entry.hash, "size": size, **digests}) + "\n")


def _digest(path: Path, algorithm: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
