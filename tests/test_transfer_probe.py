import functools
import json
import math
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.probe_kills import interrupt_after
from twinbench.convert import files
from twinbench.convert.inputs import Inputs
from twinbench.convert.opening import open_backbone
from twinbench.data.layouts import LabelledImages
from twinbench.data.paths import file_list
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.classification import BT_LINEAR, BT_SEMI
from twinbench.protocols.kinds.base import ImageTransform
from twinbench.runtime.batchnorm import GlobalBatchNorm
from twinbench.runtime.precision import PrecisionError, network_precision
from twinbench.runtime.process import Process, ProcessError
from twinbench.runtime.stopping import StopAsked
from twinbench.transfer import probe as probes
from twinbench.transfer.batches import EpochBatches, NormGroups, collated
from twinbench.transfer.cache import cached_features
from twinbench.transfer.classifier import Classifier
from twinbench.transfer.features import feature_loader
from twinbench.transfer.probe import NotFrozenError, Probe
from twinbench.transfer.probe_checks import ProbeError
from twinbench.transfer.schedule import rate_factor

TINY = ImageTransform(resize=32, crop=32, shape="center-crop")
LINEAR = replace(BT_LINEAR, transform=TINY, epochs=3, batch_size=8)
TUNE = replace(BT_SEMI, transform=TINY, epochs=3, batch_size=8, norm_groups=1)


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
        made.append(LabelledImages(file_list(paths), targets.astype(np.int64), ("dark", "bright")))
    return made


def probe(backbone, splits, out, recipe=LINEAR, **more):
    given = {"identity": "this trial", "out": out, "cache": out / "features"}
    return Probe(backbone, recipe, *splits, **(given | more))


@pytest.fixture(scope="module")
def never_killed(backbone, splits, tmp_path_factory):
    """Return a function from a recipe to the outcome and the folder of its run, made once."""

    @functools.cache
    def of(recipe):
        out = tmp_path_factory.mktemp("whole")
        return probe(backbone, splits, out, recipe).run(), out

    return of


