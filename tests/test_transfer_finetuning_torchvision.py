"""torchvision's vision transformers are trained as timm's are: by rates of their depth, with blocks left out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torchvision.models import _api, vision_transformer

from tests.probe_kills import interrupt_after
from twinbench.convert.architectures.depth import layer_rates
from twinbench.convert.architectures.library import LibraryNetwork
from twinbench.convert.backbone import fresh_backbone
from twinbench.convert.convention import IMAGENET
from twinbench.convert.named import ModelError
from twinbench.data.layouts import LabelledImages
from twinbench.data.paths import file_list
from twinbench.protocols.finetuning import DEIT, MAE_BASE
from twinbench.protocols.kinds.base import ImageTransform
from twinbench.transfer.classifier import Classifier
from twinbench.transfer.drop_path import DropPaths
from twinbench.transfer.features import pooled
from twinbench.transfer.probe import Probe

NAME, BLOCKS, WIDTH = "vit_slim_16", 3, 48
SMALL = {"transform": ImageTransform(resize=32, crop=32, shape="center-crop"), "batch_size": 20, "precision": "fp32"}
MAE = replace(MAE_BASE, **SMALL, epochs=4, warmup_epochs=1, norm_groups=2, lr_head=1e-3, lr_backbone=1e-3)
PLAIN = replace(  # DeiT's, but for what is drawn, with MAE's layer decay
    DEIT,
    **SMALL,
    epochs=1,
    warmup_epochs=0,
    norm_groups=1,
    layer_decay=0.65,
    policy="",
    erasing=0.0,
    mixup=0.0,
    cutmix=0.0,
    drop_path=0.0,
    smoothing=0.0,
    repeats=1,
)


def theirs():
    """torchvision's own class, small: its smallest named model has 86 million parameters."""
    return vision_transformer.VisionTransformer(32, 16, BLOCKS, 3, WIDTH, 4 * WIDTH)


@pytest.fixture(scope="module")
def backbone():
    """Such a network, found by its name among torchvision's."""

    def build(*, weights=None, progress=True):
        return theirs()

    build.__module__ = vision_transformer.__name__
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(_api.BUILTIN_MODELS, NAME, build)
        yield fresh_backbone(LibraryNetwork("torchvision", NAME), "slim", IMAGENET, "assumed")


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """Twenty dark and bright images, and ten."""
    draw, folder = np.random.default_rng(0), tmp_path_factory.mktemp("images")

    def written(count):
        targets, paths = np.arange(count) % 2, []
        for i in range(count):
            pixels = draw.integers(0, 90, size=(40, 44, 3)) + 150 * targets[i]
            paths.append(folder / f"{count}-{i:02}.png")
            Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
        return LabelledImages(file_list(paths), targets.astype(np.int64), ("dark", "bright"))

    return [written(20), written(10)]


def probe(backbone, splits, out, recipe):
    return Probe(backbone, recipe, *splits, identity="this trial", out=out, cache=out)


def test_one_step_is_that_of_torchvisions_own_network_under_adamw(backbone, splits, tmp_path):
    """Adam's first step is g / (|g| + eps), and the decay comes before it; g is of torchvision's forward pass."""
    run = probe(backbone, splits, tmp_path, PLAIN)
    run.model.double()
    inputs = run.inputs
    run.inputs = lambda images: inputs(images).double()
    images, targets = next(iter(run.loader))
    model = theirs().double().train()
    head = run.model.head[-1]
    model.heads = nn.Linear(WIDTH, 2, dtype=torch.float64)
    model.load_state_dict(
        {name.removeprefix("model."): values for name, values in run.model.trunk.state_dict().items()}
        | {"heads.weight": head.weight, "heads.bias": head.bias}
    )
    functional.cross_entropy(model(run.inputs(images)), targets).backward()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    run.run()
    after = dict(run.model.trunk.model.named_parameters()) | {"heads.weight": head.weight, "heads.bias": head.bias}
    assert after.keys() == before.keys()
    for name, parameter in model.named_parameters():
        block = name.partition("encoder_layer_")[2].partition(".")[0]
        depth = int(block) + 1 if block else BLOCKS + 1 if name.startswith(("encoder.ln", "heads")) else 0
        rate = 1e-3 * 0.65 ** (BLOCKS + 1 - depth)
        decay = 0.05 if parameter.ndim > 1 and name.endswith("weight") else 0.0
        wanted = before[name] * (1 - rate * decay) - rate * parameter.grad / (parameter.grad.abs() + 1e-8)
        torch.testing.assert_close(after[name], wanted, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: name + text)


