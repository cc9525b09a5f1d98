"""Low-shot samples from files: VOC07's published ones, or anybody's in the same form.

A sample of k is targets (N, K), a row for each training image: in each column k rows with 1, (K - 1) k with 0, and -1
(not drawn) in the rest. Files call it sample{s}_k{k}: .npy files of a folder, such as train_targets_sample1_k96.npy
(fair_self_supervision_benchmark, MMSelfSup; VISSL puts a layer's name in front), or arrays of an .npz.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile

from twinbench.data.layouts import LabelledImages
from twinbench.protocols.house import UserError

NAME = re.compile(r"(?:.*_)?sample(\d{1,9})_k(\d{1,9})", re.DOTALL)
# samples_sha256 of VOC07's 5 x 8: fair_self_supervision_benchmark 0741e0f, iccv_challenge/low_shot_voc07/low_shot_train
PUBLISHED = "b94e0e6cd5efd53d8d8ebb9504abf0461255931bd5c96212b4b8170c5f1a14be"
DRAWN = "drawn from the seed"  # what a result says of samples that come from no file

Samples = dict[tuple[int, int], np.ndarray]  # (sample, k) -> targets (N, K) int8


class TargetsError(UserError):
    """Files that hold no low-shot samples, or samples that do not fit the training images."""


def read_samples(path: Path) -> Samples:
    """Return every sample of an .npz or of a folder of .npy files; TargetsError where something else is in them."""
    found: Samples = {}
    try:
        for name, array in _arrays(path):
            key = _key(name)
            if key in found:
                raise TargetsError(f"{path}: {name} is there a second time under another name; keep one of them")
            found[key] = _as_targets(f"{path}: {name}", array)
    except TargetsError:
        raise
    except Exception as error:  # numpy and zipfile raise a dozen kinds on damaged files
        raise TargetsError(f"{path}: not readable ({error}); expected low-shot samples; fetch them again") from None
    return found


def _arrays(path: Path) -> Iterator[tuple[str, object]]:
    """Yield name and contents of what is called like a sample."""
    if path.is_dir():
        for file in sorted(path.glob("*.npy")):
            if NAME.fullmatch(file.stem) and file.is_file():  # a pipe would be waited for
                yield file.stem, np.load(file, allow_pickle=False)
        return
    if not path.is_file():
        raise TargetsError(f"{path}: no such file or folder; expected an .npz, or a folder of .npy files")
    held = np.load(path, allow_pickle=False)
    if not isinstance(held, NpzFile):
        raise TargetsError(f"{path}: a single array; expected an .npz, or the folder with every sample's .npy")
    with held:
        for name in filter(NAME.fullmatch, held.files):
            yield name, held[name]


def _key(name: str) -> tuple[int, int]:
    """Return (sample, k) of a name that NAME fits."""
    sample, k = NAME.fullmatch(name).groups()  # type: ignore[union-attr]
    return int(sample), int(k)


def _as_targets(where: str, array: object) -> np.ndarray:
    """Return a sample as int8; TargetsError unless it is a table of 1, 0 and -1."""
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "i":
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise TargetsError(f"{where} is {found}; expected whole numbers, a row for each image, a column for each class")
    if (odd := array[(array < -1) | (array > 1)]).size:
        raise TargetsError(f"{where} holds {odd[0]}; expected 1, 0 and -1 only")
    return array.astype(np.int8)


def samples_sha256(samples: Samples) -> str:
    """Return the sha256 of samples, whatever files they came from."""
    found = hashlib.sha256()
    for (sample, k), targets in sorted(samples.items()):
        found.update(f"sample{sample}_k{k} {targets.shape}\n".encode())
        found.update(np.ascontiguousarray(targets, dtype=np.int8).tobytes())
    return found.hexdigest()


def fitting(samples: Samples, path: Path, train: LabelledImages, shots: Sequence[int], number: int) -> Samples:
    """Return the samples 1 to `number` of each of `shots`; TargetsError unless they were drawn from `train`.

    Each column must hold exactly k ones and k (K - 1) zeros, and these must be the labels of our own lists in those
    rows: samples of another data set, or in another order of the images, do not pass.
    """
    chosen: Samples = {}
    for key in [(sample, k) for sample in range(1, number + 1) for k in shots]:
        if key not in samples:
            raise TargetsError(
                f"{path}: no sample{key[0]}_k{key[1]} in it; expected sample1_k{shots[0]} to "
                f"sample{number}_k{shots[-1]}, as arrays of an .npz or as *_sample1_k{shots[0]}.npy of a folder"
            )
        _require_fit(f"{path}: sample{key[0]}_k{key[1]}", samples[key], key[1], train)
        chosen[key] = samples[key]
    return chosen


def _require_fit(where: str, targets: np.ndarray, k: int, train: LabelledImages) -> None:
    """Raise TargetsError unless `targets` is a sample of k from the labels of `train`."""
    if targets.shape != train.targets.shape:
        raise TargetsError(
            f"{where} is {targets.shape}, but the training images are {train.targets.shape}; "
            "expected a row for each image and a column for each class"
        )
    ones, zeros = (targets == 1).sum(0), (targets == 0).sum(0)
    negatives = k * (len(train.classes) - 1)
    for name, one, zero in zip(train.classes, ones.tolist(), zeros.tolist(), strict=True):
        if (one, zero) != (k, negatives):
            raise TargetsError(f"{where} has {one} ones and {zero} zeros of {name}; expected {k} and {negatives}")
    rows, columns = np.nonzero((targets != -1) & (targets != train.targets))
    if len(rows):
        row, column = int(rows[0]), int(columns[0])
        raise TargetsError(
            f"{where} says {targets[row, column]} for {train.classes[column]} in row {row + 1}, but the data set says "
            f"{train.targets[row, column]} for its image {train.paths[row].name}; expected samples of this data set, "
            "rows in the order of the image ids"
        )
