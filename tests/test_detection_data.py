"""VOC and COCO trees as Detectron2's records, read independently; and what is said when they do not fit."""

import json
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from detectron2.data.datasets import load_coco_json, load_voc_instances

from twinbench.data.layouts import DataError
from twinbench.detection.datasets import open_data
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.datasets import VOC0712

VOC, COCO = find_protocol("demo-voc0712-frcnn-c4"), find_protocol("demo-coco-mrcnn-c4-1x")
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture
def voc(scenes, tmp_path):
    return shutil.copytree(scenes / "VOCdevkit", tmp_path / "VOCdevkit")


@pytest.fixture
def coco(scenes, tmp_path):
    return shutil.copytree(scenes / "coco", tmp_path / "coco")


def ids(root, year, split):
    return (root / f"VOC{year}" / "ImageSets" / "Main" / f"{split}.txt").read_text().split()


def test_voc_trains_on_both_years_and_tests_on_2007(scenes):
    root = scenes / "VOCdevkit"
    data = open_data(VOC, root)
    train = ids(root, 2007, "trainval") + ids(root, 2012, "trainval")
    assert data.images == {"train": len(train), "test": len(ids(root, 2007, "test"))}
    assert {record["image_id"] for record in data.train} <= set(train)
    assert [record["image_id"] for record in data.test] == ids(root, 2007, "test")
    assert data.rule == "voc-11-points"  # Detectron2's for 2007


