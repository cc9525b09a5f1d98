"""`hf:ORG/MODEL` or `hf:ORG/MODEL@REVISION`: a folder in Hugging Face's cache, and fetching it when asked to.

The cache is read as its documentation describes it: `models--ORG--MODEL/refs/REVISION` holds a commit, and
`snapshots/COMMIT/` the files. So what is cached needs neither the library nor the network; fetching needs the library.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from twinbench.convert.files import CheckpointError
from twinbench.convert.reading.folder import HINTS, INDEX, WEIGHT_ENDINGS, WEIGHTS
from twinbench.convert.reading.parts import names_in, text_start
from twinbench.protocols.house import optional
from twinbench.runtime.cache import hub_folder

PREFIX = "hf:"
CARD = "README.md"
MAX_CARD = 64 << 10  # bytes, of which the card's head is the start
MAX_REF = 100  # bytes
_SPEC = re.compile(r"hf:(?P<model>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w-][\w./-]*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubModel:
    """A model of the hub, at a branch, tag or commit."""

    model: str  # ORG/MODEL
    revision: str

    @property
    def folder(self) -> Path:
        """The model's folder in the cache."""
        return hub_folder() / f"models--{self.model.replace('/', '--')}"


def cached_folder(spec: str) -> Path:
    """Return the folder of `hf:ORG/MODEL[@REVISION]` in the cache; CheckpointError, with what fetches it, if it is not.

    A snapshot counts if a file of weights is in it: other programs cache a model's config.json alone.
    """
    named = _named(spec)
    commit = text_start(named.folder / "refs" / named.revision, MAX_REF).strip() or named.revision
    snapshot = named.folder / "snapshots" / commit
    if not _COMMIT.fullmatch(commit) or not os.path.isdir(snapshot):
        raise CheckpointError(f"{spec}: not in {hub_folder()}; fetch it: twinbench zoo {spec} --fetch")
    if not any(name.endswith((INDEX, *WEIGHT_ENDINGS)) for name in names_in(snapshot)):
        raise CheckpointError(f"{spec}: {snapshot} has no weights in it; fetch them: twinbench zoo {spec} --fetch")
    return snapshot


def fetch_folder(spec: str) -> Path:
    """Fetch weights, configuration and card of `hf:ORG/MODEL[@REVISION]` into the cache; return the folder there."""
    named = _named(spec)
    hub = optional("huggingface_hub", "hf", spec, CheckpointError)
    try:
        files = hub.HfApi().list_repo_files(named.model, revision=named.revision)
        hub.snapshot_download(named.model, revision=named.revision, allow_patterns=wanted(files))
    except Exception as error:  # of the hub, its cache, the network and the disk, each its own
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(f"{spec}: could not be fetched ({lines[0][:120]}); check its name, or log in") from None
    return cached_folder(spec)


def wanted(files: list[str]) -> list[str]:
    """Return the files of a model to fetch: one set of weights, safetensors before all others, and the small texts."""
    top = [name for name in files if "/" not in name]
    weights = [name for name in WEIGHTS if name in top][:1]
    if not weights:
        ending = next((ending for ending in WEIGHT_ENDINGS if any(name.endswith(ending) for name in top)), None)
        weights = [name for name in top if ending and name.endswith(ending)]
    elif weights[0].endswith(INDEX):
        shard = Path(weights[0].removesuffix(INDEX)).suffix
        weights += [name for name in top if name.endswith(shard)]
    return weights + [name for name in top if name in (CARD, *HINTS.values())]


def licence(folder: Path) -> str:
    """Return the licence that the head of a model's card gives, or nothing."""
    head = re.match(r"---\s*\n(.*?)\n---", text_start(folder / CARD, MAX_CARD), re.DOTALL)
    found = dict(re.findall(r"^(license|license_name):[ \t]*([^\s#]+)", head[1], re.MULTILINE)) if head else {}
    return found.get("license_name", found.get("license", "")).strip("'\"")


def _named(spec: str) -> HubModel:
    """Return what `hf:...` names."""
    found = _SPEC.fullmatch(spec)
    if not found or ".." in spec:
        raise CheckpointError(f"{spec}: names no model of the hub; expected hf:ORG/MODEL or hf:ORG/MODEL@REVISION")
    return HubModel(found["model"], found["revision"] or "main")
