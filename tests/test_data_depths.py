"""Depth beside images: the lists of NYU Depth v2, one's own folders, and files that are no depth."""

import shutil

import numpy as np
import pytest
from PIL import Image

import twinbench
from twinbench.data.checking.checks import check
from twinbench.data.errors import DataError
from twinbench.data.identity import identify
from twinbench.data.pixels.read import read_pixels
from twinbench.data.required import require_fit
from twinbench.data.source import Source
from twinbench.protocols.catalogue import find_protocol
from twinbench.suite.expected import TrialData
from twinbench.suite.inputs import Inputs

METRES = np.array([[0.0, 1.5, 2.25], [3.0, 9.999, 12.0]])
SIZE = (3, 2)


def write_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*METRES.shape, 3), dtype=np.uint8)).save(path)


def write_png(path, millimetres=METRES * 1000):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.round(millimetres).astype(np.uint16)).save(path)


@pytest.fixture
def own(tmp_path):
    for split in ("train", "val"):
        for name in ("a", "sub/b"):
            write_image(tmp_path / "images" / split / f"{name}.png")
        write_png(tmp_path / "depth" / split / "a.png")
        (tmp_path / "depth" / split / "sub").mkdir()
        np.save(tmp_path / "depth" / split / "sub" / "b.npy", METRES)
    return tmp_path


@pytest.fixture
def nyu(tmp_path):
    for split, slash in (("train", "/"), ("test", "")):
        lines = []
        for room in ("kitchen_0028b", "basement"):
            image, depth = f"{room}/rgb_00001.jpg", f"{room}/sync_depth_00001.png"
            write_image(tmp_path / image)
            write_png(tmp_path / depth)
            lines.append(f"{slash}{image} {slash}{depth} 518.8579\n")
        (tmp_path / f"nyu_{split}.txt").write_text("".join(lines))
    return tmp_path


def read(root, split="train", layout=""):
    return read_pixels(layout, Source.of(root), split, "depth")


def test_both_forms_of_a_map_are_metres(own):
    found = read(own)
    maps = {record["image_id"]: found.decode(found.masks.one(n)) for n, record in enumerate(found.records())}
    np.testing.assert_allclose(maps["a"], METRES, atol=1e-6)
    np.testing.assert_allclose(maps["b"], METRES, atol=1e-6)
    assert maps["a"].dtype == np.float32
    assert [(record["width"], record["height"]) for record in found.records()] == [SIZE, SIZE]


def test_folders_of_a_split_may_stand_first(own):
    for split in ("train", "val"):
        (own / split).mkdir()
        for folder in ("images", "depth"):
            (own / folder / split).rename(own / split / folder)
    assert [record["image_id"] for record in read(own, "test").records()] == ["a", "b"]
    assert check("", own, fast=True, processes=1).problems == ()


def test_nyus_lists_are_read_sorted_with_or_without_a_slash(nyu):
    for split in ("train", "test"):
        found = read(nyu, split)
        assert [found.masks.name(index) for index in range(2)] == [
            "basement/sync_depth_00001.png",
            "kitchen_0028b/sync_depth_00001.png",
        ]
        assert len(list(found.records())) == 2


def test_a_line_that_is_none_is_named(nyu):
    (nyu / "nyu_test.txt").write_text("a.jpg b.png\n")
    with pytest.raises(
        DataError, match=r"nyu_test.txt: 'a.jpg b.png'; expected an image, its depth and a focal length"
    ):
        read(nyu, "test")


def damaged_npy(path):
    path.with_suffix(".npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (2,")


