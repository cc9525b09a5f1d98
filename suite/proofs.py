"""The checkpoints of a suite, each proven once: what its backbone is, kept as long as its file has its size and times.

A suite of 150 methods opened every one of them on each `run`, with torch, to find that there was nothing to do.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from twinbench.convert.zoo import entry_named
from twinbench.data import hints
from twinbench.protocols.schema import Protocol
from twinbench.report.provenance import code_root
from twinbench.suite.methods import Method
from twinbench.suite.suite import Suite

if TYPE_CHECKING:
    from twinbench.convert.backbone import Backbone

RESNET_BYTES, RESNET_FEATURES = 95_000_000, 2048  # 23.5 million float32 parameters and their statistics


@dataclass(frozen=True)
class Proof:
    """What plans need to know of a proven backbone."""

    offers: tuple[str, ...]  # see convert/backbone.py
    size: int  # of its tensors, in bytes
    features: int  # numbers that one place of its last map has


@dataclass(frozen=True)
class Size:
    """What a method's backbone takes on disk, and how many features an image has in it."""

    bytes: int = RESNET_BYTES
    features: int = RESNET_FEATURES


def sizes(suite: Suite) -> Mapping[str, Size]:
    """Return the sizes of the backbones that come from files, by method; a file not proven yet bounds its backbone."""
    found: dict[str, Size] = {}
    for method in suite.methods:
        if not method.file:
            continue
        proof = _recalled(method, method.file)
        if proof:
            found[method.name] = Size(proof.size, proof.features)
        elif method.file.is_file():
            found[method.name] = Size(min(RESNET_BYTES, method.file.stat().st_size))
    return found


def require_offers(method: Method, protocols: Iterable[Protocol]) -> None:
    """Raise UserError unless the file of a method holds a whole backbone that has all that the protocols take."""
    assert method.file
    proof = _recalled(method, method.file)
    if proof and all(protocol.recipe.takes in proof.offers for protocol in protocols):
        return
    began = hints.now()
    backbone = _opened(method)
    for protocol in protocols:
        backbone.require(protocol.recipe.takes, protocol.name, protocol.room)
    vectors = [
        len(tensor) for tensor in backbone.state_dict.values() if tensor.ndim == 1
    ]  # the last norm's, at the end
    size = sum(tensor.numel() * tensor.element_size() for tensor in backbone.state_dict.values())
    proof = Proof(tuple(sorted(backbone.network.offers)), size, vectors[-1] if vectors else RESNET_FEATURES)
    hints.keep(_question(method, method.file), asdict(proof), _files(method.file), began)


def require_found(method: Method) -> None:
    """Raise UserError if what a method names that is no file cannot be had: a model that its library does not have, one
    of the hub's that was not fetched, one of the zoo's that only people can fetch.

    Where what this takes is not installed, its job tells.
    """
    spec, model = method.checkpoint, method.model
    if model and find_spec(model.library):
        from twinbench.convert.architectures.library import require_model

        require_model(model.library, model.name.partition(" ")[0])
    elif spec.startswith("hf:") and find_spec("torch"):
        from twinbench.convert.reading.hub import cached_folder

        cached_folder(spec)
    elif spec.startswith("zoo:"):
        from twinbench.convert.download import require_fetchable

        require_fetchable(entry_named(spec.removeprefix("zoo:")))


def _opened(method: Method) -> "Backbone":
    """Open the backbone of a method, which is its proof; UserError if it is not whole."""
    from twinbench.convert.finding.find import Wanted
    from twinbench.convert.opening import open_backbone

    return open_backbone(method.checkpoint, convention=method.input or None, wanted=Wanted(method.layout or None))


def _recalled(method: Method, file: Path) -> Proof | None:
    """Return the proof that was kept, if its file is as it was."""
    kept = hints.recall(_question(method, file))
    try:
        return Proof(**{**kept, "offers": tuple(kept["offers"])}) if kept else None
    except (KeyError, TypeError):  # somebody wrote into the cache
        return None


def _question(method: Method, file: Path) -> list[str]:
    """Return what a proof answers: the file, how it is to be read, and by which reader."""
    library = method.model.label if method.model else ""
    return ["proof of a backbone", _reader(), os.path.realpath(file), library, method.input, method.layout]


def _files(file: Path) -> list[Path]:
    """Return what a proof rests on."""
    return [file, *file.rglob("*")] if file.is_dir() else [file]


@cache
def _reader() -> str:
    """Return the sha256 of the code that opens checkpoints: another one may find something else."""
    whole = hashlib.sha256()
    for source in sorted((code_root() / "twinbench" / "convert").rglob("*.*")):
        if source.suffix in (".py", ".csv"):
            whole.update(source.read_bytes())
    return whole.hexdigest()
