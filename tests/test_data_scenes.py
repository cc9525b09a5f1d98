"""The scenes: the same from the same seed, what they say is what they show, made once, in a folder of theirs."""

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twinbench.data.errors import DataError
from twinbench.data.scenes.digits import photo_pictures, plain_pictures, random_colors, sources
from twinbench.data.scenes.make import COUNTS, make_scenes
from twinbench.data.scenes.outline import polygons, run_lengths
from twinbench.protocols.catalogue import PROTOCOLS


def digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    parts = [str(path.relative_to(folder)).encode() + path.read_bytes() for path in files]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_same_seed_same_bytes_and_another_seed_other_pictures(scenes: Path, tmp_path: Path) -> None:
    make_scenes(tmp_path / "again", seed=0, scale=0.02)
    make_scenes(tmp_path / "other", seed=1, scale=0.02)
    assert digest(tmp_path / "again") == digest(scenes)
    first = "train/n00000000/n00000000_0.JPEG"
    assert (tmp_path / "other" / "imagenet" / first).read_bytes() != (scenes / "imagenet" / first).read_bytes()


def test_making_again_touches_nothing(scenes: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in scenes.rglob("*")}
    make_scenes(scenes, seed=0, scale=0.02)
    assert {path: path.stat().st_mtime_ns for path in scenes.rglob("*")} == before


def test_a_killed_make_is_finished_by_the_next(scenes: Path, tmp_path: Path) -> None:
    root = tmp_path / "killed"
    code = f"from twinbench.data.scenes.make import Path, make_scenes; make_scenes(Path({str(root)!r}), 0, 0.02)"
    maker = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[1])
    while maker.poll() is None and not list(root.glob(".*.part/*/*")):
        pass
    os.kill(maker.pid, signal.SIGKILL)
    assert maker.wait() == -signal.SIGKILL
    assert list(root.glob(".*.part"))
    make_scenes(root, seed=0, scale=0.02)
    assert digest(root) == digest(scenes)


def test_foreign_folders_and_other_scenes_are_left_alone(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match=r"holds thesis\.tex, which `data make` did not write"):
        make_scenes(tmp_path)
    (tmp_path / "mine" / "imagenet").mkdir(parents=True)
    with pytest.raises(DataError, match="holds imagenet, which"):
        make_scenes(tmp_path / "mine")
    with pytest.raises(DataError, match="a file; expected a new or empty folder"):
        make_scenes(tmp_path / "thesis.tex")
    with pytest.raises(DataError, match=r"scenes of version 1, seed 0, scale 0\.02; asked for version 1, seed 5"):
        make_scenes(scenes, seed=5, scale=0.02)
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(DataError, match="expected a seed from 0 and a scale above 0"):
            make_scenes(tmp_path / "new", scale=bad)
    assert not (tmp_path / "new").exists()


def test_two_makers_do_not_meet_and_a_closed_door_is_told(tmp_path: Path) -> None:
    tmp_path.joinpath("scenes").mkdir()
    with (tmp_path / "scenes" / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process is making scenes there; wait for it"):
            make_scenes(tmp_path / "scenes", scale=0.01)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="Not a directory; expected a folder with room"):
        make_scenes(tmp_path / "file" / "scenes")


def test_full_counts_are_what_the_demo_protocols_expect() -> None:
    voc, image_net, coco = COUNTS["VOCdevkit"], COUNTS["imagenet"], COUNTS["coco"]
    assert PROTOCOLS["demo-voc07-svm"].images == (voc["2007-trainval"], voc["2007-test"])
    assert PROTOCOLS["demo-imagenet-linear"].images == (image_net["train"], image_net["val"])
    assert PROTOCOLS["demo-coco-mrcnn-c4-1x"].images == (coco["train"], coco["val"])
    assert PROTOCOLS["demo-voc0712-frcnn-c4"].images == (voc["2007-trainval"] + voc["2012-trainval"], voc["2007-test"])


def test_no_scan_and_no_photograph_is_in_both_splits() -> None:
    train, test = sources()
    assert len(train.digits) + len(test.digits) == 1797  # all that scikit-learn bundles
    scans = [{scan.tobytes() for scan in source.scans} for source in (train, test)]
    assert not scans[0] & scans[1]
    assert all(
        left.shape[1] + right.shape[1] == 640 for left, right in zip(train.photographs, test.photographs, strict=True)
    )


