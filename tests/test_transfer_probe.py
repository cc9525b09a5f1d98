import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from convert.load import open_backbone
from data.layouts import LabelledImages
from protocols.classification import BT_LINEAR, BT_SEMI
from protocols.schema import ImageTransform
from slurm.process import Process
from transfer.cache import cached_features
from transfer.features import feature_loader
from transfer.probe import Classifier, EpochBatches, NotFrozenError, Probe, ProbeError, rate_factor
from transfer.transforms import Inputs

TINY = ImageTransform(resize=32, crop=32, shape="center-crop")
LINEAR = replace(BT_LINEAR, transform=TINY, epochs=3, batch_size=8)
TUNE = replace(BT_SEMI, transform=TINY, epochs=3, batch_size=8)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def backbone():
    return open_backbone("random", 0.125)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """Twenty training and ten test images: two classes, dark and bright."""
    draw, folder, made = np.random.default_rng(0), tmp_path_factory.mktemp("images"), []
    for split, count in (("train", 20), ("test", 10)):
        targets, paths = np.arange(count) % 2, []
        for i in range(count):
            pixels = draw.integers(0, 90, size=(40, 44, 3)) + 150 * targets[i]
            paths.append(folder / f"{split}{i}.png")
            Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
        made.append(LabelledImages(tuple(paths), targets.astype(np.int64), ("dark", "bright")))
    return made


def probe(backbone, splits, out, recipe=LINEAR, **more):
    return Probe(backbone, recipe, *splits, identity="this trial", out=out, **more)


def test_cosine_and_steps_change_once_an_epoch():
    cosine = [rate_factor(BT_LINEAR, epoch) for epoch in (0, 50, 99)]
    assert cosine == pytest.approx([1.0, 0.5, 0.5 * (1 + math.cos(0.99 * math.pi))])
    steps = replace(LINEAR, schedule="steps", milestones=(2, 4), gamma=0.1)
    assert [rate_factor(steps, e) for e in range(6)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_cosine_equals_torchs_scheduler_as_the_official_code_steps_it():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100)
    for epoch in range(100):
        assert rate_factor(BT_LINEAR, epoch) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("world", [1, 3])
def test_every_image_once_an_epoch_over_all_processes(world):
    parts = [list(EpochBatches(20, 6, 5, Process(rank, world))) for rank in range(world)]
    seen = [key for part in parts for batch in part for key in batch]
    assert sorted(seen) == [(0, index) for index in range(20)]
    assert [sum(len(part[b]) for part in parts) for b in range(4)] == [6, 6, 6, 2]


def test_the_order_is_a_function_of_seed_and_epoch():
    batches = EpochBatches(50, 50, 0, Process())
    first = list(batches)
    batches.epoch = 1
    assert [i for _, i in first[0]] != [i for _, i in list(batches)[0]]
    batches.epoch = 0
    assert list(batches) == first != list(EpochBatches(50, 50, 1, Process()))


def test_a_head_starts_as_the_protocol_says(backbone):
    model = Classifier(fresh(backbone), 1000, LINEAR, seed=0)
    linear = model.head[-1]
    assert isinstance(linear, nn.Linear) and (linear.bias == 0).all()
    assert linear.weight.std().item() == pytest.approx(0.01, rel=0.02)
    other = Classifier(fresh(backbone), 1000, LINEAR, seed=1).head[-1]
    assert not torch.equal(linear.weight, other.weight)  # type: ignore[arg-type]


def calibrated(backbone, images):
    """Return the backbone with the running statistics of `images`, without which random features explode."""
    model = fresh(backbone).train()
    batch = torch.cat([images for images, _ in feature_loader(images.paths, TINY, "cpu", 0)])
    for _ in range(30):
        model(Inputs(backbone.convention, "cpu")(batch))
    return replace(backbone, state_dict=model.state_dict())


def fresh(backbone):
    from convert.load import build_model

    return build_model(backbone)


def test_a_frozen_probe_learns_dark_from_bright_and_leaves_the_backbone_alone(backbone, splits, tmp_path):
    outcome = probe(calibrated(backbone, splits[0]), splits, tmp_path).run()
    assert outcome.metrics["top1"] >= 80 and outcome.metrics["top5"] == 100
    assert [epoch for epoch, _ in outcome.curves["top1"]] == [1, 2, 3]
    assert outcome.metrics["top1"] == outcome.curves["top1"][-1][1]  # the last epoch, not the best
    assert len(outcome.details["frozen_backbone_digest"]) == 64


def test_test_features_come_from_the_cache(backbone, splits, tmp_path, monkeypatch):
    _, test = splits
    plain = probe(backbone, splits, tmp_path / "plain").run()
    cache = tmp_path / "cache"
    cached_features(cache, backbone, test.paths, LINEAR.transform, LINEAR.feature, process=Process(), workers=0)
    for module in ("transfer.probe", "transfer.cache"):
        monkeypatch.setattr(f"{module}.extract", None)  # would fail if called
    assert probe(backbone, splits, tmp_path / "cached", cache=cache).run() == plain


