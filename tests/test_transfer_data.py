"""Data as people have them, through the commands: equal numbers where only the form differs, one line where not."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import twinbench
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.transfer.features import FeatureError, require_spread
from twinbench.transfer.lowshot import LowShotError, draw_samples, evaluate_low_shot
from twinbench.transfer.metrics import precision_areas
from twinbench.transfer.svm import SvmError, choose_solver

LOW_SHOT = PROTOCOLS["demo-voc07-svm-lowshot"].recipe


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Ten classes of four training images and one of val, PNG, in class folders."""
    root, draw = tmp_path_factory.mktemp("folders"), np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 1)):
        for k in range(10):
            (root / split / f"class{k}").mkdir(parents=True)
            for i in range(count):
                pixels = draw.integers(0, 80, (64, 64)) + 15 * k
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / f"class{k}" / f"{split}{k}_{i}.png")
    return root


@pytest.fixture(scope="module")
def expected(folders, tmp_path_factory):
    """The numbers of these folders."""
    return knn(folders, tmp_path_factory.mktemp("expected"))


def knn(data, out):
    arguments = ["--set", "neighbors=1,20", "--workers", "0", "--device", "cpu", "--partial"]
    assert twinbench.main(["transfer", "demo-imagenet-knn", "random", str(data), str(out), *arguments]) == 0
    return json.loads((out / "result.json").read_text())["metrics"]


def copied(folders, root):
    return Path(shutil.copytree(folders, root / "data"))


def deeper(root):
    for path in list(root.glob("train/*/*_0.png")):
        (path.parent / "more").mkdir()
        path.rename(path.parent / "more" / path.name)


def littered(root):
    for folder in ("train", "val"):
        (root / folder / ".ipynb_checkpoints").mkdir()
        shutil.copy(root / "val/class0/val0_0.png", root / folder / ".ipynb_checkpoints" / "val0_0-checkpoint.png")
        (root / folder / "class1" / "._x.png").write_bytes(b"")


def flat(root):
    for path in list(root.glob("val/class*/*")):
        path.rename(root / "val" / path.name)
    for k in range(10):
        (root / "val" / f"class{k}").rmdir()
    (root / "val.txt").write_text("".join(f"{k}\n" for k in range(10)))


def in_16_bits(root):
    for path in root.rglob("*.png"):
        Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) * 257).save(path)


@pytest.mark.parametrize("change", [deeper, littered, flat, in_16_bits])
def test_the_form_of_the_data_changes_no_number(folders, expected, tmp_path, change):
    data = copied(folders, tmp_path)
    change(data)
    assert knn(data, tmp_path / "out") == expected


def test_what_is_left_out_of_a_run_is_said(folders, tmp_path, caplog):
    data = copied(folders, tmp_path)
    (data / "train/class3/more.gif").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        knn(data, tmp_path / "out")
    assert f"{data}: of the train split left out: 1 files that are no images by their suffix" in caplog.text


