"""Attentive probes end to end: which tokens they take, that each is trained as its source would, choice, kills."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

import twinbench
from tests.forks import launch
from tests.probe_kills import interrupt_after
from tests.small_networks import small_vit
from twinbench.convert import files
from twinbench.convert.named import ModelError
from twinbench.convert.opening import open_backbone
from twinbench.data.layouts import LabelledImages
from twinbench.data.paths import file_list
from twinbench.protocols.attentive import AIM, CAPI_ATTENTIVE, EP, EP_HELD_OUT, JEPA
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.kinds.base import ImageTransform
from twinbench.runtime.process import Process, current_process, process_group
from twinbench.suite.estimate import _tested_bytes
from twinbench.suite.proofs import Size
from twinbench.transfer import tested
from twinbench.transfer.batches import EpochBatches
from twinbench.transfer.features import FeatureError
from twinbench.transfer.heads import ManyProbes
from twinbench.transfer.heads_model import ManyHeads, fed
from twinbench.transfer.poolings import PoolingError
from twinbench.transfer.transforms import TrainImages, train_transform

TINY = ImageTransform(resize=64, crop=64, shape="center-crop", interpolation="bicubic")
SMALL = {"transform": TINY, "epochs": 3, "batch_size": 8, "precision": "fp32"}
LARS = replace(EP, **SMALL, heads_on=("ep-8",), rates=(1000.0,), warmup_epochs=1.0)
BEST_HELD_OUT = replace(EP_HELD_OUT, **SMALL, heads_on=("ep-8",), rates=(1000.0,), warmup_epochs=1.0, held_out=0.25)
AIMS = replace(AIM, **SMALL, heads_on=("aim-3",), rates=(500.0, 1000.0), warmup_epochs=1.0)
GRID = replace(CAPI_ATTENTIVE, **SMALL, rates=(0.1, 1.0), decays=(0.01, 0.5), epoch_steps=3, held_out=0.25)
JEPAS = replace(JEPA, **SMALL, rates=(0.005,), decays=(10.0,), clip=0.2)
EACH = {"ep": LARS, "aim": AIMS, "capi": GRID, "jepa": JEPAS}


@pytest.fixture(scope="module")
def vit():
    """A transformer of four blocks, as initialised."""
    return small_vit(depth=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Thirty grey images, each with a square of a quarter of it somewhere: red ones and blue ones in turn."""
    draw, folder = np.random.default_rng(0), tmp_path_factory.mktemp("images")
    for i in range(30):
        pixels = draw.integers(100, 130, size=(64, 64, 3))
        row, column = 16 * draw.integers(0, 3, size=2)
        pixels[row : row + 32, column : column + 32] = (250, 0, 0) if i % 2 == 0 else (0, 0, 250)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02}.png")
    return folder


def split_of(folder, places):
    paths = sorted(folder.iterdir())
    return LabelledImages(file_list([paths[i] for i in places]), np.array([i % 2 for i in places]), ("red", "blue"))


@pytest.fixture(scope="module")
def splits(folder):
    """Twenty training and ten test images."""
    return split_of(folder, range(20)), split_of(folder, range(20, 30))


def run_of(backbone, splits, out, recipe, **more):
    return ManyProbes(backbone, recipe, *splits, **({"identity": "this trial", "out": out} | more))


# ------------------------------------------------------------------------------------------------------------- tokens


@pytest.mark.parametrize("tokens", ["patches", "class+patches", "patches-raw", "class+patches-raw"])
def test_tokens_are_what_the_last_block_gives_by_the_last_norm_or_without_it(vit, tokens):
    trunk, images = vit.build(), torch.randn(2, 3, 64, 64)
    model, kept = trunk.get_submodule("model"), []
    hook = model.blocks[-1].register_forward_hook(lambda module, given, found: kept.append(found))
    with torch.no_grad():
        found = fed(trunk, images, replace(EP, tokens=tokens))
        own = kept[0] if tokens.endswith("raw") else model.norm(kept[0])
    hook.remove()
    expected = own if tokens.startswith("class") else own[:, 1:]
    torch.testing.assert_close(found["tokens"], expected, rtol=0, atol=1e-5)


