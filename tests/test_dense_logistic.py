"""Logistic regression on patches: against scikit-learn and torch, ties, what trains, mistakes, kills."""

import logging
import shutil
from dataclasses import fields

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import jaccard_score
from sklearn.preprocessing import StandardScaler

from tests.patch_colours import CLASSES, GRAIN, SIDE, Colours, asked, killed_at, striped, write_masks, write_noise
from twinbench.convert.convention import IMAGENET_MEAN, IMAGENET_STD
from twinbench.data.pixels.matrix import MATRIX
from twinbench.dense.held_out import split
from twinbench.dense.logistic import fits, trial
from twinbench.dense.nearest import bank, patches, votes
from twinbench.dense.options import Options
from twinbench.dense.places import DenseError
from twinbench.dense.trial import PICTURE, measure
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.house import SettingError
from twinbench.protocols.patches_logistic import ADE20K_LOGREG_CAPI
from twinbench.runtime import memory
from twinbench.solver.softmax import Softmax
from twinbench.solver.softmax_check import objective
from twinbench.solver.softmax_fit import Fit

NAME = "ade20k-logreg-capi"


@pytest.fixture(autouse=True)
def colours(monkeypatch):
    monkeypatch.setattr(patches, "Places", Colours)


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    return write_noise(tmp_path_factory.mktemp("noise"))


@pytest.fixture(scope="module")
def whole(noise, tmp_path_factory):
    """Return the result of a trial that nothing disturbs, with three images a piece of the bank."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(patches, "Places", Colours)
        patched.setattr(bank, "IMAGES", 3)
        return measure(asked(noise, tmp_path_factory.mktemp("whole"), NAME))


# ------------------------------------------------------------------------------------- by scikit-learn and torch alone


def read(root, name):
    """Yield each image's patches as mean colours (16, 3), and their labels (16, 64), -1 for none, as CAPI's 0."""
    for path in sorted((root / "images" / name).iterdir()):
        pixels = (np.asarray(Image.open(path)) / 255.0 - IMAGENET_MEAN) / IMAGENET_STD
        mask = np.asarray(Image.open(root / "masks" / name / path.name)).astype(int)
        cells = pixels.reshape(SIDE // GRAIN, GRAIN, SIDE // GRAIN, GRAIN, 3).mean((1, 3)).reshape(-1, 3)
        labels = torch.tensor(np.where(mask == 255, -1, mask))
        yield cells, labels.unfold(0, GRAIN, GRAIN).unfold(1, GRAIN, GRAIN).reshape(-1, GRAIN**2)


class Theirs:
    """What the source computes, of images in their order, with scikit-learn's solver at its minimum."""

    def __init__(self, root, every=1, *, standardize=True):
        train, self.test = list(read(root, "train")), list(read(root, "val"))
        kept, held = split(len(train), 0.25, 0, "the penalty")
        self.kept, self.held, self.every = [train[i] for i in kept], [train[i] for i in held], every
        scaler = StandardScaler().fit(np.concatenate([x for x, _ in self.kept]))
        self.scaled = scaler.transform if standardize else np.asarray

    def rows(self, images):
        x = self.scaled(np.concatenate([x for x, _ in images]))[:: self.every]
        y = torch.cat([labels for _, labels in images])[:: self.every].mode(1).values.numpy()
        return x[y >= 0], y[y >= 0]

    def fit(self, images, penalty):
        return LogisticRegression(C=penalty, tol=1e-10, max_iter=100_000).fit(*self.rows(images))

    def miou(self, machine, images):
        truth = torch.cat([labels for _, labels in images]).numpy()
        found = machine.predict(self.scaled(np.concatenate([x for x, _ in images])))[:, None].repeat(GRAIN**2, 1)
        return 100 * jaccard_score(truth[truth >= 0], found[truth >= 0], average="macro")

    def tried(self):
        return [self.miou(self.fit(self.kept, c), self.held) for c in ADE20K_LOGREG_CAPI.penalties]

    def last(self, penalty):
        return self.fit(self.kept + self.held, penalty)


@pytest.mark.parametrize("settings", [{}, {"every": 3}, {"standardize": False}], ids=str)
def test_it_is_what_scikit_learn_and_torch_say(noise, tmp_path, settings):
    theirs = Theirs(noise, **settings)
    tried = theirs.tried()
    best = ADE20K_LOGREG_CAPI.penalties[int(np.argmax(tried))]
    result = measure(asked(noise, tmp_path, NAME, **settings))
    assert [value for _, value in result.curves["on images held out"]] == pytest.approx(tried, abs=1e-9)
    assert result.details["penalty"] == best
    assert result.metrics["mIoU"] == pytest.approx(theirs.miou(theirs.last(best), theirs.test), abs=1e-9)
    assert result.details["chosen_on"] == "3 training images"
    assert result.converged
    assert [each["converged"] for each in result.details["tried"]] == [True] * 8