def test_some_flat_images_are_counted_and_all_flat_are_refused(folders, tmp_path, caplog, capsys):
    data = copied(folders, tmp_path)
    paths = sorted(data.glob("train/*/*"))
    Image.new("L", (64, 64), 9).save(paths[3])
    with caplog.at_level(logging.WARNING):
        knn(data, tmp_path / "some")
    assert "1 of 40 images are one colour all over" in caplog.text
    for number, path in enumerate(paths):
        Image.new("L", (64, 64), number).save(path)
    arguments = ["demo-imagenet-knn", "random", str(data), str(tmp_path / "all"), "--partial", "--workers", "0"]
    assert twinbench.main(["transfer", *arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"{data}: each of the 40 training images is one colour all over" in error


def test_classes_other_than_the_protocols_name_the_way_that_runs(folders, tmp_path, capsys):
    data = copied(folders, tmp_path)
    for folder in (*data.glob("train/class[5-9]"), *data.glob("val/class[5-9]")):
        shutil.rmtree(folder)
    arguments = [str(data), str(tmp_path / "out"), "--set", "neighbors=1,20", "--workers", "0", "--device", "cpu"]
    assert twinbench.main(["transfer", "demo-imagenet-knn", "random", *arguments]) == 2
    assert "or name your own data: demo-imagenet-knn@NAME" in capsys.readouterr().err
    assert twinbench.main(["transfer", "demo-imagenet-knn@own", "random", *arguments]) == 0


def test_pretraining_needs_neither_classes_nor_val(folders, tmp_path, caplog):
    data = tmp_path / "pool"
    data.mkdir()
    for path in folders.glob("train/*/*"):
        shutil.copy(path, data)
    tiny = ["--recipe", "demo", "--device", "cpu", "--precision", "fp32", "--workers", "0"]
    tiny += [f"--set={pair}" for pair in ("width=0.0625", "epochs=1", "batch_size=8", "projector=16,16", "crop=16")]
    assert twinbench.main(["pretrain", str(data), str(tmp_path / "out"), *tiny]) == 0
    assert json.loads((tmp_path / "out/pretrain.json").read_text())["images"] == 40


# Classes without a positive or without a negative; features that do not differ


@pytest.mark.parametrize("curve", ["envelope", "step"])
@pytest.mark.parametrize("positive", [[True, True, True], [False, False, False], [True, True, False]])
def test_one_sided_columns_have_no_average_precision(curve, positive):
    counts = torch.tensor([[True], [True], [False]])
    found = precision_areas(torch.tensor([[3.0], [2.0], [1.0]]), torch.tensor(positive)[:, None], counts, curve)
    assert found.isnan().all()


@pytest.fixture
def shots():
    """Features and targets of 40 training and 20 test rows and two classes."""
    draw = np.random.default_rng(0)
    targets = np.stack([np.arange(40) % 2, (np.arange(40) + 1) % 2], axis=1).astype(np.int8)
    return (
        draw.normal(size=(40, 8)).astype(np.float32),
        targets,
        draw.normal(size=(20, 8)).astype(np.float32),
        targets[:20],
    )


@pytest.mark.parametrize(("label", "what"), [(1, "test negatives"), (0, "test positives"), (-1, "test positives")])
def test_low_shot_refuses_a_one_sided_test_class(shots, label, what):
    train_x, train_y, test_x, test_y = shots
    test_y = test_y.copy()
    test_y[:, 1] = label
    recipe = replace(LOW_SHOT, shots=(2,), samples=1)
    with pytest.raises(SvmError, match=f"class 1 has 0 {what}"):
        evaluate_low_shot(
            train_x,
            train_y,
            test_x,
            test_y,
            draw_samples(train_y, (2,), 1, 0),
            recipe=recipe,
            solver=choose_solver("batched", recipe),
        )


def test_low_shot_refuses_a_sample_without_negatives(shots):
    """Of one class alone k (K - 1) is no negative."""
    train_x, train_y, test_x, test_y = shots
    recipe = replace(LOW_SHOT, shots=(2,), samples=1)
    drawn = draw_samples(train_y[:, :1], (2,), 1, 0)
    solver = choose_solver("batched", recipe)
    with pytest.raises(LowShotError, match="sample 1, class 0: 0 negatives drawn; expected at least one of each"):
        evaluate_low_shot(train_x, train_y[:, :1], test_x, test_y[:, :1], drawn, recipe=recipe, solver=solver)


def test_constant_features_are_refused_whatever_the_rounding():
    features = np.tile(np.random.default_rng(0).random(64, np.float32), (50, 1))
    features[7] *= np.float32(1 + 1e-7)
    with pytest.raises(FeatureError, match="test features: the same numbers for each of 50 images"):
        require_spread(features, "test features")


def test_one_row_that_differs_is_spread():
    features = np.ones((50, 8), np.float32)
    features[49, 3] = 1.001
    require_spread(features, "test features")
