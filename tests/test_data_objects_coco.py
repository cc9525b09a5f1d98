"""COCO's JSON of one's own: any names and folders, what is left out, and what no training could use."""

import json

import pytest
from PIL import Image
from pycocotools import mask as run_lengths

from twinbench.data.errors import DataError
from twinbench.data.objects.find import find_objects, objects_layout
from twinbench.data.objects.keypoints import PERSON
from twinbench.data.objects.shapes import polygons_area
from twinbench.data.objects.split import Findings
from twinbench.data.source import Source

SQUARE = [[1, 1, 11, 1, 11, 11, 1, 11]]
PEN = {"id": 7, "image_id": 3, "category_id": 5, "bbox": [1, 1, 10, 10], "segmentation": SQUARE, "area": 100}
PEN |= {"iscrowd": 0}


def write(path, annotations, images=((3, "deep/er/a b.jpg"),), categories=((5, "pen"),), folder=None, **more):
    """Write a JSON file and its images, which lie below its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = [{"id": number, "file_name": name, "width": 40, "height": 30} for number, name in images]
    named = [
        category if isinstance(category, dict) else dict(zip(("id", "name"), category, strict=True))
        for category in categories
    ]
    for _, name in images:
        place = (folder or path.parent) / name
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(place)
    path.write_text(json.dumps({"images": listed, "annotations": annotations, "categories": named, **more}))


@pytest.fixture
def pens(tmp_path):
    """Return a function that writes Roboflow's form of data and gives the folder."""

    def make(*annotations, **more):
        for split in ("train", "valid"):
            write(tmp_path / split / "_annotations.coco.json", list(annotations), **more)
        return tmp_path

    return make


def read(root, measures=("box", "mask"), split="test", layout="coco"):
    """Return a split, its records and the notes."""
    found = find_objects(layout, Source.of(str(root)), split)
    findings = Findings()
    return found, list(found.read(findings, measures)), findings.notes


def test_files_may_have_any_names_and_images_lie_in_any_folder(pens):
    root = pens(PEN)
    assert objects_layout("", Source.of(str(root))) == "coco"
    found, records, notes = read(root)
    assert records[0]["file_name"] == str(root / "valid/deep/er/a b.jpg")
    assert (found.classes, found.measures, notes) == (("pen",), ("box", "mask"), ())
    assert records[0]["annotations"][0]["segmentation"] == SQUARE


def test_both_files_may_be_named(tmp_path):
    for name in ("one", "two"):
        write(tmp_path / f"{name}.json", [PEN], folder=tmp_path / "photos")
    source = f"coco:{tmp_path}/one.json,{tmp_path}/two.json?images={tmp_path}/photos"
    assert objects_layout("", Source.of(source)) == "coco"
    assert read(source)[0].shared == tmp_path / "two.json"


def test_a_category_that_only_groups_others_is_no_class(pens):
    groups = ({"id": 0, "name": "things", "supercategory": "none"}, {"id": 5, "name": "pen", "supercategory": "things"})
    found, records, _ = read(pens(PEN, categories=groups))
    assert found.classes == ("pen",)
    assert records[0]["annotations"][0]["category_id"] == 0


def test_missing_iscrowd_is_0_and_missing_area_is_computed(pens):
    lacking = {key: value for key, value in PEN.items() if key not in ("iscrowd", "area")}
    _, records, notes = read(pens(lacking))
    assert (records[0]["annotations"][0]["iscrowd"], records[0]["annotations"][0]["area"]) == (0, 100)
    assert notes == (
        "1 annotations lack area: that of their polygons is taken",
        "1 annotations lack iscrowd: 0 is taken",
    )


def test_the_area_of_a_polygon_is_pycocotools():
    triangle = [[10.0, 10.0, 50.0, 10.0, 10.0, 50.0]]
    coded = run_lengths.frPyObjects(triangle, 100, 100)
    assert polygons_area(triangle) == 800
    assert float(run_lengths.area(coded)[0]) == pytest.approx(800, rel=0.05)  # of whole pixels


def test_boxes_alone_are_measured_as_boxes(pens):
    boxes = {key: value for key, value in PEN.items() if key not in ("segmentation", "area")}
    found, records, notes = read(pens(boxes), measures=("box",))
    assert found.measures == ("box",)
    assert records[0]["annotations"][0]["area"] == 100
    assert notes == ("1 annotations lack area: that of their boxes is taken",)