def kept_fits(noise, out, monkeypatch, **settings):
    """Return the fits of a trial by the penalty's number, and the last one."""
    found = {}
    monkeypatch.setattr(fits, "_write", lambda path, owner, made: found.update({path.stem: made}))
    measure(asked(noise, out, NAME, **settings))
    return found


def test_each_fit_is_at_scikit_learns_minimum(noise, tmp_path, monkeypatch):
    theirs, found = Theirs(noise), kept_fits(noise, tmp_path, monkeypatch)
    x, y = (torch.from_numpy(part) for part in theirs.rows(theirs.kept))
    ones = torch.ones(len(x))
    assert len(x) > 100
    for penalty, ours in zip(ADE20K_LOGREG_CAPI.penalties, found["tried"], strict=True):
        machine = theirs.fit(theirs.kept, penalty)
        least = objective(x, y, ones, torch.tensor(machine.coef_), torch.tensor(machine.intercept_), 1 / penalty)
        reached = objective(x, y, ones, torch.tensor(ours.weights.T), torch.tensor(ours.biases), 1 / penalty)
        assert reached - least < 1e-7 * len(x) * np.log(CLASSES)  # of what there was to gain
        assert ours.converged


def test_two_classes_have_one_column_of_weights_as_in_scikit_learn(tmp_path, monkeypatch):
    draw = np.random.default_rng(3)
    pairs = [striped(*draw.integers(0, 2, 4)) for _ in range(8)]
    noisy = [(np.clip(image + draw.normal(0, 160, image.shape), 0, 255), mask) for image, mask in pairs]
    data = write_masks(tmp_path / "data", noisy, noisy[:1])
    theirs, found = Theirs(data), kept_fits(data, tmp_path / "out", monkeypatch)
    machine = theirs.fit(theirs.kept, ADE20K_LOGREG_CAPI.penalties[3])
    ours = found["tried"][3]
    np.testing.assert_allclose(ours.weights[:, 1] - ours.weights[:, 0], machine.coef_[0], rtol=1e-3)
    assert ours.biases[2] == -np.inf


# ------------------------------------------------------------------------------------------------------- what trains


def test_a_patchs_class_is_torchs_mode_with_no_label_below_all_classes():
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 6, (400, 8)))  # 5: no label
    expected = torch.where(labels == 5, -1, labels).mode(dim=1).values
    found = votes.modes(labels, 5)
    assert torch.equal(torch.where(found == 5, -1, found), expected)
    assert votes.modes(torch.tensor([[2, 1, 1, 2], [3, 3, 0, 0], [5, 5, 0, 0]]), 5).tolist() == [1, 0, 5]


def test_each_so_manieth_patch_is_counted_over_all_images_and_then_those_without_a_label_are_left_out():
    draw = torch.Generator().manual_seed(0)
    labels, order = torch.randint(0, 3, (5, 7, 4), generator=draw), [4, 1, 0, 3, 2]  # 2: no label
    together = torch.cat([labels[image] for image in order])[::3]
    expected = together[votes.modes(together, 2) != 2]
    places = {image: place for place, image in enumerate(order)}
    found = [labels[i][trial.taken((0, i), labels[i], classes=2, every=3, places=places)] for i in order]
    assert torch.equal(torch.cat(found), expected)


def test_a_class_that_no_patch_shows_is_never_answered(tmp_path):
    data = write_masks(tmp_path / "data", [striped(0, 1), striped(1, 0)] * 2, [striped(0, 2), striped(1)])
    result = measure(asked(data, tmp_path / "out", NAME))
    assert result.details["per_class"]["IoU"]["blue"] == 0.0
    assert result.details["per_class"]["Acc"]["red"] == 100.0


# ----------------------------------------------------------------------------------------------------------- mistakes


def test_one_class_is_nothing_to_learn(tmp_path):
    image, mask = striped(1)
    mask[0, 0] = 2
    data = write_masks(tmp_path / "data", [(image, mask)] * 4, [striped(1)])
    with pytest.raises(
        DenseError, match="bank: the 48 patches that train show 1 class; expected two at least; use mor"
    ):
        measure(asked(data, tmp_path / "out", NAME))


def test_no_image_to_choose_on_is_told(noise, tmp_path):
    with pytest.raises(DenseError, match="held_out=0.05: 0 of 12 training images would choose the penalty"):
        measure(asked(noise, tmp_path / "out", NAME, held_out=0.05))
    assert not (tmp_path / "out").exists()


def test_memory_that_is_not_there_is_told_before_a_fit(noise, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(fits, "free_memory", lambda device: 2000)
    words = (
        "logistic regression on 192 patches of 3 numbers takes 0.00 GB of memory, of which 0.00 GB are free on cpu; "
    )
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(DenseError, match=f"^{words}expected as much; use --set every"),
    ):
        measure(asked(noise, tmp_path, NAME))
    assert "on at most 192 patches of 3 numbers takes" in caplog.text
    assert {path.name for path in tmp_path.iterdir()} == {"data", "bank"}


