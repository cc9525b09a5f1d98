"""The folder of what is kept for every run on a machine: checkpoints of the zoo, and hints about data sets."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return $TWINBENCH_CACHE, by default ~/.cache/twinbench; RuntimeError for a user without a home."""
    named = os.environ.get("TWINBENCH_CACHE")
    if named:
        return Path(named)
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "twinbench"
