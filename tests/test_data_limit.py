"""A trial run on few images: which they are, that nothing takes it for the whole, and its mark in the table."""

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import twinbench
from twinbench.data.errors import DataError
from twinbench.data.folders.pool import read_pool
from twinbench.data.identity import TASKS, contents
from twinbench.data.layouts import read_labelled
from twinbench.data.limit import places
from twinbench.data.objects.find import find_objects
from twinbench.data.objects.split import Findings
from twinbench.data.pixels.read import read_pixels
from twinbench.data.source import VALIDATION, Source
from twinbench.data.validation import official
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.report import beside
from twinbench.report.files import find
from twinbench.report.result import read_result
from twinbench.report.table import build


@pytest.mark.parametrize(("images", "limit"), [(1000, 10), (17, 5), (7, 6), (1_281_167, 1000)])
def test_places_are_spread_evenly(images: int, limit: int) -> None:
    found = places(images, limit)
    gaps = {after - before for before, after in pairwise(found)}
    assert len(found) == limit
    assert found[-1] < images
    assert max(gaps) - min(gaps) <= 1


def test_a_split_with_fewer_images_is_taken_whole() -> None:
    assert places(4, 9) == [0, 1, 2, 3]
    assert places(0, 9) == []


def test_labelled_images_are_those_places_with_their_labels(scenes: Path) -> None:
    whole = read_labelled("imagenet", Source.of(scenes / "imagenet"), "train")
    part = read_labelled("imagenet", Source.of(f"{scenes}/imagenet?limit=10"), "train")
    rows = places(len(whole.paths), 10)
    assert list(part.paths) == [whole.paths[row] for row in rows]
    assert part.targets.tolist() == whole.targets[rows].tolist()
    assert part.classes == whole.classes


@pytest.mark.parametrize(("layout", "folder"), [("coco", "coco"), ("voc", "VOCdevkit")])
def test_images_with_objects_keep_their_own_annotations(layout: str, folder: str, scenes: Path) -> None:
    whole = find_objects(layout, Source.of(scenes / folder), "train")
    part = find_objects(layout, Source.of(f"{scenes}/{folder}?limit=5"), "train")
    rows = places(len(whole.paths), 5)
    records = list(whole.read(Findings(), ("box",)))
    assert list(part.read(Findings(), ("box",))) == [records[row] for row in rows]
    assert list(part.paths) == [whole.paths[row] for row in rows]
    assert len(part.annotations) == (5 if whole.annotations else 0)


def test_images_with_masks_keep_their_own(scenes: Path) -> None:
    source = Source.of(scenes / "masks")
    whole = read_pixels("", source, "train")
    part = read_pixels("", Source.of(f"{scenes}/masks?limit=3"), "train")
    rows = places(len(whole.paths), 3)
    assert list(part.records()) == [whole.record(row) for row in rows]


@pytest.mark.parametrize(
    ("task", "layout", "folder"),
    [
        ("classification", "imagenet", "imagenet"),
        ("tested", "imagenet", "imagenet"),
        ("detection", "coco", "coco"),
        ("detection", "voc", "VOCdevkit"),
        ("segmentation", "", "masks"),
    ],
)
@pytest.mark.parametrize("limit", [4, 1000])
def test_limited_data_are_never_the_whole(task: str, layout: str, folder: str, limit: int, scenes: Path) -> None:
    whole = contents(layout, Source.of(scenes / folder), task=task)
    part = contents(layout, Source.of(f"{scenes}/{folder}?limit={limit}"), task=task)
    for split in TASKS[task][0]:
        assert part[split].sha256 != whole[split].sha256
        assert part[split].images == min(limit, whole[split].images)


def test_images_that_choose_a_setting_are_among_the_limited_training_images(scenes: Path, tmp_path: Path) -> None:
    root = shutil.copytree(scenes / "VOCdevkit", tmp_path / "VOCdevkit")
    whole = Source.of(f"{root}?train=trainval&test=test")
    names = [path.stem for path in read_labelled("voc", whole, "train").paths]
    lists = root / "VOC2007/ImageSets/Main"
    chosen = [name for place, name in enumerate(names) if place % 4]
    for path in list(lists.glob("*trainval.txt")):
        lines = [line for line in path.read_text().splitlines() if line.split()[0] in chosen]
        (lists / path.name.replace("trainval", "even")).write_text("\n".join(lines) + "\n")
    source = Source.of(f"{root}?train=trainval&test=test&validation=even&limit=7")
    train = read_labelled("voc", source, "train")
    held = official("voc", source, train)
    assert held is not None
    assert held.tolist() == [path.stem in chosen for path in train.paths]
    assert contents("voc", source, task="validated")[VALIDATION].images == len(chosen)


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", "9" * 30, "9" * 5000])
def test_a_limit_is_a_number_of_images(value: str) -> None:
    with pytest.raises(DataError, match="limit=.*; expected a number of images from 1 to 1000000000, such as"):
        Source.of(f"/data?limit={value}")


def test_pretraining_takes_no_limit(scenes: Path) -> None:
    with pytest.raises(DataError, match="limit is for trials; pretraining takes every image"):
        read_pool(Source.of(f"{scenes}/imagenet?limit=3"))


def test_a_limited_trial_is_marked_and_the_whole_one_does_not_take_it_for_its_own(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["transfer", "demo-imagenet-knn", "random", str(scenes / "imagenet"), str(tmp_path), "--device", "cpu"]
    assert twinbench.main([*words, "--limit", "24"]) == 0
    found = read_result(tmp_path / "result.json")
    assert found.limit == 24
    assert found.images == {"train": 24, "test": 20}
    assert twinbench.main([*words, "--partial"]) == 2
    assert "on other data" in capsys.readouterr().err
    assert twinbench.main([*words, "--limit", "0"]) == 2
    assert capsys.readouterr().err == "twinbench transfer: --limit 0: expected a number of images from 1\n"


def test_a_limited_number_has_a_column_of_its_own_and_no_published_one_beside_it(tmp_path: Path, write) -> None:
    write(tmp_path, "whole", "voc07-svm", [50.0])
    write(tmp_path, "tried", "voc07-svm", [90.0], limit=20, data_sha256="e" * 64)
    table = beside.add(build(find([tmp_path])), beside.Options(published=True, source=""))
    columns = {method: [c for c in table.columns if table.cell(method, c).values] for method in ("whole", "tried")}
    (whole,), (tried,) = columns["whole"], columns["tried"]
    assert whole != tried
    assert not table.cell("tried", tried).comparable
    assert [text for _, text in table.footnotes if text.startswith("limited")] == [
        "limited: a trial run on at most 20 images of each split, no result of the protocol"
    ]
    shown = [method for method in table.published if table.cell(method, tried).values]
    assert shown == []
    assert any(table.cell(method, whole).values for method in table.published)
    assert PROTOCOLS["voc07-svm"].metric == tried.metric


def test_targets_of_several_labels_are_limited_after_both_sides_are_proven(scenes: Path) -> None:
    part = read_labelled("voc", Source.of(f"{scenes}/VOCdevkit?limit=2"), "train")
    assert part.targets.shape[0] == 2
    assert np.isin(part.targets, (-1, 0, 1)).all()
