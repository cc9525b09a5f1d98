"""Images in tar and zip archives and WebDataset's shards are those of a folder, in any order."""

import io
import json
import os
import pickle
import random
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from twinbench.data.decode import read_rgb
from twinbench.data.errors import DataError
from twinbench.data.identity import identify
from twinbench.data.labelled import LabelledImages
from twinbench.data.layouts import read_labelled
from twinbench.data.members import indexed
from twinbench.data.opened import Archive
from twinbench.data.pool import read_pool
from twinbench.data.shards import expanded
from twinbench.data.source import Source
from twinbench.data.tars import tar_files


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def pack(path: Path, files: Iterable[tuple[str, bytes]], **options: int) -> Path:
    """Write a tar or a zip, by the name of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", **options) as archive:  # type: ignore[arg-type]
            for name, content in files:
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w", **options) as archive:  # type: ignore[call-overload]
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def files_of(root: Path, lead: str = "") -> list[tuple[str, bytes]]:
    """Return the images of a tree in an order that is nobody's."""
    found = [(lead + path.relative_to(root).as_posix(), path.read_bytes()) for path in root.rglob("*.JPEG")]
    random.Random(0).shuffle(found)
    return found


def tree_of(scenes: Path) -> Path:
    return scenes / "imagenet"


def in_tar(root: Path, folder: Path) -> str:
    return f"tar:{pack(folder / 'set.tar', files_of(root))}"


def below_another_folder(root: Path, folder: Path) -> str:
    return f"tar:{pack(folder / 'set.tar', files_of(root, './pets-1.0/'))}"


def in_tar_for_each_split(root: Path, folder: Path) -> str:
    for split in ("train", "val"):
        pack(folder / "both" / f"pets_{split}.tar", [file for file in files_of(root) if file[0].startswith(split)])
    return f"tar:{folder / 'both'}"


def in_several(root: Path, folder: Path) -> str:
    files = files_of(root)
    for number in range(3):
        pack(folder / f"part-{number}.tar", files[number::3])
    return f"tar:{folder}/part-{{0..2}}.tar"


def in_zip(root: Path, folder: Path) -> str:
    return f"zip:{pack(folder / 'set.zip', files_of(root), compression=zipfile.ZIP_DEFLATED)}"


def in_stored_zip(root: Path, folder: Path) -> str:
    return f"zip:{pack(folder / 'set.zip', files_of(root, 'pets/'))}"


@pytest.mark.parametrize(
    "packed",
    [in_tar, below_another_folder, in_tar_for_each_split, in_several, in_zip, in_stored_zip],
    ids=lambda packed: packed.__name__,
)
class TestATree:
    """The same class folders, packed."""

    def read(self, packed: Callable[[Path, Path], str], scenes: Path, folder: Path) -> tuple[Source, Source]:
        return Source.of(packed(tree_of(scenes), folder)), Source.of(str(tree_of(scenes)))

    def test_has_the_identity_of_the_folder(self, packed: Callable[..., str], scenes: Path, tmp_path: Path) -> None:
        source, folder = self.read(packed, scenes, tmp_path)
        assert identify("", source) == identify("imagenet", folder)

    @pytest.mark.parametrize("split", ["train", "test"])
    def test_has_its_labels(self, packed: Callable[..., str], scenes: Path, tmp_path: Path, split: str) -> None:
        source, folder = self.read(packed, scenes, tmp_path)
        found, expected = read_labelled("", source, split), read_labelled("imagenet", folder, split)
        assert found.classes == expected.classes
        np.testing.assert_array_equal(found.targets, expected.targets)

    def test_has_its_bytes(self, packed: Callable[..., str], scenes: Path, tmp_path: Path) -> None:
        source, folder = self.read(packed, scenes, tmp_path)
        found, expected = read_labelled("", source, "test"), read_labelled("imagenet", folder, "test")
        assert [image.content() for image in found.paths] == [path.read_bytes() for path in expected.paths]

    def test_is_a_pool(self, packed: Callable[..., str], scenes: Path, tmp_path: Path) -> None:
        source, folder = self.read(packed, scenes, tmp_path)
        assert identify("", source, task="pretraining") == identify("", folder, task="pretraining")


def samples(images: LabelledImages, label: Callable[[int], tuple[str, str]]) -> list[tuple[str, bytes]]:
    """Return WebDataset's members for images in a folder: numbered keys, labels as `label` writes them."""
    found: list[tuple[str, bytes]] = []
    for number, path in enumerate(images.paths):
        suffix, text = label(int(images.targets[number]))
        found += [(f"{number:06d}.jpg", path.read_bytes()), (f"{number:06d}.{suffix}", text.encode())]
    return found


def write_shards(scenes: Path, folder: Path, label: Callable[[int], tuple[str, str]], names: bool = True) -> str:
    """Write train and val as shards of four images each."""
    for split, called in (("train", "train"), ("test", "validation")):
        images = read_labelled("imagenet", Source.of(str(tree_of(scenes))), split)
        members = samples(images, label)
        for number in range(0, len(members), 8):
            pack(folder / f"pets-{called}-{number // 8}.tar", members[number : number + 8])
    if names:
        (folder / "classnames.txt").write_text("".join(f"{name}\n" for name in images.classes))
    return f"tar:{folder}"


LABELS = {
    "cls": lambda label: ("cls", str(label)),
    "json": lambda label: ("json", json.dumps({"label": label, "caption": "a digit"})),
    "txt": lambda label: ("txt", f"{label}\n"),
    "names": lambda label: ("cls", f"n{label:08d}"),
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_samples_have_the_labels_of_the_folder(scenes: Path, tmp_path: Path, kind: str, split: str) -> None:
    found = read_labelled("", Source.of(write_shards(scenes, tmp_path, LABELS[kind])), split)
    expected = read_labelled("imagenet", Source.of(str(tree_of(scenes))), split)
    assert found.classes == expected.classes
    np.testing.assert_array_equal(found.targets, expected.targets)
    assert [image.content() for image in found.paths] == [path.read_bytes() for path in expected.paths]


def test_numbers_are_names_where_nobody_names_the_classes(scenes: Path, tmp_path: Path) -> None:
    found = read_labelled("", Source.of(write_shards(scenes, tmp_path, LABELS["cls"], names=False)), "test")
    assert found.classes == tuple(map(str, range(10)))
