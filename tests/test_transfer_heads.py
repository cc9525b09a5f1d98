"""Many heads side by side: what each is fed, that none feels the others, how they are trained, and which is chosen."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

import twinbench
from tests.forks import launch
from tests.probe_kills import interrupt_after
from tests.small_networks import small_vit
from twinbench.convert import files
from twinbench.convert.named import ModelError
from twinbench.convert.opening import open_backbone
from twinbench.data.errors import DataError
from twinbench.data.images import read_rgb
from twinbench.data.layouts import LabelledImages
from twinbench.data.paths import file_list
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.heads import CAPI, DINOV2, DINOV2_HELD_OUT, DINOV3
from twinbench.protocols.house import SettingError
from twinbench.protocols.kinds.base import ImageTransform
from twinbench.protocols.kinds.heads import Head
from twinbench.runtime.process import Process, current_process, process_group
from twinbench.transfer.batches import StreamBatches
from twinbench.transfer.features import all_pooled
from twinbench.transfer.heads import ManyProbes
from twinbench.transfer.heads_choice import Choice, choose, chooses
from twinbench.transfer.heads_model import ManyHeads, fed
from twinbench.transfer.probe_checks import DivergedError, ProbeError
from twinbench.transfer.schedule import warmed_cosine
from twinbench.transfer.transforms import TrainImages, train_transform

TINY = ImageTransform(resize=32, crop=32, shape="center-crop", interpolation="bicubic")
SMALL = {"transform": TINY, "epochs": 2, "epoch_steps": 4, "batch_size": 8}
FOUR = replace(DINOV2, **SMALL, rates=(0.01, 0.1))  # heads of DINOv2's features: four by two
HELD_OUT = replace(DINOV2_HELD_OUT, **SMALL, rates=(0.01, 0.1), held_out=0.25)
ADAM = replace(CAPI, **SMALL, rates=(0.001, 0.01), decays=(0.01, 0.5), held_out=0.25)


@pytest.fixture(scope="module")
def vit():
    """A transformer of four blocks, as initialised."""
    return small_vit(depth=4)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """Twenty training and ten test images: two classes, red and blue."""
    draw, folder, made = np.random.default_rng(0), tmp_path_factory.mktemp("images"), []
    for split, count in (("train", 20), ("test", 10)):
        targets, paths = np.arange(count) % 2, []
        for i in range(count):
            pixels = draw.integers(0, 50, size=(50, 54, 3))
            pixels[:, :, 2 * targets[i]] += 200
            paths.append(folder / f"{split}{i}.png")
            Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
        made.append(LabelledImages(file_list(paths), targets.astype(np.int64), ("red", "blue")))
    return made


def run_of(backbone, splits, out, recipe, **more):
    return ManyProbes(backbone, recipe, *splits, **({"identity": "this trial", "out": out} | more))


def weights(run, feature, rate=None, decay=None):
    """Return the weight and bias of a run's head; without a rate or decay, of the recipe's first."""
    recipe = run.many
    wanted = Head(feature, recipe.rates[0] if rate is None else rate, recipe.decays[0] if decay is None else decay)
    layer = run.model.head.heads[recipe.heads.index(wanted)][-1]
    return layer.weight.detach().clone(), layer.bias.detach().clone()


# ---------------------------------------------------------------------------------------------------- features, heads


def test_a_head_is_fed_the_feature_of_its_name(vit):
    trunk, images = vit.build(), torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        found = fed(trunk, images, DINOV2)
        expected = all_pooled(trunk, images, DINOV2.heads_on)
    assert list(found) == list(DINOV2.heads_on)
    for ours, theirs in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(ours, theirs.flatten(1))


def test_logits_are_each_heads_own_product(vit):
    model, images = ManyHeads(vit.build(), 5, FOUR, 0), torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        logits, rows = model(images), fed(model.trunk, images, FOUR)
        for at, head in enumerate(FOUR.heads):
            layer = model.head.heads[at][-1]
            torch.testing.assert_close(logits[:, at], rows[head.feature] @ layer.weight.T + layer.bias)


def test_the_trunk_is_passed_once_for_all_heads(vit):
    """Four features, 52 heads, and each block of the network is called once."""
    model, calls = ManyHeads(vit.build(), 5, DINOV2, 0), []
    model.trunk.get_submodule("model.blocks.0").register_forward_hook(lambda *given: calls.append(1))
    model(torch.randn(2, 3, 32, 32))
    assert len(calls) == 1


def test_all_heads_of_a_feature_start_alike_and_as_the_source_says(vit):
    model = ManyHeads(vit.build(), 1000, FOUR, 0)
    first, second = (module[-1] for module in model.head.heads[:2])
    assert torch.equal(first.weight, second.weight)
    assert first.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert not first.bias.any()


def test_a_features_heads_start_alike_whatever_others_there_are(vit):
    alone = ManyHeads(vit.build(), 7, replace(FOUR, heads_on=("class-4",)), 3)
    among = ManyHeads(vit.build(), 7, FOUR, 3)
    assert torch.equal(alone.head.heads[0][-1].weight, among.head.heads[4][-1].weight)


def test_a_seed_is_another_draw(vit):
    one, other = (ManyHeads(vit.build(), 7, FOUR, seed).head.heads[0][-1].weight for seed in (0, 1))
    assert not torch.equal(one, other)


def test_every_heads_rate_is_scaled_by_the_batch_and_its_bias_has_no_decay_where_the_source_says_so(vit):
    groups = ManyHeads(vit.build(), 5, CAPI, 0).parameter_groups()
    assert len(groups) == 2 * 3 * 10 * 3
    first, of_bias = groups[-2:]
    assert (first["base"], first["weight_decay"]) == (pytest.approx(1e-2 * 1024 / 256), 5e-2)
    assert (of_bias["base"], of_bias["weight_decay"]) == (pytest.approx(1e-2 * 1024 / 256), 0.0)


# ------------------------------------------------------------------------------------------------ schedules, batches


def test_dinov2s_schedule_is_torchs_cosine_stepped_in_each_iteration():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20, eta_min=0)
    for step in range(20):
        assert warmed_cosine(step, 20, 0) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        scheduler.step()


def test_capis_schedule_is_its_formula():
    """linspace from 0 to 1, then half a cosine over linspace from 0 to pi: both ends are iterations."""
    steps, warmup = 50, 10
    expected = np.concatenate([np.linspace(0.0, 1.0, warmup), (np.cos(np.linspace(0, np.pi, steps - warmup)) + 1) / 2])
    found = [warmed_cosine(step, steps, warmup, meets_ends=True) for step in range(steps)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_maes_schedule_is_its_formula():
    """util/lr_sched.py, by parts of epochs: a rise over 3 of 10, then half a cosine over the other 7."""
    for step in range(40):
        epoch = step / 4
        expected = epoch / 3 if epoch < 3 else 0.5 * (1 + math.cos(math.pi * (epoch - 3) / 7))
        assert warmed_cosine(step, 40, 12) == pytest.approx(expected, abs=1e-12)


def test_a_schedule_of_one_step_is_no_division_by_nothing():
    assert warmed_cosine(0, 1, 0, meets_ends=True) == 1.0


def all_keys(batches, epochs):
    found = []
    for epoch in range(epochs):
        batches.epoch = epoch
        found += list(batches)
    return found


def test_a_stream_sees_every_image_once_a_pass_in_batches_of_one_size():
    found = all_keys(StreamBatches(10, 4, 5, 0, Process()), 2)
    assert [len(batch) for batch in found] == [4] * 10
    keys = [key for batch in found for key in batch]
    for done in range(4):
        assert [pass_ for pass_, _ in keys[10 * done : 10 * done + 10]] == [done] * 10
        assert sorted(index for _, index in keys[10 * done : 10 * done + 10]) == list(range(10))


def test_a_stream_may_be_of_fewer_images_than_a_batch():
    [batch] = all_keys(StreamBatches(3, 8, 1, 0, Process()), 1)
    assert sorted(batch) == sorted({*((done, index) for done in range(2) for index in range(3)), *batch[6:]})


def test_a_stream_goes_on_where_it_was_left():
    whole, resumed = StreamBatches(10, 4, 5, 7, Process()), StreamBatches(10, 4, 5, 7, Process())
    resumed.epoch, resumed.first = 1, 2
    assert list(resumed) == all_keys(whole, 2)[7:]


def test_processes_share_each_batch_of_a_stream():
    whole = all_keys(StreamBatches(10, 4, 5, 0, Process()), 1)
    parts = [all_keys(StreamBatches(10, 4, 5, 0, Process(rank=rank, world=2)), 1) for rank in range(2)]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert (batch[::2], batch[1::2]) == (first, second)


# -------------------------------------------------------------------------------------------- against a plain training


def plain(backbone, splits, recipe, feature, rate, decay, start):
    """Train one head as its source would write it, on the same crops, and return its weight and bias."""
    train = splits[0]
    held = chooses(len(train.paths), recipe, 0)
    kept = np.flatnonzero(~held)
    images = TrainImages(
        train.paths.select(kept.tolist()), train.targets[kept], train_transform(TINY, recipe.augmentation), 0
    )
    trunk, layer = backbone.build(), nn.Linear(start[0].shape[1], 2)
    with torch.no_grad():
        layer.weight.copy_(start[0])
        layer.bias.copy_(start[1])
    lr, steps = rate * recipe.batch_size / 256, recipe.epochs * recipe.epoch_steps
    if recipe.optimizer == "adamw":
        groups = [{"params": [layer.weight], "weight_decay": decay}, {"params": [layer.bias], "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), eps=recipe.epsilon)
        warmup = int(recipe.warmup_epochs * recipe.epoch_steps)
        factors = [*np.linspace(0, 1, warmup), *((np.cos(np.linspace(0, np.pi, steps - warmup)) + 1) / 2)]
    else:
        optimizer = torch.optim.SGD(layer.parameters(), lr=lr, momentum=0.9, weight_decay=decay)
        factors = [0.5 * (1 + math.cos(math.pi * step / steps)) for step in range(steps)]
    batches = all_keys(StreamBatches(len(kept), recipe.batch_size, recipe.epoch_steps, 0, Process()), recipe.epochs)
    mean, std = (torch.tensor(each)[:, None, None] for each in (backbone.convention.mean, backbone.convention.std))
    for factor, batch in zip(factors, batches, strict=True):
        pixels, targets = zip(*(images[key] for key in batch), strict=True)
        inputs = (torch.stack(pixels).float() / 255 - mean) / std
        with torch.no_grad():
            [rows] = all_pooled(trunk, inputs, [feature])
        optimizer.zero_grad()
        functional.cross_entropy(layer(rows.flatten(1)), torch.tensor([int(each) for each in targets])).backward()
        for group in optimizer.param_groups:
            group["lr"] = lr * factor
        optimizer.step()
    return layer.weight.detach(), layer.bias.detach()


@pytest.mark.parametrize("recipe", [FOUR, ADAM], ids=["sgd", "adamw"])
def test_each_head_is_trained_as_if_it_were_alone(vit, splits, tmp_path, recipe):
    """Against a plain loop: the last rate and decay of each feature."""
    run = run_of(vit, splits, tmp_path, recipe)
    starts = {name: weights(run, name) for name in recipe.heads_on}
    run.run()
    for name in recipe.heads_on:
        rate, decay = recipe.rates[-1], recipe.decays[-1]
        expected = plain(vit, splits, recipe, name, rate, decay, starts[name])
        for ours, theirs in zip(weights(run, name, rate, decay), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("recipe", [FOUR, ADAM, replace(FOUR, optimizer="lars")], ids=["sgd", "adamw", "lars"])
def test_a_head_with_rate_0_never_moves(vit, splits, tmp_path, recipe):
    run = run_of(vit, splits, tmp_path, replace(recipe, rates=(0.0, 0.01)))
    before = weights(run, recipe.heads_on[0])
    run.run()
    after, moved = (weights(run, recipe.heads_on[0], rate) for rate in (0.0, 0.01))
    assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1])
    assert not torch.equal(before[0], moved[0])


def test_equal_rates_give_equal_heads(vit, splits, tmp_path):
    run = run_of(vit, splits, tmp_path, replace(ADAM, rates=(0.01, 0.01), decays=(0.1, 0.1)))
    run.run()
    first, *others = (module[-1].weight for module in run.model.head.heads[:4])
    assert all(torch.equal(first, other) for other in others)


def test_a_head_that_diverges_leaves_the_others_alone(vit, splits, tmp_path):
    calm = run_of(vit, splits, tmp_path / "calm", replace(FOUR, rates=(0.1,)))
    wild = run_of(vit, splits, tmp_path / "wild", replace(FOUR, rates=(0.1, 1e38)))
    expected, found = calm.run(), wild.run()
    assert torch.equal(weights(calm, "class", 0.1)[0], weights(wild, "class", 0.1)[0])
    assert found.metrics == expected.metrics
    told = [head["test"] for head in found.details["heads"] if head["rate"] == 1e38]
    assert told == [[None, None]] * 4


def test_a_feature_all_of_whose_heads_diverge_is_told(vit, splits, tmp_path):
    with pytest.raises(DivergedError, match=r"heads diverge.*use lower --set rates"):
        run_of(vit, splits, tmp_path, replace(FOUR, rates=(1e38,))).run()


# ------------------------------------------------------------------------------------------------------------- choosing


def history(**splits):
    """Return the history of one epoch of three heads whose top-1s on each split are given."""
    return [{"epoch": 1, **{name.replace("_", "-"): {"top1": values} for name, values in splits.items()}}]


def test_the_best_on_the_split_is_chosen_whatever_it_is_on_the_test_images():
    epochs = history(held_out=[50.0, 70.0, 60.0], test=[90.0, 10.0, 20.0])
    assert choose(epochs, "held-out", [0, 1, 2]) == Choice(1, 1, 70.0)
    assert choose(epochs, "test", [0, 1, 2]) == Choice(0, 1, 90.0)


def test_the_first_of_equals_is_chosen_and_no_head_that_diverged():
    assert choose(history(test=[None, 60.0, 60.0]), "test", [0, 1, 2]) == Choice(1, 1, 60.0)
    assert choose(history(test=[None, 60.0, 60.0]), "test", [0]) is None


def test_of_several_epochs_the_best_is_chosen_with_its_head():
    epochs = history(test=[50.0, 40.0]) + [{"epoch": 2, "test": {"top1": [45.0, 55.0]}}, {"epoch": 3}]
    assert choose(epochs, "test", [0, 1]) == Choice(1, 2, 55.0)


def mislabelled(splits):
    """Return the splits with the other label on each test image."""
    return [splits[0], replace(splits[1], targets=1 - splits[1].targets)]


def test_the_chosen_head_is_the_best_on_images_held_out_and_not_on_test(vit, splits, tmp_path):
    """With the labels of the test images changed over, what is right on the one is wrong on the other."""
    recipe = replace(HELD_OUT, heads_on=("class",), rates=(1e-6, 0.1), epochs=4)
    found = run_of(vit, mislabelled(splits), tmp_path, recipe).run()
    heads = found.details["heads"]
    held_out, test = ([head[split][0] for head in heads] for split in ("held-out", "test"))
    assert held_out[1] > held_out[0] and test[1] < test[0], "the images tell the two splits apart"
    assert found.metrics["top1"] == test[1]
    assert found.details["chosen"]["rate"] == 0.1
    assert found.details["chosen_on"] == "5 images held out"


def test_chosen_on_the_reported_split_the_best_there_is_reported(vit, splits, tmp_path):
    recipe = replace(FOUR, heads_on=("class",), rates=(1e-6, 0.1), epochs=4)
    found = run_of(vit, mislabelled(splits), tmp_path, recipe).run()
    test = [head["test"][0] for head in found.details["heads"]]
    assert test[0] > test[1]
    assert (found.metrics["top1"], found.details["chosen"]["rate"]) == (test[0], 1e-6)
    assert found.details["chosen_on"] == "the test images"


def test_of_each_feature_a_head_is_chosen_and_reported(vit, splits, tmp_path):
    run = run_of(vit, splits, tmp_path, replace(HELD_OUT, epochs=4))
    found = run.run()
    by_feature = {}
    for head in found.details["heads"]:
        best = by_feature.get(head["feature"])
        if best is None or head["held-out"][0] > best["held-out"][0]:
            by_feature[head["feature"]] = head
    for name, head in by_feature.items():
        assert [found.metrics[f"top1-{name}"], found.metrics[f"top5-{name}"]] == head["test"]
    best = max(by_feature.values(), key=lambda head: head["held-out"][0])
    assert found.metrics["top1"] == best["test"][0]
    assert tuple(found.metrics) == run.many.metrics()


def test_capis_tenth_is_what_comes_last_in_numpys_order():
    order = np.random.default_rng(42).permutation(1005)
    expected = order[round(0.9 * 1005) :]
    assert sorted(expected) == np.flatnonzero(chooses(1005, CAPI, 3)).tolist()


def test_images_held_out_train_nothing(vit, splits, tmp_path):
    run = run_of(vit, splits, tmp_path, HELD_OUT)
    held = set(np.array([str(path) for path in splits[0].paths])[chooses(20, HELD_OUT, 0)])
    assert len(run.loader.dataset) == 15
    assert not held & {str(path) for path in run.loader.dataset.paths}
    assert held == {str(path) for path in run.splits["held-out"].paths}


def test_a_set_too_small_to_hold_some_out_is_told():
    with pytest.raises(DataError, match="4 training images: 0 to choose a setting on, 4 to train"):
        chooses(4, replace(HELD_OUT, held_out=0.1), 0)


def test_the_best_epoch_is_reported_where_the_recipe_says_so(vit, splits, tmp_path):
    run = run_of(vit, splits, tmp_path, replace(FOUR, chosen_epoch="best", epochs=3))
    found = run.run()
    tested = [max(epoch["test"]["top1"]) for epoch in run.history]
    assert len(tested) == 3
    assert found.metrics["top1"] == max(tested)
    assert found.details["chosen"]["epoch"] == 1 + tested.index(max(tested))


# --------------------------------------------------------------------------------------------------------------- kills


@pytest.mark.parametrize("recipe", [HELD_OUT, ADAM, replace(FOUR, chosen_epoch="best", head="standardized-linear")])
@pytest.mark.parametrize("saves", [1, 6, 9])
def test_a_killed_run_ends_with_the_same_numbers(vit, splits, tmp_path, monkeypatch, recipe, saves):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    first = run_of(vit, splits, whole, recipe)
    expected = first.run()
    with monkeypatch.context() as patched:
        interrupt_after(patched, saves)
        with pytest.raises(KeyboardInterrupt):
            run_of(vit, splits, killed, recipe).run()
    second = run_of(vit, splits, killed, recipe)
    assert second.run() == expected
    for ours, theirs in zip(first.model.head.parameters(), second.model.head.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert (whole / "log.jsonl").read_text().count("\n") == (killed / "log.jsonl").read_text().count("\n") == 2


# ----------------------------------------------------------------------------------------------------------- processes

SHARED = {
    "held out": HELD_OUT,
    "adamw": replace(ADAM, heads_on=("class", "capi"), rates=(0.001,), decays=(0.01,)),
    "lars, standardized, uneven end": replace(
        FOUR, optimizer="lars", head="standardized-linear", epoch_steps=0, chosen_epoch="best", batch_size=6
    ),
    "a process without images": replace(HELD_OUT, epoch_steps=0, batch_size=14),
}


def train(backbone, splits, out):
    """Train all of SHARED as one process of a group."""
    process = current_process("cpu")
    with process_group(process):
        for name, recipe in SHARED.items():
            run_of(backbone, splits, out / name, recipe, process=process).run()


@pytest.fixture(scope="module")
def trained(vit, splits, tmp_path_factory):
    """Return the last checkpoint of each in one process and in two."""
    outs = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    for world, out in enumerate(outs, start=1):
        launch(world, out, train, vit, splits, out)
    return [{name: files.load(out / name / "checkpoint.pth") for name in SHARED} for out in outs]


@pytest.mark.parametrize("name", SHARED)
def test_two_processes_train_and_count_as_one_does(trained, name):
    one, two = (runs[name] for runs in trained)
    for key, tensor in one["model"].items():
        torch.testing.assert_close(two["model"][key], tensor, rtol=1e-3, atol=1e-5)
    for first, second in zip(one["history"], two["history"], strict=True):
        assert first.get("test") == second.get("test")
        assert first.get("held-out") == second.get("held-out")
        assert first.get("losses", []) == pytest.approx(second.get("losses", []), rel=1e-4)


# ---------------------------------------------------------------------------------------------------------- what runs


def test_a_vit_learns_under_the_heads(splits, tmp_path):
    """All twelve blocks of it."""
    found = run_of(small_vit(), splits, tmp_path, replace(HELD_OUT, epochs=4)).run()
    assert found.metrics["top1"] >= 90


def test_a_resnet_has_no_blocks_and_says_what_to_do():
    """DINOv2's code asks a network for its blocks; who runs it on a ResNet feeds its heads what the network gives."""
    backbone = open_backbone("random", 0.125)
    with pytest.raises(ModelError, match=r"takes the tokens of a transformer, which resnet50.* heads_on=gap"):
        backbone.require(DINOV2.takes, "imagenet-linear-dinov2")
    backbone.require(replace(DINOV2, heads_on=("gap", "patches", "res4")).takes, "imagenet-linear-dinov2")