def test_embeddings_and_biases_and_norms_do_not_decay(backbone):
    model = Classifier(backbone.build(), 2, PLAIN, 0)
    kept = {id(each) for group in model.parameter_groups() if not group["weight_decay"] for each in group["params"]}
    free = {name for name, parameter in model.trunk.model.named_parameters() if id(parameter) in kept}
    assert {"class_token", "encoder.pos_embedding", "conv_proj.bias", "encoder.ln.weight"} <= free
    assert not any(name.endswith(("proj_weight", "mlp.0.weight", "conv_proj.weight")) for name in free)


def test_rates_fall_with_depth(backbone):
    names = [name for name, _ in backbone.build().named_parameters()]
    rates = dict(zip(names, layer_rates(names, 0.5), strict=True))
    assert [rates[f"model.encoder.layers.encoder_layer_{block}.ln_1.weight"] for block in range(BLOCKS)] == [
        0.125,
        0.25,
        0.5,
    ]
    assert rates["model.class_token"] == rates["model.encoder.pos_embedding"] == 0.0625
    assert rates["model.encoder.ln.weight"] == 1.0


def test_blocks_are_left_out_at_a_rate_that_rises_to_the_recipes(backbone):
    trunk = backbone.build(0.2)
    assert [path.rate for path in DropPaths(trunk).paths] == pytest.approx([0.1, 0.1, 0.2, 0.2])
    assert trunk.state_dict().keys() == backbone.build().state_dict().keys()


def test_an_image_whose_blocks_are_left_out_goes_past_them_and_others_are_torchvisions(backbone):
    trunk = backbone.build(0.5)
    paths = DropPaths(trunk)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    factors = torch.ones(len(paths.paths), 2)
    factors[:, 1] = 0
    paths.use(factors)
    model = theirs().eval()
    model.heads = nn.Identity()
    model.load_state_dict({name.removeprefix("model."): values for name, values in trunk.state_dict().items()})
    with torch.no_grad():
        found = trunk.train()(images)
        whole = model(images)
        model.encoder.layers = model.encoder.layers[:1]  # the first block is never left out
        short = model(images)
    torch.testing.assert_close(found[0], whole[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[1], short[1], rtol=0, atol=1e-5)


def test_maes_features_are_the_mean_of_torchvisions_patches_before_the_norm(backbone):
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    trunk = backbone.build()
    seen = []
    trunk.model.encoder.layers.register_forward_hook(lambda module, given, found: seen.append(found))
    with torch.no_grad():
        found = pooled(trunk, images, "prenorm-patches")
        trunk(images)
    torch.testing.assert_close(found.flatten(1), seen[-1][:, 1:].mean(1), rtol=0, atol=1e-6)


def test_it_learns_and_a_killed_run_ends_with_the_same_numbers(backbone, splits, tmp_path, monkeypatch):
    recipe = replace(MAE, epochs=6, mixup=0.0, cutmix=0.0, policy="", erasing=0.0, lr_backbone=3e-3, lr_head=3e-2)
    whole = probe(backbone, splits, tmp_path / "whole", recipe).run()
    with monkeypatch.context() as patched:
        interrupt_after(patched, 3)
        with pytest.raises(KeyboardInterrupt):
            probe(backbone, splits, tmp_path / "killed", recipe).run()
    assert probe(backbone, splits, tmp_path / "killed", recipe).run() == whole
    assert whole.metrics["top1"] >= 90


def test_a_swin_s_own_drops_keep_it_from_being_trained():
    swin = fresh_backbone(LibraryNetwork("torchvision", "swin_t"), "swin", IMAGENET, "assumed")
    with pytest.raises(ModelError, match="trains its backbone, which torchvision:swin_t does not offer"):
        swin.require(MAE.takes, "imagenet-finetune-mae")
