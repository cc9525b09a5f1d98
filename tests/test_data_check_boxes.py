"""`twinbench data check boxes`: what a detector runs on, whatever its labels would be to a classifier."""

import json

import pytest
from PIL import Image

from twinbench.data.checking.checks import check
from twinbench.data.errors import DataError

XML = """<annotation><size><width>20</width><height>10</height><depth>3</depth></size><object><name>cell</name>
<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{right}</xmax><ymax>9</ymax></bndbox></object></annotation>"""


def picture(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (20, 10), "white")
    image.putpixel((number, 0), (255, 0, 0))
    image.save(path)


@pytest.fixture
def cells(tmp_path):
    """VOC's layout with one class, which is on every image."""
    folder = tmp_path / "cells"
    for split, numbers in (("train", (0, 1, 2)), ("val", (3, 4))):
        (folder / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
        (folder / "ImageSets/Main" / f"{split}.txt").write_text("".join(f"{number}\n" for number in numbers))
        for number in numbers:
            picture(folder / "JPEGImages" / f"{number}.png", number)
            (folder / "Annotations").mkdir(exist_ok=True)
            (folder / "Annotations" / f"{number}.xml").write_text(XML.format(right=15))
    return folder


@pytest.fixture
def parts(tmp_path):
    """COCO's layout with one class, whose images lie one folder deeper, as classes do in ImageNet's."""
    folder = tmp_path / "parts"
    (folder / "annotations").mkdir(parents=True)
    for split, numbers in (("train", (0, 1, 2)), ("val", (3, 4))):
        images = [{"id": n, "file_name": f"deep/{n}.png", "width": 20, "height": 10} for n in numbers]
        things = [{"id": n, "image_id": n, "category_id": 1, "bbox": [1, 1, 9, 5]} for n in numbers]
        file = {"images": images, "annotations": things, "categories": [{"id": 1, "name": "part"}]}
        (folder / "annotations" / f"{split}.json").write_text(json.dumps(file))
        for number in numbers:
            picture(folder / split / "deep" / f"{number}.png", number)
    return folder


def test_a_class_on_every_image_trains_a_detector(cells):
    report = check("boxes", cells, processes=1)
    assert report.complete
    assert report.counts == {"train": 3, "classes": 1, "test": 2}


def test_without_the_word_the_labels_are_checked_and_the_word_is_told(cells):
    report = check("", cells, processes=1)
    assert not report.complete
    assert report.notes == (f"boxes are checked without labels by: twinbench data check boxes {cells}",)


@pytest.mark.parametrize("form", ["{0}", "coco:{0}/annotations/train.json,{0}/annotations/val.json"])
def test_boxes_of_coco_are_checked_in_a_folder_and_by_their_files(parts, form):
    report = check("boxes", form.format(parts), processes=1)
    assert report.complete
    assert report.counts == {"train": 3, "classes": 1, "val": 2}
    assert "train: 3 annotations lack area: that of their boxes is taken" in report.notes


def test_a_bad_box_is_found(cells):
    (cells / "Annotations/4.xml").write_text(XML.format(right="far"))
    report = check("boxes", cells, processes=1)
    assert not report.complete
    (problem,) = report.problems
    assert "xmax 'far'" in problem.examples[0]


def test_what_holds_no_boxes_is_refused(tmp_path):
    picture(tmp_path / "train/a/1.png", 1)
    with pytest.raises(DataError, match="no data for detection; looked for"):
        check("boxes", tmp_path)


def test_training_boxes_of_no_area_alone_are_a_problem_to_a_detector(parts):
    path = parts / "annotations" / "train.json"
    path.write_text(path.read_text().replace("[1, 1, 9, 5]", "[1, 1, 0, 5]"))
    (problem,) = check("boxes", parts).problems
    assert problem.examples == [
        f"{parts}: no training image shows an object with an area (train: 3 annotations lack area: that of "
        "their boxes is taken; train: 3 annotations lack iscrowd: 0 is taken; train: 3 boxes have no area: training "
        "drops them as Detectron2 does, the evaluation counts them); expected some; correct the annotations"
    ]


def test_test_boxes_of_no_area_are_none(parts):
    path = parts / "annotations" / "val.json"
    path.write_text(path.read_text().replace("[1, 1, 9, 5]", "[1, 1, 0, 5]"))
    assert check("boxes", parts).complete


def test_a_classifier_needs_no_area(parts):
    path = parts / "annotations" / "train.json"
    path.write_text(path.read_text().replace("[1, 1, 9, 5]", "[1, 1, 0, 5]"))
    assert not any("area" in line for problem in check("", parts).problems for line in problem.examples)