def test_a_resnets_heads_are_on_what_it_has(splits, tmp_path):
    recipe = replace(HELD_OUT, heads_on=("gap", "res4"))
    found = run_of(open_backbone("random", 0.125), splits, tmp_path, recipe).run()
    assert {"top1", "top1-gap", "top1-res4"} <= found.metrics.keys()


def test_training_images_are_resized_as_the_recipe_says(splits):
    image = read_rgb(splits[0].paths[0])
    found = []
    for how in ("bilinear", "bicubic"):
        torch.manual_seed(0)
        found.append(train_transform(TINY, replace(FOUR, train_interpolation=how).augmentation)(image))
    assert found[0].shape == found[1].shape and not torch.equal(*found)


def test_a_command_runs_the_protocol_on_own_images(scenes, tmp_path):
    out = tmp_path / "out"
    words = ["transfer", "imagenet-linear-dinov2-heldout@mine", "random", str(scenes / "imagenet"), str(out)]
    words += ["--device", "cpu", "--workers", "0", "--set", "heads_on=gap,res4", "--set", "epochs=1"]
    words += ["--set", "epoch_steps=2", "--set", "batch_size=8", "--set", "transform.resize=36"]
    assert twinbench.main([*words, "--set", "transform.crop=32", "--set", "rates=0.01,0.1"]) == 0
    result = json.loads((out / "result.json").read_text())
    assert set(result["metrics"]) == {"top1", "top5", "top1-gap", "top1-res4", "top5-gap", "top5-res4"}
    assert result["details"]["chosen"]["feature"] in ("gap", "res4")
    assert len(result["details"]["heads"]) == 4
    assert not (out / "checkpoint.pth").exists()


