"""What a few protocols take beside their data: SimCLR's list of images, low-shot samples that others have drawn."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from twinbench.convert.named import stamp
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.schema import Protocol
from twinbench.suite.entries import SuiteError, as_path


@dataclass(frozen=True)
class Inputs:
    """The files that an entry of `protocols` names, and what a result must say of them."""

    list: Path | None = None  # None: the one in the data set's folder
    targets: Path | None = None  # None: samples are drawn from the seed
    identity: str = ""  # part of a trial's; empty if the protocol takes neither, or its data set's list is not there

    @property
    def named(self) -> dict[str, str]:
        """The files, as a suite file names them."""
        return {key: str(path) for key, path in (("list", self.list), ("targets", self.targets)) if path}

    @property
    def flags(self) -> tuple[str, ...]:
        """The files, as words of a command line."""
        return tuple(word for key, path in self.named.items() for word in (f"--{key}", path))


def takes(key: str, protocol: Protocol) -> bool:
    """Say whether a protocol takes a `list` or `targets`."""
    return protocol.data_set.subset != "100%" if key == "list" else protocol.recipe.takes_samples


def read_inputs(protocol: Protocol, data: Path, entry: Mapping[str, object], file: Path, where: str) -> Inputs:
    """Return what `entry` names beside the images in `data`; SuiteError unless it is there and the protocol's."""
    for key in ("list", "targets"):
        if key in entry and not takes(key, protocol):
            known = ", ".join(name for name, other in PROTOCOLS.items() if takes(key, other))
            raise SuiteError(f"{where}: takes no {key}; leave it out; these do: {known}")
    if takes("list", protocol):
        return _listed(entry, data, protocol.data_set.subset, file, where)
    if "targets" in entry:
        path = as_path(entry["targets"], file, f"{where}.targets")
        return Inputs(targets=path, identity=f"samples {_samples_stamp(path, where)}")
    return Inputs()


def list_identity(sha256: str) -> str:
    """Tell a list of images from others; copies that differ in line ends are the same."""
    return f"list {sha256[:12]}"


def _listed(entry: Mapping[str, object], data: Path, fraction: str, file: Path, where: str) -> Inputs:
    """Return the list that `entry` names, or how the one in `data` is told from others."""
    from twinbench.data.imagenet import LISTS, list_sha256
    from twinbench.data.layouts import DataError

    named = as_path(entry["list"], file, f"{where}.list") if "list" in entry else None
    path = named or data / LISTS[fraction]
    if not named and not path.exists():
        return Inputs()
    try:
        return Inputs(list=named, identity=list_identity(list_sha256(path)))
    except DataError as error:
        raise SuiteError(f"{where}: {error}") from None


def _samples_stamp(path: Path, where: str) -> str:
    """Tell a file or a folder of low-shot samples from others, by names, sizes and times."""
    if path.is_file():
        return stamp(path)
    files = [file for file in sorted(path.glob("*.npy")) if file.is_file()]
    if not files:
        found = "no .npy file in it" if path.is_dir() else "no such file or folder"
        raise SuiteError(f"{where}.targets: {path}: {found}; expected an .npz, or a folder of .npy files")
    stamps = hashlib.sha256("\n".join(map(stamp, files)).encode()).hexdigest()
    return f"{path.name} ({len(files)} files, stamps {stamps[:12]})"
