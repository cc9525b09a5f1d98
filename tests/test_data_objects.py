"""Records packed into one file; boxes, masks and keypoints of anybody's data, read by one rule."""

import pickle

import numpy as np
import pytest
from detectron2.data.detection_utils import read_image
from PIL import Image

from twinbench.data.errors import DataError
from twinbench.data.objects.find import find_objects, objects_layout
from twinbench.data.objects.packed import Records
from twinbench.data.objects.sizes import require_sizes, size_problem
from twinbench.data.objects.split import Findings
from twinbench.data.source import Source


def record(number, **more):
    things = [{"bbox": [1.5, 2, 3, 4], "bbox_mode": 1, "category_id": 0, "iscrowd": int(k == 0)} for k in range(number)]
    return {"file_name": f"/images/{number} ä.jpg", "width": 10 + number, "height": 20, "annotations": things, **more}


RECORDS = [record(3), record(0), record(1, image_id="seven")]


def test_packed_records_are_what_was_packed(tmp_path):
    packed = Records.pack(iter(RECORDS), tmp_path / "records")
    assert list(packed) == RECORDS


def test_packed_records_can_be_opened_again(tmp_path):
    Records.pack(RECORDS, tmp_path / "records")
    assert list(Records.open(tmp_path / "records")) == RECORDS


def test_shapes_and_objects_need_no_record(tmp_path):
    packed = Records.pack(RECORDS, tmp_path / "records")
    assert packed.shapes.tolist() == [[13, 20], [10, 20], [11, 20]]
    assert packed.objects.tolist() == [2, 0, 0]  # the first of each is a crowd


def test_a_view_shows_the_chosen_records():
    view = Records.of(RECORDS).where(np.array([True, False, True]))
    assert list(view) == [RECORDS[0], RECORDS[2]]
    assert view.shapes.tolist() == [[13, 20], [11, 20]]
    assert list(view[1:]) == [RECORDS[2]]
    assert view[-1] == RECORDS[2]


def test_who_changes_a_record_changes_his_own():
    packed = Records.of(RECORDS)
    packed[0]["annotations"].clear()
    assert packed[0] == RECORDS[0]


def test_another_process_gets_the_path_and_not_the_bytes(tmp_path):
    packed = Records.pack([record(100)] * 100, tmp_path / "records").where(np.array([3, 4]))
    pickled = pickle.dumps(packed)
    assert len(pickled) < 1000
    assert list(pickle.loads(pickled)) == [record(100)] * 2


def test_no_records_at_all_can_be_packed(tmp_path):
    assert len(Records.pack([], tmp_path / "records")) == 0


@pytest.mark.parametrize("content", [b"", b"half of a file"])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "records").write_bytes(content)
    with pytest.raises(DataError, match=r"records: no packed records.* remove it"):
        Records.open(tmp_path / "records")


# --- VOC's form, of one's own


SIDES = ("xmin", "ymin", "xmax", "ymax")


def xml(*things, size=(40, 30)):
    """Return the XML of an image with objects (name, box, more)."""
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
    parts = []
    for name, box, *more in things:
        corners = "".join(
            f"<{side}>{v}</{side}>" for side, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        )
        parts.append(f"<object><name>{name}</name>{''.join(more)}<bndbox>{corners}</bndbox></object>")
    return f"<annotation>{sides}{''.join(parts)}</annotation>"


FULL = "<pose>Left</pose><truncated>0</truncated><difficult>0</difficult>"
CELL = ("red cell", (1, 1, 10, 10), FULL)


@pytest.fixture
def cells(tmp_path):
    """Write a folder in VOC's form: two training images and one to test on."""
    root = tmp_path / "cells"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for name, suffix in (("a", "png"), ("b", "JPG"), ("c d", "jpg")):
        Image.new("RGB", (40, 30), "white").save(root / "JPEGImages" / f"{name}.png")
        (root / "JPEGImages" / f"{name}.png").rename(root / "JPEGImages" / f"{name}.{suffix}")
        (root / "Annotations" / f"{name}.xml").write_text(xml(CELL))
    (root / "ImageSets/Main/train.txt").write_text("a\nb\n")
    (root / "ImageSets/Main/val.txt").write_text("c d\n")
    return root


def read(root, split="train", layout="voc", measures=("box",)):
    """Return a split, its records and the notes."""
    found = find_objects(layout, Source.of(str(root)), split)
    findings = Findings()
    return found, list(found.read(findings, measures)), findings.notes


def test_own_voc_has_images_of_any_suffix_and_any_lists(cells):
    found, records, notes = read(cells)
    assert [record["file_name"].rpartition("/")[2] for record in records] == ["a.png", "b.JPG"]
    assert [record["image_id"] for record in read(cells, "test")[1]] == ["c d"]
    assert found.rule == "voc-area"
    assert notes == ()


