"""LVIS, Cityscapes' instances and parts of COCO, against Detectron2's readers or from what was made up."""

import json
from dataclasses import replace

import numpy as np
import pytest
from detectron2.data.datasets.lvis import load_lvis_json
from PIL import Image
from pycocotools import mask as coded

from twinbench.data.checking.checks import check
from twinbench.data.errors import DataError
from twinbench.data.folders.own import sniff_layout
from twinbench.data.identity import contents
from twinbench.data.objects.cityscapes import LABELS, VOID, run_lengths
from twinbench.data.objects.find import find_objects
from twinbench.data.objects.parts import DRAW
from twinbench.data.objects.split import Findings
from twinbench.data.required import require_fit
from twinbench.data.source import Source
from twinbench.protocols.catalogue import find_protocol

SQUARE = [[1, 1, 11, 1, 11, 11, 1, 11]]


def read(root, layout, split="test", fraction="100%"):
    """Return a split, its records and the notes."""
    found = find_objects(layout, Source.of(str(root)), split, fraction)
    findings = Findings()
    return found, list(found.read(findings, ("box", "mask"))), findings.notes


# --- LVIS


@pytest.fixture
def lvis(tmp_path):
    """Write a tiny LVIS: its test image lies among COCO's training images."""
    for name in ("train2017/1.jpg", "train2017/2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 30)).save(tmp_path / name)
    for part, number in (("train", 1), ("val", 2)):
        image = {"id": number, "width": 40, "height": 30, "coco_url": f"http://a.org/train2017/{number}.jpg"}
        image |= {"neg_category_ids": [3], "not_exhaustive_category_ids": [1]}
        thing = {"id": 9, "image_id": number, "category_id": 2, "bbox": [1, 1, 10, 10], "area": 100}
        categories = [
            {"id": k, "name": name, "frequency": f} for k, name, f in ((1, "a", "r"), (2, "b", "c"), (3, "c", "f"))
        ]
        lists = {"images": [image], "annotations": [{**thing, "segmentation": SQUARE}], "categories": categories}
        (tmp_path / f"lvis_v1_{part}.json").write_text(json.dumps(lists))
    return tmp_path


def test_lvis_records_are_those_of_detectron2s_reader(lvis):
    found, records, notes = read(lvis, "lvis")
    (expected,) = load_lvis_json(str(lvis / "lvis_v1_val.json"), f"{lvis}/")
    for key in ("file_name", "image_id", "width", "height"):
        assert records[0][key] == expected[key]
    (thing,), (theirs,) = records[0]["annotations"], expected["annotations"]
    assert {key: thing[key] for key in theirs} == theirs
    assert notes == ()
    assert (found.rule, found.frequencies, found.classes) == ("lvis", ("r", "c", "f"), ("a", "b", "c"))


def test_lvis_says_which_classes_were_looked_for_by_their_places(lvis):
    _, records, _ = read(lvis, "lvis")
    assert records[0]["neg_category_ids"] == [2]
    assert records[0]["not_exhaustive_category_ids"] == [0]


def test_lvis_without_frequencies_is_refused(lvis):
    path = lvis / "lvis_v1_val.json"
    path.write_text(path.read_text().replace('"frequency": "c"', '"frequency": ""'))
    with pytest.raises(DataError, match="category b has the frequency ''; expected r, c or f"):
        read(lvis, "lvis")


# --- Cityscapes


def test_run_lengths_are_cocos():
    random = np.random.default_rng(0)
    for mask in (random.random((7, 5)) > 0.5, np.zeros((3, 4), bool), np.ones((3, 4), bool)):
        found = run_lengths(mask)
        assert sum(found["counts"]) == mask.size
        decoded = coded.decode(coded.frPyObjects(found, *mask.shape))
        assert np.array_equal(decoded.astype(bool), mask)


@pytest.fixture
def cities(tmp_path):
    """Write one image of each split: two persons, a group of cars, a thin pole of a train, void and road."""
    ids = np.full((30, 40), 7, np.int32)
    ids[2:10, 3:9] = 24_000
    ids[2:10, 20:30] = 24_001
    ids[15:20, 5:15] = 26
    ids[12:25, 35] = 31_000
    ids[28:, :] = 4
    for split in ("train", "val"):
        for tree, name, image in (
            ("leftImg8bit", "x_leftImg8bit.png", Image.new("RGB", (40, 30))),
            ("gtFine", "x_gtFine_instanceIds.png", Image.fromarray(ids.astype(np.uint16))),
        ):
            folder = tmp_path / tree / split / "bonn"
            folder.mkdir(parents=True)
            image.save(folder / name)
    return tmp_path


def test_instances_and_groups_of_cityscapes(cities):
    found, records, _ = read(cities, "cityscapes")
    (record,) = records
    things = [(found.classes[t["category_id"]], t["iscrowd"], t["bbox"], t["area"]) for t in record["annotations"]]
    assert things == [
        ("car", 1, [5, 15, 14, 19], 50),
        ("person", 0, [3, 2, 8, 9], 48),
        ("person", 0, [20, 2, 29, 9], 80),
    ]  # of the pole's single column Detectron2 makes no object
    assert found.rule == "cityscapes"
    void = coded.decode(coded.frPyObjects(record["void"], 30, 40))
    assert int(void.sum()) == 2 * 40


def test_cityscapes_numbers_are_its_authors():
    from cityscapesscripts.helpers.labels import labels

    assert {each.name: each.id for each in labels if each.hasInstances and not each.ignoreInEval} == LABELS
    assert set(VOID) == {each.id for each in labels if each.ignoreInEval and each.id >= 0}


def test_a_map_of_another_size_than_its_image_is_named(cities):
    path = cities / "gtFine/val/bonn/x_gtFine_instanceIds.png"
    Image.fromarray(np.zeros((30, 41), np.uint16)).save(path)
    with pytest.raises(DataError, match=r"x_gtFine_instanceIds\.png: 41 x 30 pixels, its image 40 x 30"):
        read(cities, "cityscapes")


def test_the_identity_of_cityscapes_is_that_of_its_maps(cities):
    before = contents("cityscapes", cities, task="detection")["test"].sha256
    Image.fromarray(np.full((30, 40), 24_000, np.uint16)).save(cities / "gtFine/val/bonn/x_gtFine_instanceIds.png")
    assert contents("cityscapes", cities, task="detection")["test"].sha256 != before


# --- parts of COCO


@pytest.fixture
def coco(tmp_path, tmp_path_factory, monkeypatch):
    """Write COCO with five images, of which 2 shows a crowd only and 4 nothing; hints lie in a folder of their own."""
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    shown = {1: 0, 2: 1, 3: 0, 5: 0}
    for split in ("train", "val"):
        folder = tmp_path / f"{split}2017"
        folder.mkdir()
        images = [{"id": k, "file_name": f"{k}.jpg", "width": 40, "height": 30} for k in range(1, 6)]
        for image in images:
            Image.new("RGB", (40, 30)).save(folder / image["file_name"])
        thing = {"category_id": 1, "bbox": [1, 1, 10, 10], "area": 100, "segmentation": SQUARE}
        things = [{**thing, "id": k, "image_id": k, "iscrowd": crowd} for k, crowd in shown.items()]
        lists = {"images": images, "annotations": things, "categories": [{"id": 1, "name": "a"}]}
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(lists))
    (tmp_path / "COCO_supervision.txt").write_text(json.dumps({"5.0": {DRAW: [2, 0, 2]}, "1.0": {DRAW: [3]}}))
    return tmp_path


