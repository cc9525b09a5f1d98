"""`twinbench data check` of any source: by the name of a data set, or without, as own data."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from PIL import Image

from twinbench import main
from twinbench.data.checking.checks import check
from twinbench.data.errors import DataError
from twinbench.data.labelled import LabelledImages
from twinbench.data.layouts import read_labelled
from twinbench.data.source import FORMS, Form, Source
from twinbench.protocols.datasets import DATA_SETS, About, DataSet, OtherCopy


def write_images(folder: Path, colours: dict[str, tuple[int, int, int]]) -> None:
    """Write small pictures, each half black and half of its colour."""
    for name, colour in colours.items():
        picture = Image.new("RGB", (8, 8), colour)
        picture.paste((0, 0, 0), (0, 0, 4, 8))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(folder / name)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Two classes, two training images and one test image of each, all different."""
    root = tmp_path / "own"
    for number, split in enumerate(("train/{}/1.png", "train/{}/2.png", "test/{}/3.png")):
        for label, name in enumerate(("cat", "dog")):
            write_images(root, {split.format(name): (40 * number + 50, 90 * label + 20, 200)})
    return root


def entry_like(like: str, **changes: object) -> DataSet:
    """Return an entry of the registry, changed."""
    return dataclasses.replace(DATA_SETS[like], **changes)


def test_own_data_need_no_name(own: Path) -> None:
    report = check("", own, processes=1)
    assert (report.complete, report.counts) == (True, {"train": 4, "classes": 2, "val": 2})


def test_own_data_are_called_usable(own: Path) -> None:
    assert check("", own, processes=1).as_text().startswith(f"imagenet layout at {own}: usable (expected: nothing")


def test_a_data_set_of_the_registry_is_held_against_its_counts(own: Path, monkeypatch) -> None:
    monkeypatch.setitem(DATA_SETS, "pair", entry_like("birdsnap", name="pair", classes=2, images=(4, 3)))
    (problem,) = check("pair", own, processes=1).problems
    assert problem.examples == ["test: 2, expected 3"]


def test_the_users_own_files_bring_data_sets(own: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "mine.yaml").write_text(
        "data_sets:\n  checked-pair: {tasks: single-label, classes: 2, images: [4, 2]}\n"
    )
    monkeypatch.setitem(DATA_SETS, "checked-pair", DATA_SETS["voc07"])  # so that it is gone after the test
    del DATA_SETS["checked-pair"]
    monkeypatch.setenv("TWINBENCH_PROTOCOLS", str(tmp_path / "mine.yaml"))
    assert main(["data", "check", "checked-pair", str(own)]) == 0
    assert "complete (expected: its entry)" in capsys.readouterr().out


def test_a_known_other_copy_is_named(own: Path, monkeypatch) -> None:
    about = About(others=(OtherCopy((4, 2), "a mirror that lost one image"),))
    monkeypatch.setitem(DATA_SETS, "pair", entry_like("birdsnap", name="pair", classes=2, images=(5, 2), about=about))
    assert check("pair", own, processes=1).notes == ("these counts are known: a mirror that lost one image",)


def test_own_data_with_a_published_set_s_counts_are_told(own: Path, monkeypatch) -> None:
    published = entry_like("birdsnap", name="pair", classes=2, images=(4, 2))
    monkeypatch.setattr("twinbench.data.checking.checked.PUBLISHED", (published,))
    assert check("", own, processes=1).notes == ("these are the counts of pair, Birdsnap: check it by that name",)


def test_an_image_in_both_splits_is_counted(own: Path) -> None:
    shutil.copy(own / "train" / "cat" / "1.png", own / "test" / "cat" / "copy.png")
    assert check("", own, processes=1).in_both == 1


def test_an_image_twice_in_one_split_is_not_in_both(own: Path) -> None:
    shutil.copy(own / "train" / "cat" / "1.png", own / "train" / "dog" / "copy.png")
    assert check("", own, processes=1).in_both == 0


def test_two_processes_find_the_same_repeats(scenes: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(scenes / "imagenet", tmp_path / "imagenet"))
    copied = sorted((root / "train").rglob("*.JPEG"))[::10]
    for number, path in enumerate(copied):
        shutil.copy(path, root / "val" / path.parent.name / f"copy{number}.JPEG")
    assert [check("", root, processes=number).in_both for number in (1, 2)] == [len(copied)] * 2


def test_headers_alone_do_not_tell_repeats(own: Path) -> None:
    assert check("", own, fast=True).in_both is None


def test_repeats_are_told_and_are_no_problem(own: Path) -> None:
    shutil.copy(own / "train" / "cat" / "1.png", own / "test" / "cat" / "copy.png")
    report = check("", own, processes=1)
    assert report.complete
    assert "test images that are training images, too, byte for byte: 1" in report.as_text()