# --------------------------------------------------------------------------------------------------- what is refused


WRONG = [
    ({"heads_on": "gap,tokens"}, "heads_on=gap,tokens: expected different names, each one of gap, class, class-4"),
    ({"rates": "0.1,0.1"}, "rates=0.1,0.1: expected different numbers of at least 0"),
    ({"held_out": 0.1}, "held_out=0.1: expected 0 where chosen_on=test"),
    ({"chosen_on": "held-out"}, "held_out=0.0: expected a number above 0 where chosen_on=held-out"),
    ({"warmup_epochs": 10}, "warmup_epochs=10.0: expected fewer than epochs=10"),
    ({"betas": "0.9"}, "betas=0.9: expected two numbers of at least 0 and below 1"),
    ({"transform.backend": "opencv"}, "backend=opencv: expected pillow"),
]


@pytest.mark.parametrize(("settings", "words"), WRONG)
def test_settings_that_no_run_can_have_are_told(settings, words):
    with pytest.raises(SettingError, match=words):
        PROTOCOLS["imagenet-linear-dinov2"].with_settings(settings)


def test_a_last_batch_of_one_image_has_no_variance(vit, splits, tmp_path):
    recipe = replace(DINOV3, **(SMALL | {"epoch_steps": 0, "batch_size": 19}), head="standardized-linear")
    with pytest.raises(ProbeError, match="20 training images in batches of 19: the last batch is one image"):
        run_of(vit, splits, tmp_path, recipe)


