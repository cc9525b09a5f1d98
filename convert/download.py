"""Fetching a checkpoint of the zoo: with progress, resumed after a kill, checked once, offline ever after.

Files lie in $TWINBENCH_CACHE, by default ~/.cache/twinbench, as NAME/FILE; FILE.json beside one says that it was
checked. A file put there by hand is checked and used like a fetched one.
"""

import json
import sys
import urllib.parse
from pathlib import Path

from twinbench.convert.zoo import Entry, ZooError
from twinbench.protocols.house import replacing
from twinbench.protocols.text import TextError, read_json
from twinbench.runtime.cache import cache_folder
from twinbench.runtime.download import FetchError, alone, digest, fetch_file


def cached_path(entry: Entry) -> Path:
    """Return where the file of `entry` lies, or will lie."""
    folder = cache_folder() / entry.name
    if entry.by_hand:
        return folder / "checkpoint"
    path = urllib.parse.urlsplit(entry.address).path
    return folder / urllib.parse.unquote(path.rsplit("/", 1)[-1])


def is_cached(entry: Entry) -> bool:
    """Return True if the file is there; no network is needed for it then."""
    return cached_path(entry).is_file()


def require_fetchable(entry: Entry) -> None:
    """Raise ZooError if the file is not there and only people can fetch it."""
    if entry.by_hand and not is_cached(entry):
        place = cached_path(entry)
        raise ZooError(
            f"zoo:{entry.name}: no program can fetch it; take it from {entry.address} and save it as {place}"
        )


def fetch(entry: Entry) -> Path:
    """Return the path of the checkpoint, fetched if it is not there, checked if it was not yet.

    Raises ZooError for an address that does not answer and for bytes that are not the documented ones; both name the
    file to put there by hand.
    """
    path = cached_path(entry)
    if not path.is_file():
        require_fetchable(entry)
        path.parent.mkdir(parents=True, exist_ok=True)
        with alone(path):
            if not path.is_file():  # else another process has just fetched it
                print(f"zoo:{entry.name}: {entry.address}, licence {entry.licence}", file=sys.stderr)
                _fetch_from_network(entry, path)
    _check(entry, path)
    return path


def _fetch_from_network(entry: Entry, path: Path) -> None:
    try:
        fetch_file(entry.address, path, what=entry.name)
    except FetchError as error:
        raise ZooError(f"zoo:{entry.name}: {error}") from None


def _check(entry: Entry, path: Path) -> None:
    """Compare the file with the documented hash, once; what was checked is noted beside it."""
    note, size = path.with_name(f"{path.name}.json"), path.stat().st_size
    try:
        known = read_json(note)
    except TextError:
        known = {}
    if isinstance(known, dict) and known.get("size") == size and known.get("hash") == entry.hash:
        return
    digests = {name: digest(path, name) for name in {"sha256", entry.hash.partition(":")[0] or "sha256"}}
    algorithm, _, documented = entry.hash.partition(":")
    if documented and not digests[algorithm].startswith(documented):
        raise ZooError(
            f"{path}: {algorithm} {digests[algorithm][:16]}..., expected {documented}... as documented for "
            f"zoo:{entry.name}: damaged, or changed by its owner; remove it, or fetch {entry.address} by hand to there"
        )
    with replacing(note) as beside:
        beside.write_text(json.dumps({"address": entry.address, "hash": entry.hash, "size": size, **digests}) + "\n")
