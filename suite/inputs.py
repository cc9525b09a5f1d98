"""What some protocols take beside their data, by the words of the command's options: KEYS is the table of it.

Files (SimCLR's list of images, low-shot samples that others have drawn) are a part of the data's identity; what only
says how a number is computed, to the same number, is a part of none; and what changes the recipe becomes settings.
"""

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from twinbench.data.errors import DataError
from twinbench.data.folders.imagenet import list_sha256
from twinbench.protocols.catalogue import PROTOCOLS, find_protocol
from twinbench.protocols.house import some_of, unknown
from twinbench.protocols.kinds.detector import Evaluator
from twinbench.protocols.kinds.nearest_patches import Search
from twinbench.protocols.kinds.tested import head_label
from twinbench.protocols.scaling import ScalingError, linear_rule
from twinbench.protocols.schema import Protocol
from twinbench.suite.entries import SuiteError, as_count, as_path, is_text, shown


@dataclass(frozen=True)
class Inputs:
    """What an entry of `protocols` names beside its data and passes on to the command."""

    list: Path | None = None  # None: the one in the data set's folder
    targets: Path | None = None  # None: samples are drawn from the seed
    evaluator: str = ""  # empty: the command's default
    search: str = ""  # empty: the command's default
    compress: bool = False

    @property
    def named(self) -> dict[str, str | bool]:
        """The inputs, as a suite file names them."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {key: value if value is True else str(value) for key, value in values.items() if value}

    @property
    def flags(self) -> tuple[str, ...]:
        """The inputs, as words of a command line."""
        words: list[str] = []
        for key, value in self.named.items():
            words += [f"--{key}"] if value is True else [f"--{key}", str(value)]
        return tuple(words)

    @property
    def files(self) -> "Inputs":
        """What of it is a part of the data's identity."""
        return Inputs(self.list, self.targets)


@dataclass(frozen=True)
class Key:
    """A key of an entry of `protocols`: which of them take it, and how its value is read.

    `read` gets the value, the suite file, the place in it and the protocol, and returns a field of Inputs, or settings
    of the recipe.
    """

    takes: Callable[[Protocol], bool]
    read: Callable[[object, Path, str, Protocol], Any]
    sets: bool = False  # the recipe


def _list(value: object, file: Path, where: str, protocol: Protocol) -> Path:
    """Return a list of images that is there."""
    path = as_path(value, file, f"{where}.list")
    try:
        list_sha256(path)
    except DataError as error:
        raise SuiteError(f"{where}: {error}") from None
    return path


def _samples(value: object, file: Path, where: str, protocol: Protocol) -> Path:
    """Return a file, or a folder with .npy files, of low-shot samples."""
    path = as_path(value, file, f"{where}.targets")
    if path.is_file() or any(file.is_file() for file in path.glob("*.npy")):
        return path
    found = "no .npy file in it" if path.is_dir() else "no such file or folder"
    raise SuiteError(f"{where}.targets: {path}: {found}; expected an .npz, or a folder of .npy files")


def _one_of(key: str, choices: object) -> Callable[[object, Path, str, Protocol], str]:
    """Return what reads a key whose value is one of the names of a Literal."""
    known = typing.get_args(choices)

    def read(value: object, file: Path, where: str, protocol: Protocol) -> str:
        if value not in known:
            raise SuiteError(f"{where}.{key}: {unknown(key, str(value)[:60], known)}")
        return str(value)

    return read


def _compress(value: object, file: Path, where: str, protocol: Protocol) -> bool:
    """Return whether the suite's patches are compressed."""
    if not isinstance(value, bool):
        raise SuiteError(f"{where}.compress: is {shown(value)}, expected true or false")
    return value


def _scaled(value: object, file: Path, where: str, protocol: Protocol) -> dict[str, str]:
    """Return the settings that the linear rule gives for a number of GPUs."""
    gpus = as_count(value, f"{where}.scale_to", at_least=1)
    recipe: Any = protocol.recipe
    try:
        return linear_rule(recipe, gpus)
    except ScalingError as error:
        raise SuiteError(f"{where}.scale_to: {error}") from None


def _head(value: object, file: Path, where: str, protocol: Protocol) -> dict[str, str]:
    """Return the setting that names another protocol's head; of which recipe, the suite's own entry of it says."""
    if not is_text(value):
        raise SuiteError(f"{where}.head: is {shown(value)}, expected the name of the protocol that trains it")
    return {"head": head_label(value, find_protocol(value, "transfer").fingerprint)}


def _is_detector(protocol: Protocol) -> bool:
    """Say whether a protocol trains a detector."""
    return protocol.room == "detection"


def _keeps_patches(protocol: Protocol) -> bool:
    """Say whether a protocol's trials share patches of images in the suite's folder of features."""
    return protocol.room == "dense" and protocol.recipe.shares_test_features


def _goes_by_a_list(protocol: Protocol) -> bool:
    """Say whether a protocol classifies on a part of the images; the parts of COCO have one file in its folder."""
    return protocol.data_set.subset != "100%" and not _is_detector(protocol)


KEYS = {
    "list": Key(_goes_by_a_list, _list),
    "targets": Key(lambda protocol: protocol.recipe.takes_samples, _samples),
    "evaluator": Key(_is_detector, _one_of("evaluator", Evaluator)),
    "search": Key(lambda protocol: protocol.recipe.takes_search, _one_of("search", Search)),
    "compress": Key(_keeps_patches, _compress),
    "head": Key(lambda protocol: bool(protocol.recipe.trained_by), _head, sets=True),
    "scale_to": Key(_is_detector, _scaled, sets=True),
}


def read_inputs(
    protocol: Protocol, entry: Mapping[str, object], file: Path, where: str
) -> tuple[Inputs, dict[str, str]]:
    """Return what `entry` names beside the images, and the settings that it changes by them.

    SuiteError unless all of it is there and the protocol's.
    """
    inputs: dict[str, Any] = {}
    settings: dict[str, str] = {}
    for name, key in KEYS.items():
        if name not in entry:
            continue
        if not key.takes(protocol):
            known = some_of([name for name, other in PROTOCOLS.items() if key.takes(other)])
            raise SuiteError(f"{where}: takes no {name}; leave it out; these do: {known}")
        value = key.read(entry[name], file, where, protocol)
        if key.sets:
            settings |= value
        else:
            inputs[name] = value
    return Inputs(**inputs), settings