def test_another_trials_state_is_not_gone_on_with(vit, splits, tmp_path):
    run_of(vit, splits, tmp_path, FOUR).run()
    with pytest.raises(ProbeError, match="belongs to this trial, but this is another"):
        run_of(vit, splits, tmp_path, FOUR, identity="another").run()


def test_a_protocol_that_chooses_on_the_reported_split_says_so_and_has_an_honest_twin():
    for name in ("imagenet-linear-dinov2", "imagenet-linear-dinov3"):
        protocol, twin = PROTOCOLS[name], PROTOCOLS[f"{name}-heldout"]
        assert (protocol.recipe.chosen_on, twin.recipe.chosen_on) == ("test", "held-out")
        assert protocol.selected_on.startswith("the reported split itself")
        same = {"chosen_on": "test", "held_out": 0.0, "draw": protocol.recipe.draw}
        assert replace(twin.recipe, **same) == protocol.recipe


def test_a_plan_knows_what_a_killed_run_leaves():
    """52 heads of DINOv2 on 2,048 numbers: weights and momentum, for 1,000 classes, of 12 rows by 13 rates."""
    assert DINOV2.passing_megabytes == pytest.approx(13 * (1 + 2 + 4 + 5) * 2 * 2048 * 1000 * 4 / 1e6, rel=0.01)