def test_masks_are_not_judged_where_boxes_are_measured(pens):
    assert len(read(pens({**PEN, "segmentation": [[1, 1, 2, 2]]}), measures=("box",))[1][0]["annotations"]) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segmentation": [[1, 1, 9, 9]]}, "annotation 7: a polygon of 4 numbers; expected at least three corners"),
        ({"segmentation": []}, "annotation 7: no segmentation; expected polygons or run lengths"),
        ({"segmentation": {"size": [40, 30], "counts": "a"}}, r"size \[40, 30\]; expected the image's, \[30, 40\]"),
        ({"segmentation": {"size": [30, 40], "counts": [5, 5]}}, "run lengths of 10 pixels; expected 1200"),
        ({"bbox": [1, 1, -2, 3]}, r"the box is \[1, 1, -2, 3\]; expected left, top, width and height"),
        ({"bbox": None}, "the box is None"),
        ({"iscrowd": 2}, "iscrowd is 2; expected 0 or 1"),
        ({"area": "large"}, "the area is large; expected a number, or none"),
        ({"ignore": 1}, "it says ignore"),
        ({"image_id": 4}, "image 4 is not in the list of images"),
        ({"category_id": "pen"}, "category pen is not in the list of categories"),
    ],
)
def test_what_no_evaluation_can_use_is_named(pens, change, message):
    with pytest.raises(DataError, match=message):
        read(pens({**PEN, **change}))


def test_a_training_object_without_a_polygon_is_dropped_as_detectron2_does(pens):
    root = pens({**PEN, "segmentation": [[1, 1, 9, 9]]})
    _, records, notes = read(root, split="train")
    assert records[0]["annotations"] == []
    assert notes == ("1 training objects have no polygon of three corners: dropped, as Detectron2 does",)


def test_some_with_and_some_without_masks_is_told_where_masks_are_measured(pens):
    root = pens(PEN, {**PEN, "id": 8, "segmentation": None})
    with pytest.raises(DataError, match="annotation 8: no segmentation"):
        read(root)
    assert len(read(root, measures=("box",))[1][0]["annotations"]) == 2


def test_a_check_notes_every_problem_and_reads_on(pens):
    noted = []
    found = find_objects("coco", Source.of(str(pens({**PEN, "bbox": 0}, {**PEN, "id": 8, "iscrowd": 5}))), "test")
    records = list(found.read(Findings(lambda kind, line: noted.append((kind, line))), ("box",)))
    assert [kind for kind, _ in noted] == ["annotations", "annotations"]
    assert records[0]["annotations"] == []


def person(count=17):
    return {"id": 5, "name": "person", "keypoints": list(PERSON.names)[:count]}


def test_keypoints_are_those_of_a_person(pens):
    points = [1, 2, 2] * 17
    found, records, _ = read(pens({**PEN, "keypoints": points}, categories=(person(),)), measures=("box", "keypoint"))
    assert found.keypoints == PERSON
    assert records[0]["annotations"][0]["keypoints"] == points
    assert ("left_hip", "right_hip") in PERSON.flips


def test_other_keypoints_are_refused_for_nobody_knows_their_weights(pens):
    with pytest.raises(DataError, match=r"category 5: 3 keypoints \(nose, .*expected COCO's 17"):
        read(pens({**PEN, "keypoints": [1, 2, 2] * 3}, categories=(person(3),)))


def test_keypoints_of_another_number_are_named(pens):
    with pytest.raises(DataError, match="annotation 7: keypoints of 6 numbers; expected 51"):
        read(pens({**PEN, "keypoints": [1, 2, 2] * 2}, categories=(person(),)), measures=("box", "keypoint"))


def test_an_image_may_say_no_size(pens, tmp_path):
    root = pens(PEN)
    path = root / "valid" / "_annotations.coco.json"
    file = json.loads(path.read_text())
    for image in file["images"]:
        del image["width"], image["height"]
    path.write_text(json.dumps(file))
    _, records, notes = read(root)
    assert (records[0]["width"], records[0]["height"]) == (40, 30)
    assert len(notes) == 1