def test_own_classes_are_the_names_in_the_files_of_both_splits(cells):
    (cells / "Annotations" / "a.xml").write_text(xml((" größe_2 ", (1, 1, 2, 2), FULL), ("b_test", (1, 1, 3, 3), FULL)))
    found, records, _ = read(cells)
    assert found.classes == ("b_test", "größe_2", "red cell")
    assert [thing["category_id"] for thing in records[0]["annotations"]] == [
        1,
        0,
    ]  # blanks around a name are none of it


def test_an_image_list_is_no_class_list(cells):
    (cells / "ImageSets/Main/red_train.txt").write_text("a\n")
    assert read(cells)[0].classes == ("red cell",)


def test_a_box_may_begin_at_0_and_have_fractions(cells):
    (cells / "Annotations" / "a.xml").write_text(xml(("red cell", (0, 0.5, "10.25", 9), FULL)))
    assert read(cells)[1][0]["annotations"][0]["bbox"] == [-1, -0.5, 10.25, 9]


def test_a_box_of_no_area_is_kept_and_counted(cells):
    (cells / "Annotations" / "a.xml").write_text(
        xml(("red cell", (5, 5, 4, 9), FULL), ("red cell", (9, 5, 4, 9), FULL), ("red cell", (5, 5, 5, 5), FULL))
    )
    _, records, notes = read(cells)
    assert len(records[0]["annotations"]) == 3
    assert notes == (
        "1 boxes have no area: training drops them as Detectron2 does, the evaluation counts them",
        "1 boxes have their corners swapped: training drops them as Detectron2 does, the evaluation counts them",
    )


def test_missing_fields_have_vocs_defaults(cells):
    (cells / "Annotations" / "a.xml").write_text(xml(("red cell", (1, 1, 4, 9))))
    _, records, notes = read(cells)
    assert records[0]["annotations"][0]["difficult"] == 0
    assert len(notes) == 3


def test_an_image_without_a_size_is_asked_for_it(cells):
    (cells / "Annotations" / "a.xml").write_text(xml(CELL, size=None))
    _, records, notes = read(cells)
    assert (records[0]["width"], records[0]["height"]) == (40, 30)
    assert notes == ("1 annotations say no size of their image: the image's own is taken",)


def test_an_image_without_an_object_is_a_record(cells):
    (cells / "Annotations" / "a.xml").write_text(xml())
    assert read(cells)[1][0]["annotations"] == []


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (
            ("red cell", (1, 1, "", 9), FULL),
            r"a\.xml, object 1 \(red cell\): the box is .*xmax ''.*four numbers",
        ),
        (("red cell", (1, 1, "nan", 9), FULL), r"a\.xml, object 1 \(red cell\): the box is .*xmax 'nan'"),
        (("", (1, 1, 5, 9), FULL), r"a\.xml, object 1 \(\): class '' has no class list; expected one of red cell"),
        (("red cell", (1, 1, 5, 9), "<difficult>2</difficult>"), r"<difficult> is '2'; expected 0 or 1"),
    ],
)
def test_an_object_that_cannot_be_used_is_named(cells, thing, message):
    (cells / "Annotations" / "a.xml").write_text(xml(thing))
    with pytest.raises(DataError, match=message):
        read(cells)


def test_lists_go_by_the_users_names(cells):
    found = find_objects("voc", Source.of(f"{cells}?train=val&test=train"), "train")
    assert [path.name for path in found.paths] == ["c d.jpg"]


def test_xml_may_lie_beside_the_images(tmp_path):
    for folder, name in (("train", "a"), ("valid", "b")):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (40, 30)).save(tmp_path / folder / f"{name}.jpg")
        (tmp_path / folder / f"{name}.xml").write_text(xml(CELL))
    assert objects_layout("", Source.of(str(tmp_path))) == "voc"
    found, records, _ = read(tmp_path, "test")
    assert found.paths.name(0) == "valid/b.jpg"
    assert records[0]["annotations"][0]["bbox"] == [0, 0, 10, 10]
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match=r"valid/ and test/ beside train/; expected one .* \?test=NAME"):
        read(tmp_path)


# --- sizes


def test_a_photograph_is_judged_upright(tmp_path):
    """Detectron2 turns a photograph by its EXIF and then compares: what is annotated as stored ends a training."""
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(path, exif=exif)
    assert size_problem(path, (30, 40)) == ""
    problem = size_problem(path, (40, 30))
    assert "30 x 40 pixels (40 x 30 as it is stored: EXIF has it turned), annotated 40 x 30" in problem
    assert read_image(str(path), "RGB").shape[:2] == (40, 30)  # Detectron2's own


def test_sizes_that_do_not_fit_end_a_reading(cells):
    found, _, _ = read(cells)
    with pytest.raises(DataError, match=r"a\.png: 40 x 30 pixels, annotated 41 x 30; expected"):
        require_sizes("", found.paths, np.array([[41, 30], [40, 30]]), Findings())
