"""The bank: features and labels of training patches, in a folder of pieces that every process writes some of.

    FOLDER/owner.json           whose it is
    FOLDER/features-00000.npy   (n, F) float32
    FOLDER/labels-00000.npy     (n, L), the class of each pixel of a patch; the number of classes: it has no label
    FOLDER/rows-00000.npy       (n,) int64, in place of features that lie in a cache: which rows there they are
    FOLDER/moments-00000.npy    (3, F), where they are asked for: of all patches seen for the piece, taken or not

A piece is whole once its labels are there, and what is whole is not made again. Which images make a piece, and in which
batches the network sees them, depends on the recipe and the data alone: neither a kill nor the number of processes
moves a bit.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from twinbench.convert.files import save_array
from twinbench.dense.nearest.shards import KeptPatches
from twinbench.dense.places import DenseError
from twinbench.protocols.house import replacing
from twinbench.runtime.distributed import from_main, meet
from twinbench.runtime.process import Process
from twinbench.runtime.shared import is_there

ROWS, IMAGES = 1 << 15, 256  # at most of a piece, unless one image has more patches; as much is lost to a kill
KEPT = 0.5  # of a GPU's free memory: a smaller bank stays there, a larger one is copied there piece by piece

T = TypeVar("T")
Key = tuple[int, int]  # pass over the images, and image
Piece = tuple[Key, ...]
Moments = tuple[Tensor, Tensor]  # mean and deviation (F,)


def pieces_of(keys: Sequence[Key], patches: int) -> list[Piece]:
    """Return the keys in pieces, of which each image gives at most so many patches."""
    return [tuple(piece) for piece in cut(keys, images_of_a_piece(patches))]


def images_of_a_piece(patches: int) -> int:
    """Return how many images make a piece, of which each gives at most so many patches."""
    return max(1, min(IMAGES, ROWS // patches))


def cut(keys: Sequence[T], size: int) -> list[Sequence[T]]:
    """Return the keys in parts of this size, the last as long as it is."""
    return [keys[start : start + size] for start in range(0, len(keys), size)]


@dataclass(frozen=True)
class Bank:
    """A folder of pieces."""

    folder: Path
    pieces: int
    kept: KeptPatches | None = None  # whose rows its features are, if they are not its own

    def path(self, name: str, piece: int) -> Path:
        """Return the file of one array of a piece."""
        return self.folder / f"{name}-{piece:05d}.npy"

    def own(self, owner: str, process: Process) -> None:
        """Make the folder `owner`'s; DenseError where it is another's."""
        from_main(process, lambda: self._own(owner))

    def _own(self, owner: str) -> None:
        path = self.folder / "owner.json"
        content = {"owner": owner}
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            if found != content:
                raise DenseError(
                    f"{self.folder}: belongs to {found.get('owner')}, but this is {owner}; "
                    "choose another OUT or remove it"
                )
            return
        with replacing(path) as beside:
            beside.write_text(json.dumps(content), encoding="utf-8")

    def require_room(self, planned: int, advice: str) -> None:
        """Raise DenseError where the disk has no room for what is missing of so many bytes."""
        there = sum(path.stat().st_size for path in self.folder.glob("*.npy"))
        require_room(self.folder, "the bank", planned, there, advice)

    def missing(self, process: Process) -> list[int]:
        """Return the pieces that this process has to make: its share of those that are not there."""
        absent = from_main(process, lambda: [n for n in range(self.pieces) if not self.path("labels", n).is_file()])
        return absent[process.rank :: process.world]

    def write(self, piece: int, arrays: dict[str, np.ndarray]) -> None:
        """Write a piece, whose `labels` are the last of its arrays."""
        for name, array in arrays.items():
            save_array([array], array.shape, array.dtype, self.path(name, piece))

    def labels(self, piece: int) -> Tensor:
        """Return a piece's labels (n, L)."""
        return torch.from_numpy(np.load(self.path("labels", piece)))

    def features(self, piece: int) -> Tensor:
        """Return a piece's features (n, F), its own or those of its rows in a cache."""
        found = np.load(self.features_path(piece))
        return self.kept.rows(found) if self.kept else torch.from_numpy(found)

    def features_path(self, piece: int) -> Path:
        """Return the file of a piece's features, or of which rows in a cache they are."""
        return self.path("rows" if self.kept else "features", piece)

    def complete(self, process: Process) -> None:
        """Return when every process has made its share, and this one sees it."""
        meet(process)
        if process.world > 1:
            for piece in range(self.pieces):
                is_there(self.path("labels", piece), process)

    def opened(self, device: str, first: int | None = None) -> "OpenBank":
        """Return the `first` pieces, or all, to search in."""
        return OpenBank(self, range(self.pieces if first is None else first), device)

    def moments(self, pieces: int) -> Moments:
        """Return mean and deviation (F,), float64, of all patches seen for the first so many pieces.

        The deviation of what is constant is 1, as scikit-learn's StandardScaler has it.
        """
        count, mean, squares = reduce(joined, (np.load(self.path("moments", piece)) for piece in range(pieces)))
        variance, epsilon = squares / count, np.finfo(np.float64).eps
        constant = variance <= count * epsilon * variance + (count * mean * epsilon) ** 2
        return torch.from_numpy(mean), torch.from_numpy(np.where(constant, 1.0, np.sqrt(variance)))