def test_cosine_and_steps_change_once_an_epoch():
    cosine = [rate_factor(BT_LINEAR, epoch) for epoch in (0, 50, 99)]
    assert cosine == pytest.approx([1.0, 0.5, 0.5 * (1 + math.cos(0.99 * math.pi))])
    steps = replace(LINEAR, schedule="steps", milestones=(2, 4), gamma=0.1)
    assert [rate_factor(steps, e) for e in range(6)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_the_rates_of_barlow_twins_text():
    """B.2: .002 and .5, times .2 after the 12th and the 16th of 20 epochs."""
    for name in ("imagenet-1pct-steps", "imagenet-10pct-steps"):
        recipe = PROTOCOLS[name].recipe
        factors = [rate_factor(recipe, epoch) for epoch in range(recipe.epochs)]
        assert [recipe.lr_backbone * f for f in factors] == pytest.approx([0.002] * 12 + [0.0004] * 4 + [0.00008] * 4)
        assert [recipe.lr_head * f for f in factors] == pytest.approx([0.5] * 12 + [0.1] * 4 + [0.02] * 4)


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
    assert isinstance(linear, nn.Linear)
    assert (linear.bias == 0).all()
    assert linear.weight.std().item() == pytest.approx(0.01, rel=0.02)
    other = Classifier(fresh(backbone), 1000, LINEAR, seed=1).head[-1]
    assert not torch.equal(linear.weight, other.weight)  # type: ignore[arg-type]


def test_a_head_may_start_as_pytorch_does(backbone):
    """nn.Linear's own: weight and bias uniform within 1 / sqrt(features), so of deviation 1 / sqrt(3 features)."""
    recipe = replace(LINEAR, head_init_std=0.0)
    head, again, other = (Classifier(fresh(backbone), 200, recipe, seed).head[-1] for seed in (1, 1, 2))
    bound = head.in_features**-0.5
    for values in (head.weight, head.bias):
        assert 0.9 * bound < values.abs().max() <= bound
        assert values.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert torch.equal(head.weight, again.weight)
    assert torch.equal(head.bias, again.bias)
    assert not torch.equal(head.weight, other.weight)


def calibrated(backbone, images):
    """Return the backbone with the running statistics of `images`, without which random features explode."""
    model = fresh(backbone).train()
    batch = torch.cat([images for images, _ in feature_loader(images.paths, TINY, "cpu", 0)])
    for _ in range(30):
        model(Inputs(backbone.convention, "cpu")(batch))
    return replace(backbone, state_dict=model.state_dict())


def fresh(backbone):

    return backbone.build()


def test_a_frozen_probe_learns_dark_from_bright_and_leaves_the_backbone_alone(backbone, splits, tmp_path):
    outcome = probe(calibrated(backbone, splits[0]), splits, tmp_path).run()
    assert outcome.metrics["top1"] >= 80
    assert outcome.metrics["top5"] == 100
    assert [epoch for epoch, _ in outcome.curves["top1"]] == [1, 2, 3]
    assert outcome.metrics["top1"] == outcome.curves["top1"][-1][1]  # the last epoch, not the best
    assert len(outcome.details["frozen_backbone_digest"]) == 64


@pytest.mark.parametrize("recipe", [LINEAR, TUNE], ids=["frozen", "fine-tuned"])
def test_fp32_is_exact_on_gpus_too_which_pytorch_would_not_make_it(backbone, splits, tmp_path, recipe):
    """A processor does not care; the switch that a GPU's convolutions look at, backwards too, must be off."""
    run, seen = probe(backbone, splits, tmp_path, replace(recipe, epochs=1)), []

    def look(*_):
        seen.append(torch.backends.cudnn.allow_tf32)

    run.model.trunk.conv1.register_forward_hook(look)
    if recipe.train_backbone:
        run.model.trunk.conv1.weight.register_hook(look)
    before = torch.backends.cudnn.allow_tf32
    run.run()
    assert before
    assert set(seen) == {False}
    assert torch.backends.cudnn.allow_tf32 == before


@pytest.mark.parametrize("recipe", [LINEAR, TUNE], ids=["frozen", "fine-tuned"])
def test_tf32_is_of_the_trunk_forwards_and_backwards_and_never_of_the_head(
    backbone, splits, tmp_path, recipe, monkeypatch
):
    """Without a GPU: the switches that one would look at. TF32 is in the trunk's convolutions and in no product."""
    recipe = replace(recipe, precision="tf32", epochs=1)

    def on_gpu(precision, device, **more):
        return network_precision(precision, "cuda", **more)

    for module in ("probe", "classifier"):
        monkeypatch.setattr(f"twinbench.transfer.{module}.network_precision", on_gpu)
    monkeypatch.setattr(Probe, "_evaluate", lambda self: {"top1": 0.0, "top5": 0.0})
    monkeypatch.setattr(Probe, "_test_features", None)
    run = probe(backbone, splits, tmp_path, recipe)
    seen = {"trunk": [], "head": []}

    def look(name):
        return lambda *_: seen[name].append(switches())

    run.model.trunk.conv1.register_forward_hook(look("trunk"))
    run.model.head[-1].register_forward_hook(look("head"))
    run.model.head[-1].weight.register_hook(look("head"))
    if recipe.train_backbone:
        run.model.trunk.conv1.weight.register_hook(look("trunk"))
    before = switches()
    run.run()
    assert len(seen["head"]) == 6
    assert len(seen["trunk"]) == (6 if recipe.train_backbone else 3)
    assert all(convolutions for convolutions, _ in seen["trunk"])
    assert not any(products for _, products in seen["head"])
    assert switches() == before


def switches():
    """What PyTorch lets a GPU's convolutions and matrix products do."""
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


def test_bf16_is_of_the_frozen_network_alone(backbone, splits, tmp_path):
    recipe = replace(LINEAR, lr_head=0.001, epochs=6)
    runs = [probe(backbone, splits, tmp_path / name, replace(recipe, precision=name)) for name in ("fp32", "bf16")]
    images, _ = next(iter(runs[0].loader))
    full, lower = (run.model(run.inputs(images)) for run in runs)
    assert lower.dtype == torch.float32
    assert not torch.equal(full, lower)
    rounding = 2**-8 * math.sqrt(50)  # bf16 has 8 bits, and each of 50 layers rounds by itself
    torch.testing.assert_close(lower, full, rtol=0, atol=rounding * full.abs().max().item())
    exact, near = (run.run() for run in runs)
    assert exact.metrics == near.metrics == {"top1": 100, "top5": 100}
    losses = [[loss for _, loss in outcome.curves["loss"]] for outcome in (exact, near)]
    assert losses[1] == pytest.approx(losses[0], rel=rounding)
    assert losses[1] != losses[0]
    assert {p.dtype for p in runs[1].model.parameters()} == {torch.float32}


def test_test_features_have_the_probes_precision(backbone, splits, tmp_path, monkeypatch):
    _, test = splits
    recipe, cache, given = replace(LINEAR, precision="bf16"), tmp_path / "cache", {"process": Process(), "workers": 0}
    plain = probe(backbone, splits, tmp_path / "plain", recipe).run()
    cached_features(cache, backbone, test.paths, recipe.test_features, **given)
    monkeypatch.setattr("twinbench.transfer.cache.extract", None)  # would fail if called
    assert probe(backbone, splits, tmp_path / "cached", recipe, cache=cache).run() == plain


def test_precisions_that_cannot_be_are_refused(backbone, splits, tmp_path):
    with pytest.raises(ProbeError, match="precision=bf16: a backbone that is trained by SGD computes in fp32 or tf32"):
        probe(backbone, splits, tmp_path, replace(TUNE, precision="bf16"))
    for recipe in (LINEAR, TUNE):
        with pytest.raises(PrecisionError, match="precision tf32 on cpu: expected a GPU"):
            probe(backbone, splits, tmp_path, replace(recipe, precision="tf32")).run()


def test_test_features_come_from_the_cache(backbone, splits, tmp_path, monkeypatch, never_killed):
    (_, test), (plain, _) = splits, never_killed(LINEAR)
    cache = tmp_path / "cache"
    cached_features(cache, backbone, test.paths, LINEAR.test_features, process=Process(), workers=0)
    monkeypatch.setattr("twinbench.transfer.cache.extract", None)  # would fail if called
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
    assert [group["weight_decay"] for group in model.parameter_groups()] == [5e-4, 0]
    assert model.parameter_groups()[1]["params"] == list(model.head[0].parameters())


def test_a_batchnorm_head_among_processes_has_the_same_tensors(backbone):
    """Their numbers: test_transfer_processes.py."""
    recipe = replace(LINEAR, head="batchnorm-linear")
    one, two = (Classifier(fresh(backbone), 2, recipe, 0, Process(0, world)) for world in (1, 2))
    assert isinstance(two.head[0], GlobalBatchNorm)
    assert (two.head[0].eps, two.head[0].momentum) == (1e-5, 0.1)  # VISSL defaults.yaml
    assert one.state_dict().keys() == two.state_dict().keys()
    assert all(torch.equal(two.state_dict()[name], values) for name, values in one.state_dict().items())


@pytest.mark.parametrize("recipe", [LINEAR, TUNE], ids=["frozen", "fine-tuned"])
def test_a_process_without_images_has_logits_of_none(backbone, recipe):
    model = Classifier(fresh(backbone), 2, recipe, 0)
    images, targets = collated([])
    logits = model(Inputs(backbone.convention, "cpu")(images))
    loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    loss.backward()
    assert logits.shape == (0, 2)
    assert loss == 0
    assert (model.head[-1].weight.grad == 0).all()


def test_what_a_batchnorm_head_cannot_do_is_refused_before_it_starts(backbone, splits, tmp_path):
    tuned = replace(TUNE, head="batchnorm-linear", accumulate=2)
    with pytest.raises(ProbeError, match="accumulate=2: on a backbone that is trained the batch comes in parts"):
        probe(backbone, splits, tmp_path, tuned)
    for batch_size in (19, 1):  # of twenty images
        recipe = replace(LINEAR, head="batchnorm-linear", batch_size=batch_size)
        with pytest.raises(ProbeError, match=f"20 training images in batches of {batch_size}: the last batch is one"):
            probe(backbone, splits, tmp_path, recipe)
        probe(backbone, splits, tmp_path, replace(recipe, head="linear"))


@pytest.mark.parametrize("recipe", [LINEAR, TUNE], ids=["frozen", "fine-tuned"])
def test_killed_and_resumed_equals_never_killed(backbone, splits, tmp_path, recipe, monkeypatch, never_killed):
    whole, out = never_killed(recipe)
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
    assert resumed.curves == whole.curves
    assert resumed.metrics == whole.metrics
    lines = [(folder / "log.jsonl").read_text().splitlines() for folder in (out, tmp_path / "cut")]
    assert len(lines[0]) == len(lines[1]) == 3


@pytest.mark.parametrize("saves", [1, 3, 6])  # of 4 an epoch: after its three steps and its evaluation
@pytest.mark.parametrize("recipe", [LINEAR, TUNE], ids=["frozen", "fine-tuned"])
def test_killed_within_an_epoch_equals_never_killed(
    backbone, splits, tmp_path, recipe, saves, monkeypatch, never_killed
):
    whole, out = never_killed(recipe)
    count = interrupt_after(monkeypatch, saves)
    with pytest.raises(KeyboardInterrupt):
        probe(backbone, splits, tmp_path / "cut", recipe).run()
    assert files.load(tmp_path / "cut/checkpoint.pth")["step"] == saves % 4
    assert probe(backbone, splits, tmp_path / "cut", recipe).run() == whole
    assert next(count) == 13  # each of the twelve states was saved once: no step was taken twice
    states = [files.load(folder / "checkpoint.pth") for folder in (out, tmp_path / "cut")]
    for name, values in states[0]["model"].items():
        assert torch.equal(states[1]["model"][name], values), name


@pytest.mark.parametrize(("recipe", "saved"), [(LINEAR, [0, 0, 0]), (TUNE, [3, 0, 3, 0, 3, 0])])
def test_within_five_minutes_only_epochs_are_saved(backbone, splits, tmp_path, recipe, saved, monkeypatch):
    """Of a backbone that is trained, before they are evaluated, too, which may take long."""
    steps = []
    monkeypatch.setattr(Probe, "_save", lambda self: steps.append(self.step))
    probe(backbone, splits, tmp_path, recipe).run()
    assert steps == saved


def signalled(monkeypatch, step):
    """Have SIGTERM come in the step of that number, counted over the whole run."""
    take, count = Probe._step, iter(range(1, 100))

    def with_signal(self, *batch):
        if next(count) == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return take(self, *batch)

    monkeypatch.setattr(Probe, "_step", with_signal)


@pytest.mark.parametrize(("step", "left_at"), [(1, 2), (2, 3), (3, 3), (5, 6)])  # of three an epoch, three epochs
@pytest.mark.parametrize("recipe", [LINEAR, TUNE], ids=["frozen", "fine-tuned"])
def test_told_to_stop_it_saves_and_goes_on_with_equal_numbers(
    backbone, splits, tmp_path, recipe, step, left_at, monkeypatch, never_killed
):
    whole, _ = never_killed(recipe)
    before = signal.getsignal(signal.SIGTERM)
    signalled(monkeypatch, step)
    with pytest.raises(StopAsked, match=f"stopped after step {left_at} of 9; state in .*checkpoint.pth"):
        probe(backbone, splits, tmp_path / "cut", recipe).run()
    assert signal.getsignal(signal.SIGTERM) == before
    monkeypatch.undo()
    taken, take = [], Probe._step
    monkeypatch.setattr(Probe, "_step", lambda self, *batch: (taken.append(1), take(self, *batch))[1])
    assert probe(backbone, splits, tmp_path / "cut", recipe).run() == whole
    assert len(taken) == 9 - left_at


def test_features_of_test_images_are_there_before_signals_only_set_a_flag(backbone, splits, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        probes, "cached_features", lambda *_, **__: seen.append(signal.getsignal(signal.SIGTERM)) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        probe(backbone, splits, tmp_path).run()
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_a_step_waits_for_no_number(backbone, splits, tmp_path, monkeypatch):
    """On a GPU, asking for a value would hold up the steps to come until it is computed."""

    def asked(*_, **__):
        raise AssertionError("a value was asked for")

    run = probe(backbone, splits, tmp_path)
    images, targets = next(iter(run.loader))
    for name in ("item", "tolist", "numpy", "cpu", "__float__", "__int__", "__bool__"):
        monkeypatch.setattr(torch.Tensor, name, asked)
    loss = run._step(images, targets)
    monkeypatch.undo()
    assert loss.item() > 0


@pytest.mark.parametrize(("recipe", "rates"), [(LINEAR, "lr_head"), (TUNE, "lr_head or lr_backbone")])
@pytest.mark.parametrize("seconds", [300, -1], ids=["epochs saved", "steps saved"])
def test_a_probe_that_diverges_is_told_and_nothing_of_the_epoch_is_kept(
    backbone, splits, tmp_path, recipe, rates, seconds, monkeypatch
):
    monkeypatch.setattr(probes, "SAVE_SECONDS", seconds)
    run, step = probe(backbone, splits, tmp_path, recipe), Probe._step
    monkeypatch.setattr(Probe, "_step", lambda self, *batch: step(self, *batch) * (math.nan if self.history else 1))
    for again in (run, probe(backbone, splits, tmp_path, recipe)):
        with pytest.raises(ProbeError, match=f"the loss of epoch 2 is nan, the probe diverges; lower --set {rates}$"):
            again.run()
        state = files.load(tmp_path / "checkpoint.pth")
        assert [epoch["epoch"] for epoch in state["history"]] == [1]
        assert state["step"] == 0
        assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 1


def test_killed_between_the_first_epochs_line_and_its_checkpoint_logs_it_once(backbone, splits, tmp_path, monkeypatch):
    def killed(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Probe, "_save", killed)
        probe(backbone, splits, tmp_path).run()
    probe(backbone, splits, tmp_path).run()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert all(line["images_per_s"] > 0 and 0 <= line["waiting"] <= 1 for line in lines)


def test_another_trials_checkpoint_is_refused(backbone, splits, tmp_path):
    probe(backbone, splits, tmp_path, replace(LINEAR, epochs=1)).run()
    stranger = probe(backbone, splits, tmp_path, identity="that trial")
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
    for expected, found in zip(whole, gradients(replace(TUNE, accumulate=4), "parts"), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_batch_norm_in_training_sees_one_group_after_the_other(backbone):
    """Group g of three has the images g, g + 3, ..., and the running statistics are the first group's."""
    recipe = replace(TUNE, norm_groups=3, batch_size=9)
    images = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))  # of a last batch
    model, plain = (Classifier(fresh(backbone), 2, recipe, 0) for _ in range(2))
    found = model.train()(images)
    for group in (2, 1, 0):
        alone = fresh(backbone).train()
        expected = plain.head(alone(images[group::3])[..., None, None])
        torch.testing.assert_close(found[group::3], expected)
    for name, values in alone.state_dict().items():
        torch.testing.assert_close(model.trunk.state_dict()[name], values)
    assert all(norm.track_running_stats for norm in model.modules() if isinstance(norm, nn.BatchNorm2d))
    torch.testing.assert_close(model.eval()(images[:2]), model(images)[:2])  # tested as one


def test_fewer_images_than_groups_are_groups_of_one(backbone):
    model = Classifier(fresh(backbone), 2, replace(TUNE, norm_groups=8), 0).train()
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(model(images), alone)


@pytest.mark.parametrize(
    ("groups", "world", "own"),
    [(1, 1, [[0, 1, 2, 3, 4, 5, 6, 7]]), (4, 2, [[0, 4], [2, 6]]), (4, 4, [[0, 4]]), (8, 2, [[0], [2], [4], [6]])],
)
def test_a_process_holds_whole_groups(groups, world, own):
    """Of a batch of eight, those of process 0: the images that GPU 0, `world`, 2 `world`, ... of the reference had."""
    found = NormGroups.of(replace(TUNE, norm_groups=groups), Process(0, world))
    mine = list(range(0, 8, world))
    assert [mine[group :: found.own] for group in range(found.own)] == own
    assert not found.shared


@pytest.mark.parametrize(
    ("changes", "world", "error", "words"),
    [
        ({"norm_groups": 4}, 3, ProcessError, "3 processes: expected a divisor or a multiple of norm_groups=4"),
        ({"norm_groups": 1, "accumulate": 2}, 2, ProbeError, "accumulate=2: 2 processes share norm_groups=1"),
        (
            {"norm_groups": 8},
            1,
            ProbeError,
            "20 training images in batches of 8, norm_groups=8: there is a group of one",
        ),
        ({"norm_groups": 4, "accumulate": 2}, 1, ProbeError, "norm_groups=4: there is a group of one image"),
        ({"batch_size": 19}, 1, ProbeError, "20 training images in batches of 19, norm_groups=1: there is a group"),
    ],
)
def test_groups_that_cannot_be_cut_so_are_refused_before_anything_starts(
    backbone, splits, tmp_path, changes, world, error, words
):
    recipe = replace(TUNE, **{"batch_size": 24 if world == 3 else 8, **changes})
    with pytest.raises(error, match=words):
        probe(backbone, splits, tmp_path, recipe, process=Process(0, world))


@pytest.mark.parametrize(("groups", "parts", "rows"), [(1, 1, [8]), (1, 3, [3, 3, 2]), (2, 2, [4, 4]), (4, 2, [4, 4])])
def test_parts_have_their_share_of_every_group(backbone, splits, tmp_path, groups, parts, rows, monkeypatch):
    """In parts of one size whatever the batch, so that any number of processes cuts the same ones."""
    recipe = replace(
        TUNE, norm_groups=groups, accumulate=parts, transform=ImageTransform(resize=48, crop=48, shape="center-crop")
    )
    run, seen = probe(backbone, splits, tmp_path, recipe), []
    forward = Classifier.forward
    monkeypatch.setattr(Classifier, "forward", lambda self, some: (seen.append(len(some)), forward(self, some))[1])
    run.model.train()
    run._step(*next(iter(run.loader)))
    assert seen == rows


def test_parts_must_be_one_or_more(backbone, splits, tmp_path):
    with pytest.raises(ProbeError, match="accumulate=0: expected 1 or more"):
        probe(backbone, splits, tmp_path, replace(TUNE, accumulate=0))
