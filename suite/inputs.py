"""What a few protocols take beside their data: SimCLR's list of images, low-shot samples that others have drawn."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from twinbench.data.errors import DataError
from twinbench.data.folders.imagenet import list_sha256
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.schema import Protocol
from twinbench.suite.entries import SuiteError, as_path


@dataclass(frozen=True)
class Inputs:
    """The files that an entry of `protocols` names. What they hold is a part of the data's identity."""

    list: Path | None = None  # None: the one in the data set's folder
    targets: Path | None = None  # None: samples are drawn from the seed

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


def read_inputs(protocol: Protocol, entry: Mapping[str, object], file: Path, where: str) -> Inputs:
    """Return what `entry` names beside the images; SuiteError unless it is there and the protocol's."""
    for key in ("list", "targets"):
        if key in entry and not takes(key, protocol):
            known = ", ".join(name for name, other in PROTOCOLS.items() if takes(key, other))
            raise SuiteError(f"{where}: takes no {key}; leave it out; these do: {known}")
    if "list" in entry:
        path = as_path(entry["list"], file, f"{where}.list")
        try:
            list_sha256(path)
        except DataError as error:
            raise SuiteError(f"{where}: {error}") from None
        return Inputs(list=path)
    if "targets" in entry:
        path = as_path(entry["targets"], file, f"{where}.targets")
        _require_samples(path, where)
        return Inputs(targets=path)
    return Inputs()


def _require_samples(path: Path, where: str) -> None:
    """Raise SuiteError unless `path` is a file, or a folder with .npy files, of low-shot samples."""
    if path.is_file() or any(file.is_file() for file in path.glob("*.npy")):
        return
    found = "no .npy file in it" if path.is_dir() else "no such file or folder"
    raise SuiteError(f"{where}.targets: {path}: {found}; expected an .npz, or a folder of .npy files")
