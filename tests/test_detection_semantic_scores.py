"""mIoU against a loop over pixels, torchmetrics, hotcoco and MMSegmentation's formula; a killed count goes on."""

import numpy as np
import pytest
import torch
from hotcoco.semantic import SemanticEval
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from twinbench.data.objects.packed import Records
from twinbench.data.pixels.pairs import UNLABELLED
from twinbench.detection.semantic import evaluate
from twinbench.detection.semantic.evaluate import confusions
from twinbench.runtime.confusion import cells_of, confusion, scores_of, table_of
from twinbench.runtime.process import Process

CLASSES = 6
NAMES = [f"class {number}" for number in range(CLASSES)]


def label_maps(seed, absent=()):
    """Return true and predicted classes of a few images of several sizes, with pixels that have no label."""
    rng = np.random.default_rng(seed)
    present = [number for number in range(CLASSES) if number not in absent]
    images = []
    for _ in range(4):
        size = tuple(rng.integers(20, 40, 2))
        truth = rng.choice(present, size)
        predicted = np.where(rng.random(size) < 0.6, truth, rng.choice(present, size))
        truth[rng.random(size) < 0.1] = UNLABELLED
        images.append((truth, predicted))
    return images


def table(images):
    return sum(confusion(truth, predicted, CLASSES) for truth, predicted in images)


def test_a_table_counts_pixels_by_true_and_predicted_class():
    truth = np.array([[0, 1, UNLABELLED], [1, 2, 1]])
    predicted = np.array([[0, 2, 2], [1, 2, 0]])
    assert confusion(truth, predicted, 3).tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 1]]


def test_a_known_answer():
    scores = scores_of(np.array([[3, 1], [2, 4]]), ["a", "b"])
    assert scores.metrics == pytest.approx(
        {"aAcc": 70.0, "mAcc": 100 * (3 / 4 + 4 / 6) / 2, "mIoU": 100 * (3 / 6 + 4 / 7) / 2}, abs=1e-9
    )
    assert scores.per_class["IoU"] == pytest.approx({"a": 50.0, "b": 400 / 7}, abs=1e-9)
    assert scores.per_class["Acc"] == pytest.approx({"a": 75.0, "b": 400 / 6}, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_numbers_are_torchmetrics(seed):
    images = label_maps(seed)
    iou = MulticlassJaccardIndex(CLASSES, average="none", ignore_index=UNLABELLED).double()
    accuracy = MulticlassAccuracy(CLASSES, average="none", ignore_index=UNLABELLED).double()
    for truth, predicted in images:
        for metric in (iou, accuracy):
            metric.update(torch.as_tensor(predicted).flatten(), torch.as_tensor(truth).flatten())
    scores = scores_of(table(images), NAMES)
    # torchmetrics divides in float32
    assert list(scores.per_class["IoU"].values()) == pytest.approx((100 * iou.compute()).tolist(), rel=1e-6)
    assert list(scores.per_class["Acc"].values()) == pytest.approx((100 * accuracy.compute()).tolist(), rel=1e-6)


@pytest.mark.parametrize("absent", [(), (2,), (0, 5)])
def test_the_numbers_are_hotcocos_and_mmsegmentations_nan_mean(absent):
    images = label_maps(7, absent)
    theirs = SemanticEval(NAMES)
    for truth, predicted in images:
        theirs.update(np.where(truth == UNLABELLED, 255, truth).astype(np.uint8), predicted.astype(np.uint8))
    theirs.summarize()
    scores = scores_of(table(images), NAMES)
    expected = theirs.report()["metrics"]
    for name in ("mIoU", "mAcc", "aAcc"):
        assert scores.metrics[name] == pytest.approx(100 * expected[name], abs=1e-9), name


@pytest.mark.parametrize("absent", [(), (3,)])
def test_the_numbers_are_those_of_a_loop_over_classes(absent):
    images = label_maps(11, absent)
    truth = np.concatenate([truth.ravel() for truth, _ in images])
    predicted = np.concatenate([predicted.ravel() for _, predicted in images])
    truth, predicted = truth[truth != UNLABELLED], predicted[truth != UNLABELLED]
    ious = []
    for number in range(CLASSES):
        union = ((truth == number) | (predicted == number)).sum()
        if union:
            ious.append(((truth == number) & (predicted == number)).sum() / union)
    assert scores_of(table(images), NAMES).metrics["mIoU"] == pytest.approx(100 * np.mean(ious), abs=1e-9)


def test_a_class_without_a_test_pixel_is_left_out_and_said():
    scores = scores_of(np.array([[5, 0, 0], [0, 5, 0], [0, 0, 0]]), ["a", "b", "c"])
    assert scores.metrics["mIoU"] == 100
    assert scores.per_class["IoU"] == {"a": 100, "b": 100}
    assert scores.notes[0].startswith("no test pixel of c: left out of mAcc")


def test_a_class_that_pixels_are_wrongly_taken_for_counts_as_0():
    scores = scores_of(np.array([[4, 0, 1], [0, 5, 0], [0, 0, 0]]), ["a", "b", "c"])
    assert scores.metrics["mIoU"] == pytest.approx((80 + 100 + 0) / 3, abs=1e-9)
    assert scores.metrics["mAcc"] == pytest.approx((80 + 100) / 2, abs=1e-9)


def test_images_counts_add_up_to_one_table():
    images = label_maps(0)
    cells = [cells_of(confusion(truth, predicted, CLASSES)) for truth, predicted in images]
    assert np.array_equal(table_of(cells, CLASSES), table(images))


@pytest.fixture
def counted(monkeypatch):
    """Count with a network that needs no weights: each image is done by its number, and noted."""
    done = []

    def found(config, model, records, decode, share, process, workers):
        for index in share:
            done.append(index)
            table = np.zeros((2, 2), int)
            table[index % 2, 0] = index + 1
            yield index, table

    monkeypatch.setattr(evaluate, "_found", found)
    return done


def count(folder, images=5, owner="mine", process=None):
    records = Records.of([{"width": 1, "height": 1} for _ in range(images)])
    return confusions(None, None, records, None, folder, {"model": owner}, process or Process(), 0)


def test_a_killed_count_goes_on_with_the_images_that_are_missing(counted, tmp_path):
    whole = count(tmp_path)
    path = tmp_path / "rank0.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3]) + lines[3][:9])  # the owner, two images, and half of the third
    counted.clear()
    assert count(tmp_path) == whole
    assert counted == [2, 3, 4]


def test_what_another_number_of_processes_has_counted_is_not_counted_again(counted, tmp_path):
    whole = count(tmp_path)
    (tmp_path / "rank0.jsonl").rename(tmp_path / "rank3.jsonl")
    counted.clear()
    assert count(tmp_path) == whole
    assert counted == []


def test_the_counts_of_another_model_are_no_counts(counted, tmp_path):
    count(tmp_path, owner="another")
    counted.clear()
    count(tmp_path)
    assert counted == [0, 1, 2, 3, 4]