def test_voc_records_hold_every_box_of_the_xml_difficult_ones_too(scenes):
    root = scenes / "VOCdevkit"
    data = open_data(VOC, root)
    record = data.train[0]
    things = ElementTree.parse(root / "VOC2007" / "Annotations" / f"{record['image_id']}.xml").findall("object")
    expected = []
    for thing in things:
        x1, y1, x2, y2 = (int(thing.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax"))
        expected.append((thing.findtext("name"), [x1 - 1, y1 - 1, x2, y2]))  # 1-based pixels to coordinates
    assert [(data.classes[o["category_id"]], o["bbox"]) for o in record["annotations"]] == expected
    assert list(data.classes) == sorted(DIGITS)


def test_coco_records_hold_every_annotation_and_class(scenes):
    root = scenes / "coco"
    data = open_data(COCO, root)
    file = json.loads((root / "annotations" / "instances_val2017.json").read_text())
    names = {category["id"]: category["name"] for category in file["categories"]}
    expected = sorted((a["image_id"], names[a["category_id"]], tuple(a["bbox"])) for a in file["annotations"])
    found = [
        (r["image_id"], data.classes[a["category_id"]], tuple(a["bbox"])) for r in data.test for a in r["annotations"]
    ]
    assert sorted(found) == expected
    assert data.mask_format == "polygon"
    assert data.images["test"] == len(file["images"])


def test_run_length_masks_are_trained_on_as_bitmaps(coco):
    path = coco / "annotations" / "instances_train2017.json"
    file = json.loads(path.read_text())
    size = [file["images"][0]["height"], file["images"][0]["width"]]
    thing = next(a for a in file["annotations"] if not a["iscrowd"])
    thing["segmentation"] = {"size": size, "counts": [0, 50, size[0] * size[1] - 50]}
    path.write_text(json.dumps(file))
    assert open_data(COCO, coco).mask_format == "bitmask"


def test_images_without_an_object_count_but_are_not_trained_on(coco):
    path = coco / "annotations" / "instances_train2017.json"
    file = json.loads(path.read_text())
    before = open_data(COCO, coco)
    emptied = before.train[0]["image_id"]
    for thing in file["annotations"]:
        thing["iscrowd"] |= thing["image_id"] == emptied
    for thing in file["annotations"]:
        if thing["iscrowd"]:
            thing["segmentation"] = {"size": [96, 96], "counts": [0, 9, 96 * 96 - 9]}
    path.write_text(json.dumps(file))
    after = open_data(COCO, coco)
    assert after.images == before.images
    assert len(after.train) == len(before.train) - 1


def test_voc2012_may_be_absent(voc):
    shutil.rmtree(voc / "VOC2012")
    assert open_data(VOC, voc).images["train"] == len(ids(voc, 2007, "trainval"))


def test_errors_name_what_is_missing(voc, coco):
    name = ids(voc, 2007, "test")[3]
    (voc / "VOC2007" / "JPEGImages" / f"{name}.jpg").unlink()
    with pytest.raises(DataError, match=rf"{name}\.jpg: no such image"):
        open_data(VOC, voc)
    (coco / "annotations" / "instances_val2017.json").unlink()
    with pytest.raises(DataError, match=r"coco: for the test images no .json file; expected one"):
        open_data(COCO, coco)


def test_what_an_object_lacks_has_vocs_default_and_is_said(voc):
    path = voc / "VOC2007" / "Annotations" / f"{ids(voc, 2007, 'test')[0]}.xml"
    tree = ElementTree.parse(path)
    thing = tree.find("object")
    for field in ("pose", "truncated", "difficult"):
        thing.remove(thing.find(field))
    tree.write(path)
    data = open_data(VOC, voc)
    assert data.test[0]["annotations"][0]["difficult"] == 0
    assert "test: 1 objects lack <difficult>: VOC's default, 0, is taken" in data.notes
    assert "test: 1 objects lack <pose>: VOC's default, Unspecified, is taken" in data.notes


def test_one_image_is_a_split(voc):
    """Detectron2's reader takes a list of one line for no list at all."""
    listed = voc / "VOC2007" / "ImageSets" / "Main" / "test.txt"
    name = listed.read_text().split()[0]
    listed.write_text(f"{name}\n")
    for path in listed.parent.glob("*_test.txt"):
        path.unlink()
    assert [record["image_id"] for record in open_data(VOC, voc).test] == [name]


def plain(records):
    """Return records without what Detectron2's do not have."""
    kept = ("bbox", "bbox_mode", "category_id", "iscrowd", "segmentation")
    for record in records:
        things = [{key: thing[key] for key in kept if key in thing} for thing in record["annotations"]]
        yield {**record, "annotations": things}


def test_voc_records_are_those_of_detectron2s_reader(scenes):
    root = scenes / "VOCdevkit"
    data = open_data(VOC, root)
    theirs = load_voc_instances(str(root / "VOC2007"), "test", data.classes)
    for record in theirs:
        record["annotations"] = [{**thing, "iscrowd": 0} for thing in record["annotations"]]
        record["image_id"] = str(record["image_id"])
    assert list(plain(data.test)) == theirs


def test_coco_records_are_those_of_detectron2s_reader(scenes):
    root = scenes / "coco"
    data = open_data(COCO, root)
    file = root / "annotations" / "instances_val2017.json"
    theirs = load_coco_json(str(file), str(root / "val2017"), f"coco read from {root}")
    for record in theirs:
        for thing in record["annotations"]:
            if isinstance(thing["segmentation"], dict):
                thing["segmentation"]["counts"] = thing["segmentation"]["counts"].decode()  # JSON has no bytes
    assert list(plain(data.test)) == theirs


def test_the_number_of_classes_must_be_the_protocols(scenes):
    with pytest.raises(DataError, match="10 classes .* is about 20"):
        open_data(replace(VOC, data_set=VOC0712), scenes / "VOCdevkit")


def test_splits_with_different_categories_are_refused(coco):
    path = coco / "annotations" / "instances_val2017.json"
    file = json.loads(path.read_text())
    file["categories"][0]["name"] = "letter"
    path.write_text(json.dumps(file))
    with pytest.raises(DataError, match="different categories"):
        open_data(COCO, coco)


def test_a_broken_annotation_is_named(coco):
    path = coco / "annotations" / "instances_train2017.json"
    file = json.loads(path.read_text())
    file["annotations"][0]["bbox"] = [1, 2, 3]
    path.write_text(json.dumps(file))
    with pytest.raises(DataError, match=rf"annotation {file['annotations'][0]['id']}: the box"):
        open_data(COCO, coco)


@pytest.mark.parametrize("settings", [{}, {"keep_empty": "true"}])
def test_training_boxes_of_no_area_alone_are_refused_with_what_was_dropped(coco, settings):
    path = coco / "annotations" / "instances_train2017.json"
    file = json.loads(path.read_text())
    for thing in file["annotations"]:
        thing["bbox"][2] = 0
    path.write_text(json.dumps(file))
    count = len(file["annotations"])
    words = rf"no training image shows an object with an area \(train: {count} boxes have no area: training drops"
    with pytest.raises(DataError, match=words):
        open_data(COCO.with_settings(settings), coco)