def test_what_is_left_out_is_counted_and_told(own: Path) -> None:
    (own / "train" / "cat" / "notes.txt").write_text("x")
    (own / "train" / ".ipynb_checkpoints").mkdir()
    report = check("", own, processes=1)
    assert sum((report.left_out or {}).values()) == 2
    assert "left out, train: files that are no images by their suffix: 1" in report.as_text()


def test_some_images_of_one_colour_are_counted(own: Path) -> None:
    Image.new("RGB", (8, 8), (9, 9, 9)).save(own / "train" / "cat" / "flat.png")
    report = check("", own, processes=1)
    assert (report.complete, report.constant) == (True, 1)


@pytest.mark.parametrize("fast", [True, False])
def test_a_split_of_images_of_one_colour_is_a_problem(own: Path, fast: bool) -> None:
    for path in (own / "test").rglob("*.png"):
        Image.new("RGB", (8, 8), (9, 9, 9)).save(path)
    (problem,) = check("", own, fast, processes=1).problems
    assert problem.kind == "constant images"


def test_a_source_with_options_is_checked_as_it_is_run(own: Path) -> None:
    (own / "train").rename(own / "learn")
    report = check("", f"{own}?train=learn", processes=1)
    assert (report.complete, report.counts["train"]) == (True, 4)


def test_a_form_is_checked_by_its_reader(own: Path, monkeypatch) -> None:
    def read(source: Source, split: str) -> LabelledImages:
        return read_labelled("imagenet", source.path, split)

    monkeypatch.setitem(FORMS, "copy", Form("copy:FOLDER", "a copy", read))  # type: ignore[arg-type]
    report = check("", f"copy:{own}", processes=1)
    assert (report.layout, report.counts) == ("copy", {"train": 4, "classes": 2, "test": 2})


def test_a_set_s_usual_copy_is_read_by_its_form(own: Path, monkeypatch) -> None:
    def read(source: Source, split: str) -> LabelledImages:
        return read_labelled("imagenet", source.path.parent / source.path.name, split)

    monkeypatch.setitem(FORMS, "copy", Form("copy:FOLDER", "a copy", read))  # type: ignore[arg-type]
    hidden = own.with_name("hidden")
    about = About(form=f"copy:{own}")
    hidden.mkdir()
    monkeypatch.setitem(DATA_SETS, "pair", entry_like("birdsnap", name="pair", classes=2, images=(4, 2), about=about))
    assert check("pair", hidden, processes=1).complete


def test_one_sided_classes_are_a_problem(scenes: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(scenes / "VOCdevkit", tmp_path / "VOCdevkit"))
    for path in (root / "VOC2007" / "ImageSets" / "Main").glob("*_trainval.txt"):
        path.write_text(path.read_text().replace(" -1", "  0"))
    for name in ("", "voc07"):
        (problem, *_) = check(name, root, fast=True).problems
        assert "-1" in problem.examples[0]


def test_own_data_in_voc_s_layout_need_no_annotations(scenes: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(scenes / "VOCdevkit", tmp_path / "VOCdevkit"))
    shutil.rmtree(root / "VOC2007" / "Annotations")
    assert check("", root, fast=True).complete


def test_annotations_of_own_data_are_read_where_there_are_some(scenes: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(scenes / "VOCdevkit", tmp_path / "VOCdevkit"))
    path = root / "VOC2007" / "Annotations" / "000003.xml"
    path.write_text("<annotation>")
    (problem,) = check("", root, fast=True).problems
    assert problem.kind == "annotations"


def test_boxes_alone_are_seen_from_the_folder(scenes: Path) -> None:
    report = check("", scenes / "coco", fast=True)
    assert (report.complete, report.layout) == (True, "coco layout")


def test_images_to_pretrain_on_need_no_labels(own: Path) -> None:
    write_images(own, {"loose.png": (1, 2, 200)})
    shutil.rmtree(own / "test")
    (own / "train").rename(own / "photographs")
    report = check("pool", own, processes=1)
    assert (report.complete, report.counts) == (True, {"train": 5})


def test_a_folder_without_a_layout_names_the_check_of_a_pool(tmp_path: Path) -> None:
    write_images(tmp_path, {"loose.png": (1, 2, 200)})
    with pytest.raises(DataError, match="to pretrain on: twinbench data check pool "):
        check("", tmp_path)


def test_a_test_only_set_is_its_class_folders(own: Path, monkeypatch) -> None:
    monkeypatch.setitem(DATA_SETS, "sibling", entry_like("imagenet-r", name="sibling", classes=2, images=(0, 2)))
    report = check("sibling", own / "test", processes=1)
    assert (report.complete, report.counts) == (True, {"test": 2, "classes": 2})


def test_a_subset_needs_its_list(scenes: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(scenes / "imagenet", tmp_path / "imagenet"))
    (root / "scenes.json").unlink()
    (root / "1percent.txt").unlink()
    report = check("imagenet-1pct", root, fast=True)
    assert "  1percent.txt             0 of 12,811" in report.as_text().splitlines()


def test_an_unknown_form_is_one_line(capsys) -> None:
    assert main(["data", "check", "nothing:here"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