def test_numbers_count_the_images_that_show_an_object(coco):
    found, records, _ = read(coco, "coco", "train", "5%")
    assert [record["image_id"] for record in records] == [1, 5]  # the first and the third of 1, 3, 5
    assert [path.name for path in found.paths] == ["1.jpg", "5.jpg"]


def test_the_test_images_are_whole(coco):
    assert len(read(coco, "coco", "test", "5%")[1]) == 5


def test_a_part_is_data_of_its_own(coco):
    whole = contents("coco", coco, task="detection")
    part = contents("coco", coco, task="detection", fraction="5%")
    assert part["train"].images == 2
    assert part["train"].sha256 != whole["train"].sha256
    assert part["test"] == whole["test"]


@pytest.mark.parametrize(
    ("fraction", "message"),
    [
        ("1%", "3 images with an object, and the COCO_supervision.txt counts up to 3; expected COCO's train2017"),
        ("2%", "COCO_supervision.txt: no list of 2.0 percent in it"),
    ],
)
def test_a_list_that_does_not_fit_is_told(coco, fraction, message):
    with pytest.raises(DataError, match=message):
        read(coco, "coco", "train", fraction)


def test_a_missing_list_is_told_with_its_address(coco):
    (coco / "COCO_supervision.txt").unlink()
    with pytest.raises(DataError, match=r"COCO_supervision\.txt: no such file.*unbiased-teacher"):
        read(coco, "coco", "train", "1%")


