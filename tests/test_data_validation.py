"""Which training images choose a setting: an official split among them, by name, and as part of the data's identity."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from twinbench.data.errors import DataError
from twinbench.data.identity import identify
from twinbench.data.layouts import read_labelled
from twinbench.data.required import read_trial_data
from twinbench.data.source import Source
from twinbench.data.validation import drawn_by_class, official, with_validation
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.datasets import DATA_SETS
from twinbench.suite.expected import TrialData
from twinbench.suite.inputs import Inputs


@pytest.fixture
def voc(tmp_path: Path, scenes: Path) -> Path:
    """VOC2007 whose val is trainval but for every fourth image."""
    root = Path(shutil.copytree(scenes / "VOCdevkit", tmp_path / "VOCdevkit"))
    main = root / "VOC2007" / "ImageSets" / "Main"
    for path in list(main.glob("*trainval.txt")):
        lines = path.read_text().splitlines()
        (main / path.name.replace("trainval", "val")).write_text(
            "\n".join(line for place, line in enumerate(lines) if place % 4) + "\n"
        )
    return root


def test_images_of_the_official_split_are_found_by_their_files(voc: Path) -> None:
    source = Source.of(f"{voc}?train=trainval&test=test&validation=val")
    train = read_labelled("voc", source, "train")
    held = official("voc", source, train)
    assert held is not None
    assert held.tolist() == [index % 4 != 0 for index in range(len(train.paths))]


def test_a_data_sets_own_split_is_taken_where_nothing_is_said() -> None:
    source = with_validation(Source.of("/data/voc"), DATA_SETS["voc07"], wanted=True)
    assert source.named("validation") == "val"
    said = with_validation(Source.of("/data/voc?validation=mine"), DATA_SETS["voc07"], wanted=True)
    assert said.named("validation") == "mine"
    assert with_validation(said, DATA_SETS["voc07"], wanted=False).options == {}
    assert with_validation(Source.of("/data/c"), DATA_SETS["cifar10"], wanted=True).options == {}


def test_a_split_that_is_not_among_the_training_images_is_refused(voc: Path) -> None:
    source = Source.of(f"{voc}?train=val&test=test&validation=trainval")
    with pytest.raises(DataError, match=r"of the \d+ images of trainval are not among the \d+ training images"):
        official("voc", source, read_labelled("voc", source, "train"))


def test_a_split_that_is_all_of_the_training_images_is_refused(voc: Path) -> None:
    source = Source.of(f"{voc}?train=trainval&test=test&validation=trainval")
    with pytest.raises(DataError, match=r"trainval is all of the \d+ training images; expected a part"):
        official("voc", source, read_labelled("voc", source, "train"))


def test_a_split_that_is_not_there_is_refused(voc: Path) -> None:
    source = Source.of(f"{voc}?train=trainval&test=test&validation=nothing")
    with pytest.raises(DataError, match=r"validation split nothing: .*nothing"):
        official("voc", source, read_labelled("voc", source, "train"))


def test_other_images_that_choose_are_other_data(voc: Path) -> None:
    protocol = find_protocol("linear12-byol@mine").with_settings({"penalties": "1,10"})
    source = f"{voc}?train=trainval&test=test&validation=val"
    reads = TrialData(protocol.data_set, "transfer", Inputs(), validated=True)
    before = reads(Source.of(source))
    lists = sorted((voc / "VOC2007" / "ImageSets" / "Main").glob("*val.txt"))
    for path in lists:
        if "trainval" not in path.name:
            path.write_text("\n".join(path.read_text().splitlines()[1:]) + "\n")
    assert reads(Source.of(source)) != before
    unread = TrialData(protocol.data_set, "transfer", Inputs())
    assert unread(Source.of(source)) == unread(Source.of(f"{voc}?train=trainval&test=test"))


def test_a_trial_knows_who_chooses(voc: Path) -> None:
    protocol = find_protocol("linear12-byol@voc07")
    protocol = dataclasses.replace(protocol, data_set=dataclasses.replace(protocol.data_set, classes=10))
    found = read_trial_data(protocol, Source.of(str(voc)))
    assert found.validation is not None
    assert 0 < found.validation.sum() < len(found.validation)
    splits = identify("voc", found.source, task="validated")
    assert set(splits) == {"train", "validation", "test"}


def test_a_share_of_each_class_leaves_none_without() -> None:
    targets = np.repeat([0, 1, 2], [100, 7, 1])
    held = drawn_by_class(targets, 0.1, np.arange(108)[::-1])
    assert np.bincount(targets[held], minlength=3).tolist() == [10, 1, 0]
    assert np.flatnonzero(held).tolist() == [*range(90, 100), 106]  # the first of the order that was given


def test_data_of_several_classes_an_image_have_their_own_headline(voc: Path) -> None:
    with pytest.raises(
        DataError, match=r"multi-label data, of which linear12-byol@mine measures mAP-11, and its headline"
    ):
        read_trial_data(find_protocol("linear12-byol@mine"), Source.of(str(voc)))