def test_a_resnets_tokens_are_the_places_of_its_last_map():
    trunk, images = open_backbone("random", 0.125).build(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        found = fed(trunk, images, EP)["tokens"]
        expected = trunk.maps(images, last=1)[0]
    torch.testing.assert_close(found, expected.flatten(2).transpose(1, 2))


def test_a_resnet_has_no_class_token_to_take():
    backbone = open_backbone("random", 0.125)
    with pytest.raises(ModelError, match="takes the tokens of a transformer, which resnet50"):
        backbone.require(replace(EP, tokens="class+patches").takes, "imagenet-ep-all")
    with pytest.raises(FeatureError, match="has no class token; use --set tokens=patches"):
        fed(backbone.build(), torch.randn(1, 3, 64, 64), replace(EP, tokens="class+patches"))


def test_a_resnet_is_probed_on_its_places(splits, tmp_path):
    backbone = open_backbone("random", 0.125)
    backbone.require(EP.takes, "imagenet-ep")
    found = run_of(backbone, splits, tmp_path, LARS).run()
    assert found.metrics.keys() == {"top1", "top5"}


def test_a_pooling_that_the_tokens_cannot_be_shared_out_to_is_told(vit, splits, tmp_path):
    with pytest.raises(PoolingError, match="pooling ep-7 on 192 channels"):
        run_of(vit, splits, tmp_path, replace(LARS, heads_on=("ep-7",)))


# ------------------------------------------------------------------------------------------------------------ the head


def test_queries_and_weights_have_decay_and_what_has_one_axis_has_none(vit):
    names = {"jepa": "token", "capi": "query", "aim-3": "query", "ep-8": "query"}
    for pooling, query in names.items():
        model = ManyHeads(vit.build(), 5, replace(JEPA, transform=TINY, heads_on=(pooling,)), 0)
        decayed, free = model.parameter_groups()
        parameters = dict(model.head.heads[0].named_parameters())
        assert any(each is parameters[f"0.pooling.{query}"] for each in decayed["params"])
        assert {each.ndim for each in decayed["params"]} == {2}
        assert {each.ndim for each in free["params"]} == {1}
        assert (decayed["weight_decay"], free["weight_decay"]) == (0.001, 0.0)


def test_heads_on_tokens_and_heads_on_features_stand_side_by_side(vit):
    recipe = replace(GRID, heads_on=("class", "capi", "patches", "ep-8"))
    model, images = ManyHeads(vit.build(), 5, recipe, 0).eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        logits = model(images)
        given = fed(model.trunk, images, recipe)
        for at, head in enumerate(recipe.heads):
            module = model.head.heads[at]
            own = given["tokens"] if head.feature in ("capi", "ep-8") else given[head.feature]
            torch.testing.assert_close(logits[:, at], module(own), rtol=1e-4, atol=1e-5)


def test_tokens_are_standardised_once_for_all_heads_that_ask_for_it(vit):
    model = ManyHeads(vit.build(), 5, AIMS, 0).train()
    norm = model.head.heads[0][0].norm
    assert model.head.heads[1][0].norm is norm
    model(torch.randn(4, 3, 64, 64))
    assert int(norm.norm.num_batches_tracked) == 1


def test_aims_tokens_have_mean_0_and_variance_1_over_all_places_of_a_batch(vit):
    model, images = ManyHeads(vit.build(), 5, AIMS, 0).train(), torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        tokens = fed(model.trunk, images, AIMS)["tokens"].double()
        found = model.head.heads[0][0].norm(tokens.float())
    flat = tokens.flatten(0, 1)
    expected = (tokens - flat.mean(0)) / (flat.var(0, correction=0) + 1e-6).sqrt()
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------------------------------------- by a plain training


def attention(query, keys, values, heads):
    """Return PyTorch's attention of one query (C,) to tokens (N, T, C) that were projected one by one."""
    cut = [each.unflatten(-1, (heads, -1)).movedim(-2, 1) for each in (query.expand(len(keys), 1, -1), keys, values)]
    return functional.scaled_dot_product_attention(*cut).flatten(1)


def by_source(name, p, x):
    """Return the rows of the pooling `name` with parameters p of tokens x (N, T, C), as its source computes them."""
    if name == "ep":
        values = (x @ p["value"].T).unflatten(2, (len(p["query"]), -1))
        weights = (x @ p["query"].T / math.sqrt(x.shape[2])).softmax(1)
        return torch.einsum("ntq,ntqd->nqd", weights, values).flatten(1)
    if name == "aim":
        flat = x.flatten(0, 1)
        x = (x - flat.mean(0)) / (flat.var(0, correction=0) + 1e-6).sqrt()
        return attention(p["query"], x @ p["key"].T, x @ p["value"].T, 3)
    if name == "capi":
        return attention(p["query"], x @ p["key"].T, x @ p["value"].T + p["bias"], 3)
    x = functional.layer_norm(x, x.shape[2:], p["scale"], p["shift"])
    query = p["token"] @ p["query.weight"].T + p["query.bias"]
    rows = p["token"] + attention(query, x @ p["key"].T, x @ p["value.weight"].T + p["value.bias"], 3)
    hidden = functional.layer_norm(rows, rows.shape[1:], p["perceptron_norm.weight"], p["perceptron_norm.bias"])
    hidden = functional.gelu(hidden @ p["first.weight"].T + p["first.bias"])
    return rows + hidden @ p["second.weight"].T + p["second.bias"]


class Plain:
    """One head and its optimizer written out: parameters by name, LARS by MAE's lines or PyTorch's AdamW."""

    def __init__(self, name, recipe, head):
        self.name, self.recipe = name, recipe
        self.p = {key: value.detach().clone().requires_grad_() for key, value in head[0].pooling.named_parameters()}
        self.weight, self.bias = (each.detach().clone().requires_grad_() for each in (head[-1].weight, head[-1].bias))
        self.all = [*self.p.values(), self.weight, self.bias]
        self.momenta = [torch.zeros_like(each) for each in self.all]
        groups = [{"params": [each], "weight_decay": 0.0} for each in self.all]
        self.adam = torch.optim.AdamW(groups, lr=0.0, betas=recipe.betas, eps=recipe.epsilon)

    def step(self, tokens, targets, lr, decay):
        rows = by_source(self.name, self.p, tokens)
        if self.recipe.head == "standardized-linear":
            rows = (rows - rows.mean(0)) / (rows.var(0, correction=0) + 1e-6).sqrt()
        loss = functional.cross_entropy(rows @ self.weight.T + self.bias, targets)
        slopes = torch.autograd.grad(loss, self.all)
        if self.recipe.clip:
            size = math.sqrt(sum(float(each.square().sum()) for each in slopes))
            slopes = [each * min(1.0, self.recipe.clip / size) for each in slopes]
        if self.recipe.optimizer == "lars":
            self.lars(slopes, lr)
            return
        for group, slope in zip(self.adam.param_groups, slopes, strict=True):
            [parameter] = group["params"]
            parameter.grad, group["lr"] = slope, lr
            group["weight_decay"] = decay if parameter.ndim > 1 else 0.0
        self.adam.step()

    def lars(self, slopes, lr):
        with torch.no_grad():
            for parameter, slope, momentum in zip(self.all, slopes, self.momenta, strict=True):
                if parameter.ndim > 1 and parameter.norm() > 0 and slope.norm() > 0:
                    slope = slope * 0.001 * parameter.norm() / slope.norm()
                momentum.mul_(0.9).add_(slope)
                parameter.sub_(lr * momentum)


def plainly_trained(name, backbone, split, recipe, head):
    """Train one head as its source would, on the same crops: its first rate and decay."""
    images = TrainImages(split.paths, split.targets, train_transform(TINY, recipe.augmentation), 0)
    plain, trunk, batches = Plain(name, recipe, head), backbone.build(), EpochBatches(20, 8, 0, Process())
    mean, std = (torch.tensor(each)[:, None, None] for each in (backbone.convention.mean, backbone.convention.std))
    for step in range(9):
        batches.epoch, batches.first = divmod(step, 3)
        pixels, targets = zip(*(images[key] for key in next(iter(batches))), strict=True)
        with torch.no_grad():
            [found] = trunk.tokens((torch.stack(pixels).float() / 255 - mean) / std)
        if recipe.warmup_epochs:  # of one epoch in three
            factor = step / 3 if step < 3 else 0.5 * (1 + math.cos(math.pi * (step - 3) / 6))
        else:
            factor = 0.5 * (1 + math.cos(math.pi * step / 9))
        lr = recipe.rates[0] * factor * (8 / 256 if recipe.rate_per else 1)
        left = recipe.decay_left + (1 - recipe.decay_left) * 0.5 * (1 + math.cos(math.pi * step / 9))
        targets = torch.tensor([int(each) for each in targets])
        plain.step(found.patches.flatten(2).mT, targets, lr, recipe.decays[0] * left)
    return plain


IN_EPOCHS = {"epoch_steps": 0, "schedule": "cosine", "chosen_on": "test", "held_out": 0.0}  # as the others are


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("ep", LARS),
        ("aim", AIMS),
        ("capi", replace(GRID, **IN_EPOCHS)),
        ("jepa", JEPAS),
        ("jepa", replace(JEPAS, clip=0.0)),
        ("jepa", replace(JEPAS, decay_left=1.0)),
    ],
    ids=["ep", "aim", "capi", "jepa", "jepa unclipped", "jepa, decay that stays"],
)
def test_a_head_is_trained_as_its_source_would(vit, splits, tmp_path, name, recipe):
    run = run_of(vit, splits, tmp_path, recipe)
    plain = plainly_trained(name, vit, splits[0], recipe, run.model.head.heads[0])
    start = run.model.head.heads[0][-1].weight.detach().clone()
    run.run()
    head = run.model.head.heads[0]
    for key, found in head[0].pooling.named_parameters():
        torch.testing.assert_close(found.detach(), plain.p[key].detach(), rtol=2e-3, atol=1e-4)
    torch.testing.assert_close(head[-1].weight.detach(), plain.weight.detach(), rtol=2e-3, atol=1e-4)
    torch.testing.assert_close(head[-1].bias.detach(), plain.bias.detach(), rtol=2e-3, atol=1e-4)
    assert not torch.allclose(start, plain.weight, atol=1e-3)  # what was compared has moved