def test_what_solving_takes_counts_rows_scores_and_what_a_step_moves():
    assert Softmax(dtype=torch.float64).peak_bytes(1000, 64, 2) == 1000 * 64 * 4 * 8
    assert Softmax(dtype=torch.float64).peak_bytes(1000, 8, 150) == 1000 * (8 * 3 + 150 * 5) * 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"penalties": "0,1"}, "penalties=0.0,1.0: expected different numbers above 0"),
        ({"every": "0"}, "every=0: expected"),
        ({"penalty": "ridge"}, "penalty"),
        ({"held_out": "1"}, "held_out=1.0: expected a number above 0 and below 1"),
    ],
)
def test_settings_that_no_run_can_mean_are_told(settings, message):
    with pytest.raises(SettingError, match=message):
        find_protocol(NAME).with_settings(settings)


# ------------------------------------------------------------------------------------------------------------- memory


def test_free_memory_is_the_least_that_the_machine_and_each_control_group_leave(tmp_path, monkeypatch):
    for name, path in (("MACHINE", "meminfo"), ("OWN", "cgroup"), ("GROUPS", "groups")):
        monkeypatch.setattr(memory, name, tmp_path / path)
    assert memory.free_memory("cpu") is None
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:  8000 kB\n")
    assert memory.free_memory("cpu") == 8000 * 1024
    job = tmp_path / "groups" / "slurm" / "job"
    job.mkdir(parents=True)
    (tmp_path / "cgroup").write_text("1:name=old:/elsewhere\n0::/slurm/job\n")
    (job / "memory.max").write_text("max\n")
    (job.parent / "memory.max").write_text("5000000\n")
    (job.parent / "memory.stat").write_text("anon 2000000\nfile 2500000\n")
    assert memory.free_memory("cpu") == 3_000_000


# -------------------------------------------------------------------------------------------------------------- kills


@pytest.mark.parametrize(
    ("owner", "method", "call", "fitted"),
    [
        (bank.Bank, "write", 3, 2),
        (fits.Fitting, "_turned", 1, 2),
        (fits.Fitting, "_turned", 2, 1),
        (trial, "standardized", 2, 1),
        (trial, "standardized", 5, 0),
    ],
)
def test_a_killed_run_ends_with_the_same_numbers(noise, whole, tmp_path, monkeypatch, owner, method, call, fitted):
    monkeypatch.setattr(bank, "IMAGES", 3)
    with monkeypatch.context() as patched:
        killed_at(patched, owner, method, call)
        with pytest.raises(KeyboardInterrupt):
            measure(asked(noise, tmp_path / "killed", NAME))
    made = killed_at(monkeypatch, fits.Fitting, "_turned", -1)
    again = measure(asked(noise, tmp_path / "killed", NAME))
    assert made[0] == fitted
    assert again.metrics == whole.metrics
    assert again.curves == whole.curves
    assert again.details["gradient"] == whole.details["gradient"]
    assert {path.name for path in (tmp_path / "killed").iterdir()} == {"result.json", PICTURE, MATRIX}


def test_fits_of_another_trial_are_made_again(noise, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(bank, "IMAGES", 3)
    with monkeypatch.context() as patched:
        killed_at(patched, trial, "standardized", 5)
        with pytest.raises(KeyboardInterrupt):
            measure(asked(noise, tmp_path / "out", NAME, seed=1))
    for name in ("bank", "choosing", "confusions"):
        shutil.rmtree(tmp_path / "out" / name, ignore_errors=True)
    assert measure(asked(noise, tmp_path / "out", NAME)).metrics == whole.metrics


def test_a_run_that_goes_on_with_a_cache_takes_nothing_from_the_one_without(noise, whole, tmp_path, monkeypatch):
    """A network may round otherwise in the batches of a cache: fits and counts of both would be no trial's."""
    monkeypatch.setattr(bank, "IMAGES", 3)
    with monkeypatch.context() as patched:
        killed_at(patched, trial, "standardized", 7)  # of the second test image, after the three that chose
        with pytest.raises(KeyboardInterrupt):
            measure(asked(noise, tmp_path / "out", NAME))
    fitted = killed_at(monkeypatch, fits.Fitting, "_turned", -1)
    seen = killed_at(monkeypatch, trial, "standardized", -1)
    again = measure(asked(noise, tmp_path / "out", NAME), Options(cache=tmp_path / "cache"))
    assert fitted[0] == 2
    assert seen[0] == 3 + 6 + 6  # images that choose, and the test images, all of which are drawn, too
    assert again.metrics == whole.metrics


def test_fits_come_back_as_they_were_written(tmp_path):
    draw = np.random.default_rng(0)
    made = [Fit(draw.normal(size=(4, 3)), draw.normal(size=3), 1e-7 * k, k, k > 1) for k in range(3)]
    fits._write(tmp_path / "fits" / "a.npz", "mine", made)
    assert fits._read(tmp_path / "fits" / "a.npz", "another's") is None
    for one, other in zip(made, fits._read(tmp_path / "fits" / "a.npz", "mine"), strict=True):
        for field in fields(Fit):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))