def on_one_class(percent):
    """Return the detector on a part of COCO, for data of one class."""
    protocol = find_protocol(f"coco-mrcnn-fpn-{percent}pct")
    return protocol.on(replace(protocol.data_set, classes=1))


@pytest.mark.parametrize("percent", [1, 5])
def test_a_suite_finds_that_a_part_fits(coco, percent):
    (coco / "COCO_supervision.txt").write_text(json.dumps({f"{percent}.0": {DRAW: [0]}}))
    require_fit(on_one_class(percent), Source.of(str(coco)), f"{percent} percent that fit", None, partial=False)


def test_a_suite_tells_that_a_part_has_no_list(coco):
    (coco / "COCO_supervision.txt").unlink()
    with pytest.raises(DataError, match=r"COCO_supervision\.txt: no such file.*unbiased-teacher"):
        require_fit(on_one_class(1), Source.of(str(coco)), "a part without a list", None, partial=False)


def test_a_list_written_over_is_seen_although_the_part_was_counted_before(coco, monkeypatch):
    monkeypatch.setattr("twinbench.data.identity.HINTED_FROM", 1)
    monkeypatch.setattr("twinbench.data.hints.SETTLED_SECONDS", -3600)
    before = contents("coco", coco, task="detection", fraction="5%")
    assert contents("coco", coco, task="detection", fraction="5%") == before
    (coco / "COCO_supervision.txt").write_text(json.dumps({"5.0": {DRAW: [1, 2]}}))
    assert contents("coco", coco, task="detection", fraction="5%")["train"].sha256 != before["train"].sha256


def test_the_check_of_a_part_goes_through_the_images_on_its_list_alone(coco):
    (coco / "train2017" / "3.jpg").write_bytes(b"no picture")  # the second that shows an object: not on the list
    report = check("coco17-5pct", coco)
    assert report.counts == {"train": 2, "val": 5, "classes": 1}
    assert "unreadable images" not in [problem.kind for problem in report.problems]


def test_the_check_of_a_part_finds_a_damaged_image_on_its_list(coco):
    (coco / "train2017" / "5.jpg").write_bytes(b"no picture")
    assert "unreadable images" in [problem.kind for problem in check("coco17-5pct", coco).problems]


def test_the_check_of_a_part_expects_as_many_images_as_its_authors_drew(coco):
    assert check("coco17-5pct", coco).expected == {"train": 5863, "val": 5000, "classes": 80}


def test_the_check_of_a_part_tells_that_it_has_no_list(coco):
    (coco / "COCO_supervision.txt").unlink()
    lines = check("coco17-1pct", coco).as_text()
    assert "COCO_supervision.txt: no such file" in lines


@pytest.mark.parametrize(
    ("files", "layout"),
    [
        (["leftImg8bit/train/a/x.png", "gtFine/train/a/x.png"], "cityscapes"),
        (["annotations/lvis_v1_train.json", "annotations/lvis_v1_val.json"], "lvis"),
        (["annotations/instances_train2017.json", "annotations/lvis_v1_train.json"], "coco"),
        (["train/_annotations.coco.json"], "coco"),
    ],
)
def test_own_data_in_a_published_sets_form_are_read_as_that(tmp_path, files, layout):
    """cityscapes-mrcnn-fpn-24k@NAME on such a tree said that there was no data; LVIS's came to COCO's rules."""
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert sniff_layout(tmp_path, "detection") == layout