def headed(header):
    """Return what writes a .npy whose header is a text, with bytes enough behind it."""
    text = header.ljust(117).encode() + b"\n"

    def damage(path):
        path.with_suffix(".npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(99))

    return damage


def archive(path):
    with path.with_suffix(".npy").open("wb") as file:
        np.savez(file, depth=METRES)


def array(values):
    def damage(path):
        np.save(path.with_suffix(".npy"), values)

    return damage


def colour(path):
    write_image(path)


HOSTILE = {
    "another size": (
        lambda path: write_png(path, METRES[:1]),
        "3 x 1 pixels, its image a.png has 3 x 2; expected the same",
    ),
    "8 bits": (lambda path: Image.fromarray(METRES.astype(np.uint8)).save(path), "pixels of mode L; expected depth in"),
    "colours": (colour, "pixels of mode RGB; expected depth in millimetres as a PNG of 16 bits a pixel"),
    "not a number": (array(np.where(METRES > 9, np.nan, METRES)), "a depth that is negative or no number; expected"),
    "without end": (array(np.where(METRES > 9, np.inf, METRES)), "a depth that is negative or no number; expected"),
    "negative": (array(METRES - 1), "a depth that is negative or no number; expected metres, and 0"),
    "whole numbers": (array(METRES.astype(int)), "int64 of shape .2, 3.; expected floating-point metres"),
    "a third axis": (array(METRES[None]), "float64 of shape .1, 2, 3.; expected floating-point metres"),
    "objects": (array(np.array([{"a": 1}])), "no readable .npy .*; expected depth in millimetres"),
    "a torn array": (damaged_npy, "no readable .npy"),
    "an archive": (archive, "no readable .npy .*; expected depth in millimetres"),
    "a torn archive": (lambda path: path.with_suffix(".npy").write_bytes(b"PK\x03\x04torn"), "no readable .npy"),
    "a header without an end": (headed("{'descr': '<f8', 'fortran_order': False, 'shape': (2"), "no readable .npy"),
    "more than there can be": (
        headed(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10**30}, 3), }}"),
        "no readable .npy",
    ),
    "larger than float32 has": (array(np.where(METRES > 9, 1e300, METRES)), "a depth that is negative or no number"),
    "no file": (lambda path: None, "a.png: no such image; the data set is incomplete"),
    "no image": (lambda path: path.write_text("depth"), "a.png: not an image in any known format"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_depth_ends_in_one_line(own, what):
    damage, message = HOSTILE[what]
    path = own / "depth" / "train" / "a.png"
    path.unlink()
    damage(path)
    (problem,) = check("depth", own, fast=True, processes=1).problems
    assert problem.count == 1
    with pytest.raises(DataError, match=message):
        raise DataError(problem.examples[0])
    assert "\n" not in problem.examples[0]


def test_masks_beside_depth_are_not_guessed_away(own, capsys):
    shutil.copytree(own / "depth", own / "masks")
    assert twinbench.main(["data", "check", str(own)]) == 2
    told = capsys.readouterr().err
    assert "holds masks and maps of depth beside its images; expected one of them to be asked for" in told
    assert f"twinbench data check pixels {own}, or depth" in told
    assert told.count("\n") == 1
    assert twinbench.main(["data", "check", "depth", str(own)]) == 0


def test_maps_without_any_depth_are_a_problem(own):
    for path in (own / "depth" / "train").rglob("*.*"):
        path.unlink()
        write_png(path.with_suffix(".png"), METRES * 0)
    (problem,) = check("depth", own, fast=True, processes=1).problems
    assert "no map of train has a depth above 0; expected some" in problem.examples[0]


def test_a_complete_copy_is_known_by_its_counts(nyu, capsys):
    assert twinbench.main(["data", "check", "nyuv2-depth", str(nyu)]) == 2
    assert "train: 2, expected 24,231" in "".join(capsys.readouterr())
    assert twinbench.main(["data", "check", "depth", str(nyu)]) == 0


def test_another_depth_of_the_same_size_is_other_data(own, tmp_path_factory):
    before = identify("", own, task="depth")
    twin = shutil.copytree(own, tmp_path_factory.mktemp("twin"), dirs_exist_ok=True)
    assert identify("", twin, task="depth") == before
    array(METRES + 1)(own / "depth" / "train" / "sub" / "b.png")
    after = identify("", own, task="depth")
    assert after["train"] != before["train"]
    assert after["test"] == before["test"]


def test_a_plan_reads_depth_as_the_worker_does(own, tmp_path_factory):
    protocol, source = find_protocol("nyuv2-linear-dinov3@mine"), Source.of(own)
    assert TrialData.of(protocol, Inputs())(source)
    require_fit(protocol, source, "", None, partial=False)
    with pytest.raises(DataError, match="no data for depth; looked for nyu_train.txt"):
        require_fit(protocol, Source.of(tmp_path_factory.mktemp("nothing")), "another", None, partial=False)