def test_a_batch_norm_left_in_training_mode_is_caught(backbone, splits, tmp_path, monkeypatch):
    run = probe(backbone, splits, tmp_path)
    monkeypatch.setattr(Classifier, "train", nn.Module.train)
    with pytest.raises(NotFrozenError, match="frozen backbone changed"):
        run.run()


def test_the_frozen_step_is_plain_sgd_on_the_head(backbone, splits, tmp_path):
    """One epoch of one batch against numpy: softmax regression on the trunk's features, with weight decay."""
    recipe = replace(LINEAR, epochs=1, batch_size=20, weight_decay=0.1)
    run = probe(backbone, splits, tmp_path, recipe)
    before = [p.detach().numpy().copy() for p in run.model.head[-1].parameters()]
    images, targets = next(iter(run.loader))
    with torch.no_grad():
        x = run.model.trunk(run.inputs(images)).double().numpy()
    run.run()
    logits = x @ before[0].T.astype(float) + before[1]
    error = np.exp(logits) / np.exp(logits).sum(1, keepdims=True) - np.eye(2)[targets]
    weight = before[0] - 0.3 * (error.T @ x / 20 + 0.1 * before[0])
    np.testing.assert_allclose(run.model.head[-1].weight.detach().numpy(), weight, rtol=1e-4, atol=1e-6)
    bias = before[1] - 0.3 * error.mean(0)
    np.testing.assert_allclose(run.model.head[-1].bias.detach().numpy(), bias, rtol=1e-4, atol=1e-6)


def test_fine_tuning_trains_the_trunk_at_its_own_rate(backbone, splits, tmp_path):
    run = probe(backbone, splits, tmp_path, TUNE)
    rates = {(group["base"], group["weight_decay"]) for group in run.optimizer.param_groups}
    assert rates == {(0.5, 0.0), (0.005, 0.0)}
    run.run()
    after = run.model.trunk.state_dict()
    assert not torch.equal(after["conv1.weight"], backbone.state_dict["conv1.weight"])
    assert after["bn1.num_batches_tracked"] == backbone.state_dict["bn1.num_batches_tracked"] + 9


def test_batchnorm_head_decays_its_linear_layer_only(backbone):
    recipe = replace(LINEAR, head="batchnorm-linear", weight_decay=5e-4)
    model = Classifier(fresh(backbone), 2, recipe, 0)
    assert [type(module) for module in model.head] == [nn.BatchNorm2d, nn.Flatten, nn.Linear]
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 2)


@pytest.mark.parametrize("recipe", [LINEAR, TUNE], ids=["frozen", "fine-tuned"])
def test_killed_and_resumed_equals_never_killed(backbone, splits, tmp_path, recipe, monkeypatch):
    whole = probe(backbone, splits, tmp_path / "whole", recipe).run()
    cut, save = probe(backbone, splits, tmp_path / "cut", recipe), Probe._save

    def stop_after_two(self):
        save(self)
        if len(self.history) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Probe, "_save", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    monkeypatch.undo()
    again = probe(backbone, splits, tmp_path / "cut", recipe, workers=1)  # another number of loaders, too
    resumed = again.run()
    assert resumed.curves == whole.curves and resumed.metrics == whole.metrics
    lines = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("whole", "cut")]
    assert len(lines[0]) == len(lines[1]) == 3


def test_another_trials_checkpoint_is_refused(backbone, splits, tmp_path):
    probe(backbone, splits, tmp_path, replace(LINEAR, epochs=1)).run()
    stranger = Probe(backbone, LINEAR, *splits, identity="that trial", out=tmp_path)
    with pytest.raises(ProbeError, match="belongs to this trial, but this is that trial"):
        stranger.run()


def test_accumulated_gradients_are_those_of_the_whole_batch(backbone, splits, tmp_path):
    def gradients(recipe, name):
        run = probe(backbone, splits, tmp_path / name, recipe)
        run.model.eval()  # batch statistics are each part's: the one thing that accumulation changes
        images, targets = next(iter(run.loader))
        run._step(images, targets)
        return [p.grad.clone() for p in run.model.parameters()]

    whole = gradients(TUNE, "whole")
    for expected, found in zip(whole, gradients(replace(TUNE, accumulate=3), "parts"), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_accumulation_changes_nothing_on_a_frozen_trunk(backbone, splits, tmp_path):
    outcomes = [
        probe(backbone, splits, tmp_path / str(parts), replace(LINEAR, accumulate=parts)).run() for parts in (1, 4)
    ]
    assert outcomes[0] == outcomes[1]


def test_parts_must_be_one_or_more(backbone, splits, tmp_path):
    with pytest.raises(ProbeError, match="accumulate=0: expected 1 or more"):
        probe(backbone, splits, tmp_path, replace(TUNE, accumulate=0))
