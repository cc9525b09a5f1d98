"""The folders of what is kept for every run on a machine: checkpoints of the zoo, hints about data sets, and what
Hugging Face's library has fetched."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return $TWINBENCH_CACHE, by default ~/.cache/twinbench; RuntimeError for a user without a home."""
    named = os.environ.get("TWINBENCH_CACHE")
    if named:
        return Path(named)
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "twinbench"


def hub_folder() -> Path:
    """Return where Hugging Face's library caches: $HF_HUB_CACHE, or `hub` in $HF_HOME or ~/.cache/huggingface."""
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    older = os.environ.get("HUGGINGFACE_HUB_CACHE")
    hub = os.environ.get("HF_HUB_CACHE") or older or os.path.join(home, "hub")
    return Path(os.path.expandvars(hub)).expanduser()
