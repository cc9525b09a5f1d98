"""The folders of what is kept for every run on a machine: checkpoints of the zoo, hints about data sets, and what
Hugging Face's library has fetched. And the keys of what a frozen backbone gave for a list of images."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path


def cache_folder() -> Path:
    """Return $TWINBENCH_CACHE, by default ~/.cache/twinbench; RuntimeError for a user without a home."""
    named = os.environ.get("TWINBENCH_CACHE")
    if named:
        return Path(named)
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "twinbench"


def named_cache() -> Path | None:
    """Return $TWINBENCH_CACHE, in which features and patches are kept where it is set."""
    named = os.environ.get("TWINBENCH_CACHE")
    return Path(named) if named else None


def images_key(what: object, names: Sequence[str], sizes: Iterable[int]) -> str:
    """Return 32 hex digits that nothing else has: of `what` was made of images, their names below their common folder,
    and their sizes in bytes."""
    root = os.path.commonpath({os.path.dirname(name) for name in names})
    found = hashlib.sha256(json.dumps(what, sort_keys=True).encode())
    for name, size in zip(names, sizes, strict=True):
        found.update(os.fsencode(f"\0{name.removeprefix(root).lstrip('/')}\0{size}"))
    return found.hexdigest()[:32]


def number_format(precision: str, device: str) -> str:
    """Return the number format of a key, and where that is not fp32 the kind of device that computed the numbers.

    In fp32 a GPU's and a processor's differ in their last digits, and share an extraction. Their bf16 rounds at other
    places: a result that says bf16 on a processor would hold a GPU's features, or the other way round.
    """
    return precision if precision == "fp32" else f"{precision} on {device.partition(':')[0]}"


def hub_folder() -> Path:
    """Return where Hugging Face's library caches: $HF_HUB_CACHE, or `hub` in $HF_HOME or ~/.cache/huggingface."""
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    older = os.environ.get("HUGGINGFACE_HUB_CACHE")
    hub = os.environ.get("HF_HUB_CACHE") or older or os.path.join(home, "hub")
    return Path(os.path.expandvars(hub)).expanduser()
