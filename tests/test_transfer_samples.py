"""Low-shot samples from files: both forms read alike, and whatever was not drawn from these images is refused."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from twinbench.data.layouts import LabelledImages
from twinbench.data.paths import file_list
from twinbench.data.samples import PUBLISHED, TargetsError, fitting, read_samples, samples_sha256
from twinbench.transfer.lowshot import draw_samples

SHOTS, NUMBER = (1, 3), 2


@pytest.fixture(scope="module")
def train() -> LabelledImages:
    """Forty images of three classes, each in 14 or so; some are ignored for a class."""
    draw = np.random.default_rng(0)
    targets = (draw.random((40, 3)) < 0.35).astype(np.int8)
    targets[draw.random(targets.shape) < 0.1] = -1
    return LabelledImages(file_list(Path(f"{i:06}.jpg") for i in range(40)), targets, ("bird", "cat", "cow"))


@pytest.fixture
def drawn(train: LabelledImages) -> dict[tuple[int, int], np.ndarray]:
    return draw_samples(train.targets, SHOTS, NUMBER, seed=5)


def write_folder(folder: Path, samples: dict[tuple[int, int], np.ndarray]) -> Path:
    """Write samples as fair_self_supervision_benchmark does: int32, one file each, JSON beside it."""
    folder.mkdir()
    for (s, k), targets in samples.items():
        np.save(folder / f"train_targets_sample{s}_k{k}.npy", targets.astype(np.int32))
        (folder / f"train_targets_sample{s}_k{k}.json").write_text("{}")
    return folder


def write_npz(path: Path, samples: dict[tuple[int, int], np.ndarray]) -> Path:
    np.savez(path, **{f"sample{s}_k{k}": targets for (s, k), targets in samples.items()})
    return path


def test_a_folder_and_an_npz_hold_the_same_samples(drawn, train, tmp_path: Path) -> None:
    paths = write_folder(tmp_path / "folder", drawn), write_npz(tmp_path / "targets.npz", drawn)
    for path in paths:
        found = fitting(read_samples(path), path, train, SHOTS, NUMBER)
        assert list(found) == [(1, 1), (1, 3), (2, 1), (2, 3)]
        assert all((found[key] == drawn[key]).all() and found[key].dtype == np.int8 for key in drawn)
        assert samples_sha256(found) == samples_sha256(drawn) != PUBLISHED
        assert list(fitting(read_samples(path), path, train, (3,), 1)) == [(1, 3)]  # --set shots=3 --set samples=1
    other = {**drawn, (1, 1): np.roll(drawn[1, 1], 1)}
    assert samples_sha256(other) != samples_sha256(drawn)


def test_samples_that_were_not_drawn_from_these_images_are_refused(drawn, train, tmp_path: Path) -> None:
    first, rows = drawn[1, 1], train.targets[:, 1]
    extra, swapped, absent = first.copy(), first.copy(), first.copy()
    extra[np.flatnonzero((first[:, 1] == -1) & (rows == 1))[0], 1] = 1
    one, free = np.flatnonzero(first[:, 1] == 1)[0], np.flatnonzero((first[:, 1] == -1) & (rows != 1))[0]
    absent[[one, free], 1] = -1, 1
    zero, ignored = np.flatnonzero(first[:, 1] == 0)[0], np.flatnonzero(rows == -1)[0]
    swapped[[zero, ignored], 1] = -1, 0
    for wrong, complaint in [
        (first[:39], r"sample1_k1 is \(39, 3\), but the training images are \(40, 3\)"),
        (np.hstack([first, first[:, :1]]), r"sample1_k1 is \(40, 4\), but"),
        (extra, "sample1_k1 has 2 ones and 2 zeros of cat; expected 1 and 2"),
        (absent, f"says 1 for cat in row {free + 1}, but the data set says {rows[free]} for its image {free:06}.jpg"),
        (swapped, f"says 0 for cat in row {ignored + 1}, but the data set says -1"),
        (first[::-1], "expected samples of this data set, rows in the order of the image ids"),
    ]:
        with pytest.raises(TargetsError, match=complaint):
            fitting({**drawn, (1, 1): wrong}, tmp_path, train, SHOTS, NUMBER)
    with pytest.raises(TargetsError, match=r"no sample3_k1 in it; expected sample1_k1 to sample3_k3, as arrays of an"):
        fitting(drawn, tmp_path, train, SHOTS, 3)


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.full((4, 3), 2), "sample1_k1 holds 2; expected 1, 0 and -1 only"),
        (np.array([[1, -(2**31)]]), "holds -2147483648"),
        (np.array([[256, 257]], dtype=np.int16), "holds 256"),  # 0 and 1 in a byte
        (np.zeros((4, 3)), r"is float64 \(4, 3\); expected whole numbers"),
        (np.zeros((4, 3), dtype=bool), "is bool"),
        (np.zeros(4, dtype=int), r"is int64 \(4,\)"),
        (np.array([["a"]]), "is <U1"),
        (np.array([[{}]]), "not readable .*; expected low-shot samples"),  # a pickle
    ],
)
def test_arrays_that_are_no_samples_are_refused(array: np.ndarray, complaint: str, tmp_path: Path) -> None:
    for path in (tmp_path / "targets.npz", tmp_path / "folder"):
        if path.suffix:
            np.savez(path, sample1_k1=array)
        else:
            path.mkdir()
            np.save(path / "x_sample1_k1.npy", array)
        with pytest.raises(TargetsError, match=complaint):
            read_samples(path)


def test_damaged_and_misplaced_files_are_one_line(drawn, tmp_path: Path) -> None:
    whole = write_npz(tmp_path / "targets.npz", drawn)
    folder = write_folder(tmp_path / "folder", drawn)
    single = folder / "train_targets_sample1_k1.npy"
    cut, text, evil = tmp_path / "cut.npz", tmp_path / "text.npz", tmp_path / "evil.npz"
    cut.write_bytes(whole.read_bytes()[:700])
    text.write_text("sample1_k1")
    with zipfile.ZipFile(evil, "w") as archive:  # a header that promises 4 TB
        header = b"{'descr': '<i4', 'fortran_order': False, 'shape': (1000000, 1000000)}"
        archive.writestr("sample1_k1.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    for path, complaint in [
        (tmp_path / "none.npz", "none.npz: no such file or folder; expected an .npz, or a folder of .npy files"),
        (single, "a single array; expected an .npz, or the folder with every sample's .npy"),
        (cut, "cut.npz: not readable"),
        (text, "text.npz: not readable"),
        (evil, "evil.npz: not readable"),
    ]:
        with pytest.raises(TargetsError, match=complaint) as caught:
            read_samples(path)
        assert "\n" not in str(caught.value)
    os.mkfifo(folder / "train_targets_sample9_k1.npy")  # opening it would wait for ever
    np.save(folder / "notes.npy", np.zeros(3))
    assert set(read_samples(folder)) == set(drawn)
    single.write_bytes(single.read_bytes()[:200])
    with pytest.raises(TargetsError, match="not readable"):
        read_samples(folder)
    single.unlink()
    np.save(folder / "res5_sample2_k1.npy", drawn[2, 1])
    with pytest.raises(TargetsError, match="train_targets_sample2_k1 is there a second time under another name"):
        read_samples(folder)