def require_room(folder: Path, what: str, planned: int, there: int, advice: str) -> None:
    """Raise DenseError where the disk of a folder has no room for what is not there yet of so many bytes."""
    free = shutil.disk_usage(folder).free
    if planned - there > free:
        raise DenseError(
            f"{folder}: {what} takes {planned / 1e9:.1f} GB, of which {there / 1e9:.1f} are there, and "
            f"{free / 1e9:.1f} GB are free; expected room for it: {advice}"
        )


def moments_of(features: Tensor) -> np.ndarray:
    """Return count, mean and summed squared distance from the mean of each column of rows (N, F), as (3, F) float64."""
    rows = features.double()
    mean = rows.mean(0)
    squares = (rows - mean).square().sum(0)
    return torch.stack([torch.full_like(mean, len(rows)), mean, squares]).cpu().numpy()


def joined(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the moments (3, F) of the rows of two."""
    total, apart = one[0] + other[0], other[1] - one[1]
    share = other[0] / total
    return np.stack([total, one[1] + apart * share, one[2] + other[2] + apart**2 * (one[0] * share)])


def standardized(rows: Tensor, moments: Moments) -> Tensor:
    """Return rows (N, F) less the mean, over the deviation."""
    mean, deviation = (values.to(rows) for values in moments)
    return (rows - mean) / deviation


class OpenBank:
    """The pieces of a bank that are searched."""

    def __init__(self, bank: Bank, pieces: Sequence[int], device: str) -> None:
        self.device, self._bank, self._pieces = device, bank, pieces
        self._labels = [bank.path("labels", piece) for piece in pieces]
        self._starts = np.concatenate([[0], np.cumsum([len(_mapped(path)) for path in self._labels])])

    def __len__(self) -> int:
        """Return the number of patches."""
        return int(self._starts[-1])

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """Yield each piece's features (n, F), on the device, with the number of its first row."""
        for piece, start in enumerate(self._starts[:-1].tolist()):
            yield start, self._kept[piece] if self._kept else self._block(piece)

    @cached_property
    def _kept(self) -> list[Tensor]:
        """All blocks, if they are on a GPU with room for them."""
        if not self.device.startswith("cuda"):
            return []
        torch.cuda.empty_cache()  # what another bank left there
        free, _ = torch.cuda.mem_get_info(self.device)
        fits = self._bytes() <= KEPT * free
        return [self._block(piece) for piece in range(len(self._pieces))] if fits else []

    def _bytes(self) -> int:
        """Return how much memory all features take."""
        if self._bank.kept:
            return 4 * len(self) * self._bank.kept.shape[1]
        return sum(self._bank.features_path(piece).stat().st_size for piece in self._pieces)

    def _block(self, piece: int) -> Tensor:
        """Return a piece's features on the device."""
        return self._bank.features(self._pieces[piece]).to(self.device)

    def labels(self, rows: Tensor) -> Tensor:
        """Return the labels (Q, k, L) of rows (Q, k) of the bank, on the CPU."""
        wanted, first = rows.cpu().numpy(), _mapped(self._labels[0])
        piece = np.searchsorted(self._starts, wanted, side="right") - 1
        found = np.empty((*wanted.shape, first.shape[1]), first.dtype)
        for number in np.unique(piece):
            here = piece == number
            found[here] = _mapped(self._labels[number])[wanted[here] - self._starts[number]]
        return torch.from_numpy(found)


def _mapped(path: Path) -> np.ndarray:
    """Return an array on the disk, whose file is open as long as it is held.

    A bank has more pieces than a process may have open files, of which 1024 is a usual limit.
    """
    return np.load(path, mmap_mode="r")


Chosen = Callable[[Key, Tensor], Tensor]  # key and labels (P, L) of an image to the numbers of its patches to take