def test_clipping_and_decay_move_what_they_should(vit, splits, tmp_path):
    """The comparison above would pass if neither did anything: they do."""
    ends = []
    for at, recipe in enumerate((JEPAS, replace(JEPAS, clip=0.0), replace(JEPAS, decay_left=1.0))):
        run = run_of(vit, splits, tmp_path / str(at), recipe)
        run.run()
        ends.append(run.model.head.heads[0][-1].weight.detach())
    assert not torch.allclose(ends[0], ends[1], atol=1e-3)
    assert not torch.allclose(ends[0], ends[2], atol=1e-3)


def test_a_clipped_head_does_not_feel_another(vit, splits, tmp_path):
    """The norm is of a head's own gradient: V-JEPA's code trains one alone."""
    alone = run_of(vit, splits, tmp_path / "alone", replace(JEPAS, rates=(0.005,)))
    among = run_of(vit, splits, tmp_path / "among", replace(JEPAS, rates=(0.005, 0.1)))
    for run in (alone, among):
        run.run()
    first, second = (run.model.head.heads[0][-1].weight.detach() for run in (alone, among))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


# --------------------------------------------------------------------------------------------------- learning, choosing

LEARNERS = {
    "ep": replace(LARS, epochs=8),
    "ep of a held-out epoch": replace(BEST_HELD_OUT, epochs=8),
    "aim": replace(AIMS, epochs=8),
    "capi": replace(GRID, epochs=6),
    "jepa": replace(JEPAS, epochs=8, decays=(0.001,)),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_a_vit_learns_which_colour_its_square_has(splits, tmp_path, name):
    """All twelve blocks of it."""
    found = run_of(small_vit(), splits, tmp_path, LEARNERS[name]).run()
    assert found.metrics["top1"] >= 90


def test_the_reported_epoch_is_the_best_on_the_reported_split(vit, splits, tmp_path):
    run = run_of(vit, splits, tmp_path, replace(LARS, epochs=4))
    found = run.run()
    tested = [epoch["test"]["top1"][0] for epoch in run.history]
    assert found.metrics["top1"] == max(tested)
    assert found.details["chosen"]["epoch"] == 1 + tested.index(max(tested))


def test_the_twins_epoch_is_the_best_on_images_held_out(vit, splits, tmp_path):
    changed = splits[0], replace(splits[1], targets=1 - splits[1].targets)  # what helps there harms here
    run = run_of(vit, changed, tmp_path, replace(BEST_HELD_OUT, epochs=8))
    found = run.run()
    held_out = [epoch["held-out"]["top1"][0] for epoch in run.history]
    chosen = held_out.index(max(held_out))
    assert found.details["chosen"]["epoch"] == 1 + chosen
    assert found.metrics["top1"] == run.history[chosen]["test"]["top1"][0]
    assert found.metrics["top1"] < max(epoch["test"]["top1"][0] for epoch in run.history)


# -------------------------------------------------------------------------- images that are tested after every epoch


def counted(monkeypatch, vit):
    """Return a list that grows by the number of images with each pass through the backbone."""
    passes, tokens = [], type(vit.build()).tokens

    def count(self, images, *words, **more):
        passes.append(len(images))
        return tokens(self, images, *words, **more)

    monkeypatch.setattr(type(vit.build()), "tokens", count)
    return passes


@pytest.mark.parametrize("recipe", [LARS, BEST_HELD_OUT, replace(LARS, heads_on=("class", "ep-8"))])
def test_rows_that_are_kept_give_what_streamed_ones_do(vit, splits, tmp_path, monkeypatch, recipe):
    kept = run_of(vit, splits, tmp_path / "kept", recipe).run()
    monkeypatch.setattr(tested, "ROOM", 0.0)
    streamed = run_of(vit, splits, tmp_path / "streamed", recipe).run()
    assert kept == streamed


def test_tested_images_pass_through_the_backbone_once_where_the_disk_has_room(vit, splits, tmp_path, monkeypatch):
    passes, shapes = counted(monkeypatch, vit), 1  # a blank image tells the heads' widths
    run_of(vit, splits, tmp_path, LARS).run()
    assert sum(passes) == shapes + 3 * 20 + 1 + 10  # and one tells how much there is to keep


def test_tested_images_pass_through_the_backbone_in_each_test_where_it_has_none(vit, splits, tmp_path, monkeypatch):
    passes, shapes = counted(monkeypatch, vit), 1
    monkeypatch.setattr(tested, "ROOM", 0.0)
    run_of(vit, splits, tmp_path, LARS).run()
    assert sum(passes) == shapes + 3 * 20 + 1 + 3 * 10
    assert list(tmp_path.glob("*/features.npy")) == []


def test_rows_of_one_seed_serve_the_next(vit, splits, tmp_path, monkeypatch):
    run_of(vit, splits, tmp_path / "first", LARS, cache=tmp_path / "cache").run()
    passes, shapes = counted(monkeypatch, vit), 1
    monkeypatch.setattr(tested, "ROOM", 0.0)  # what is there takes no room
    run_of(vit, splits, tmp_path / "second", LARS, cache=tmp_path / "cache", seed=1).run()
    assert sum(passes) == shapes + 3 * 20


def test_other_tokens_are_other_rows(vit, splits, tmp_path):
    for at, tokens in enumerate(("patches", "patches-raw")):
        run_of(vit, splits, tmp_path / str(at), replace(LARS, tokens=tokens, epochs=2), cache=tmp_path / "cache").run()
    assert len(list(tmp_path.glob("cache/*/features.npy"))) == 2


def test_what_is_tested_once_is_not_kept(vit, splits, tmp_path):
    assert JEPAS.tested_rows is None
    run_of(vit, splits, tmp_path, replace(JEPAS, epochs=1)).run()
    assert list(tmp_path.glob("*/features.npy")) == []


def test_a_plan_counts_what_is_kept():
    """196 patches and a class token at 224 px in patches of 16; of a ViT-B 768 wide, 4 bytes each: 30 GB."""
    size = Size(1, 768)
    assert PROTOCOLS["imagenet-ep"].recipe.tested_rows.positions == 196
    assert PROTOCOLS["imagenet-ep-all"].recipe.tested_rows.positions == 197
    assert _tested_bytes(PROTOCOLS["imagenet-ep"], size) == 4 * 50_000 * 196 * 768
    assert _tested_bytes(PROTOCOLS["imagenet-ep-heldout"], size) == 4 * (50_000 + 128_117) * 196 * 768
    assert _tested_bytes(PROTOCOLS["imagenet-attentive-vjepa"], size) == 0
    assert _tested_bytes(PROTOCOLS["imagenet-knn"], size) == 0


# -------------------------------------------------------------------------------------------------- kills and processes


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("saves", [5])
def test_a_killed_probe_ends_with_the_same_numbers(vit, splits, tmp_path, monkeypatch, name, saves):
    first = run_of(vit, splits, tmp_path / "whole", EACH[name])
    expected = first.run()
    with monkeypatch.context() as patched:
        interrupt_after(patched, saves)
        with pytest.raises(KeyboardInterrupt):
            run_of(vit, splits, tmp_path / "killed", EACH[name]).run()
    second = run_of(vit, splits, tmp_path / "killed", EACH[name])
    assert second.run() == expected
    ended = second.model.head.state_dict()
    for key, values in first.model.head.state_dict().items():
        assert torch.equal(values, ended[key])


def train(folder, out):
    """Train each probe in this process of a group; the last batch of eleven images leaves the second one image."""
    process, backbone = current_process("cpu"), small_vit(depth=4)
    split = split_of(folder, range(11))
    with process_group(process):
        for name, recipe in EACH.items():
            recipe = replace(recipe, epochs=2, batch_size=4, chosen_on="test", held_out=0.0)
            run_of(backbone, (split, split), out / name, recipe, process=process).run()


def test_two_processes_train_what_one_does(folder, tmp_path):
    for world in (1, 2):
        launch(world, tmp_path / str(world), train, folder, tmp_path / str(world))
    for name in EACH:
        one, two = (files.load(tmp_path / world / name / "checkpoint.pth") for world in ("1", "2"))
        for key, values in one["model"].items():
            torch.testing.assert_close(values, two["model"][key], rtol=2e-3, atol=2e-4)
        tested = [[epoch["test"] for epoch in state["history"] if "test" in epoch] for state in (one, two)]
        assert tested[0] == tested[1]


# ------------------------------------------------------------------------------------------------------------ protocols

OURS = [name for name in PROTOCOLS if name.startswith(("imagenet-ep", "imagenet-attentive", "imagenet-linear-ep"))]


@pytest.mark.parametrize("name", OURS)
def test_who_chooses_on_the_reported_split_says_so_and_has_a_twin_that_does_not(name):
    protocol = PROTOCOLS[name]
    recipe = protocol.recipe
    chooses = len(recipe.heads) > 1 or recipe.chosen_epoch == "best"
    assert protocol.selected_on.startswith("nothing") == (not chooses)
    if chooses and recipe.chosen_on == "test":
        assert protocol.selected_on.startswith("the reported split itself")
        assert PROTOCOLS[f"{name}-heldout"].recipe == replace(
            recipe, chosen_on="held-out", held_out=0.1, draw="numpy-42"
        )


def test_a_trial_of_the_command_line(scenes, tmp_path):
    """RECIPE@DATA on the scenes' tree: a narrow pooling, small images, one epoch."""
    words = [
        "transfer",
        "imagenet-ep@mine",
        "timm:vit_tiny_patch16_224=random",
        str(scenes / "imagenet"),
        str(tmp_path),
    ]
    words += ["--workers", "0", "--device", "cpu", "--set", "epochs=1", "--set", "warmup_epochs=0"]
    words += ["--set", "batch_size=16", "--set", "heads_on=ep-8", "--set", "precision=fp32"]
    words += ["--set", "transform.resize=32", "--set", "transform.crop=32"]
    assert twinbench.main(words) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["details"]["chosen"]["feature"] == "ep-8"
    assert result["selected_on"].startswith("the reported split itself")