def test_digits_come_in_turn_and_every_box_holds_its_mask() -> None:
    train, _ = sources()
    plain = list(plain_pictures(np.random.default_rng(3), train, 20))
    assert [digit for _, digit in plain] == [*range(10), *range(10)]
    assert all(picture.shape == (96, 96, 3) and picture.dtype == np.uint8 for picture, _ in plain)
    faint = 0
    for number, (_, placed) in enumerate(photo_pictures(np.random.default_rng(3), train, 200)):
        assert placed[0].digit == number % 10
        assert not placed[0].faint
        assert 1 <= len(placed) <= 4
        faint += sum(thing.faint for thing in placed)
        assert (np.sum([thing.mask for thing in placed], axis=0) <= 1).all()  # one digit on top at each pixel
        for thing in placed:
            left, top, right, bottom = thing.box
            rows, columns = np.nonzero(thing.mask)
            assert (left, top, right, bottom) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert faint > 0


def test_colors_agree_with_the_standard_library() -> None:
    import colorsys

    hue, saturation, value = np.random.default_rng(0).random((3, 50, 1), np.float32)
    expected = [
        colorsys.hsv_to_rgb(h, 0.5 * s, 0.1 + 0.9 * v)
        for h, s, v in zip(hue[:, 0], saturation[:, 0], value[:, 0], strict=True)
    ]
    assert np.allclose(random_colors(np.random.default_rng(0), 50, 0.5), expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools against numpy 2
def test_masks_mean_the_same_to_pycocotools() -> None:
    mask_tools = pytest.importorskip("pycocotools.mask")
    ring = np.zeros((12, 10), bool)
    ring[1:11, 1:9], ring[4:7, 3:6] = True, False
    rng = np.random.default_rng(0)
    shapes = [ring, np.eye(7, dtype=bool), np.ones((3, 5), bool), *(rng.random((8, 9, 11)) < 0.6)]
    for mask in shapes:
        height, width = mask.shape
        runs = mask_tools.frPyObjects(run_lengths(mask), height, width)
        assert (mask_tools.decode(runs) == mask).all()
        joined = mask_tools.merge(mask_tools.frPyObjects(polygons(mask), height, width))
        assert (mask_tools.decode(joined) == mask).all()
    assert len(polygons(ring)) == 4


@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_coco_boxes_areas_and_masks_agree(scenes: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    data = coco.COCO(scenes / "coco" / "annotations" / "instances_val2017.json")
    assert len(data.imgs) == 20
    assert [entry["name"] for entry in data.cats.values()][:2] == ["zero", "one"]
    for annotation in data.anns.values():
        mask = data.annToMask(annotation)
        left, top, width, height = annotation["bbox"]
        assert mask.sum() == annotation["area"] == mask[top : top + height, left : left + width].sum()
        assert isinstance(annotation["segmentation"], dict) == bool(annotation["iscrowd"])


def test_voc_lists_follow_from_the_annotations(scenes: Path) -> None:
    values = set()
    for year, split in ((2007, "trainval"), (2007, "test"), (2012, "trainval")):
        folder = scenes / "VOCdevkit" / f"VOC{year}"
        for line in (folder / "ImageSets" / "Main" / f"seven_{split}.txt").read_text().splitlines():
            name, value = line.split()
            things = ElementTree.parse(folder / "Annotations" / f"{name}.xml").findall("object")
            flags = {thing.findtext("difficult") for thing in things if thing.findtext("name") == "seven"}
            assert value == ("1" if "0" in flags else "0" if flags else "-1")
            assert {thing.findtext("pose") for thing in things} == {"Unspecified"}
            values.add(value)
            with Image.open(folder / "JPEGImages" / f"{name}.jpg") as image:
                assert image.size == (96, 96)
    assert {"1", "-1"} <= values


def test_subset_lists_are_balanced_and_nested(tmp_path: Path) -> None:
    make_scenes(tmp_path, scale=0.1)  # 300 training images
    lists = {percent: (tmp_path / "imagenet" / f"{percent}percent.txt").read_text().split() for percent in (1, 10)}
    assert len(lists[10]) == 30
    assert len(lists[1]) == 10
    assert set(lists[1]) < set(lists[10])
    owners = [name.split("_")[0] for name in lists[10]]
    assert {owners.count(owner) for owner in owners} == {3}
    assert len(set(owners)) == 10
    images = json.loads((tmp_path / "inat" / "train2018.json").read_text())["images"]
    assert all((tmp_path / "inat" / image["file_name"]).is_file() for image in images)
