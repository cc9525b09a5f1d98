"""Backbones of other libraries: the features are what enters the classifier, and nothing arrives half."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import twinbench
from twinbench.convert import write_backbone
from twinbench.convert.architectures.own import module_backbone
from twinbench.convert.convention import IMAGENET, UNIT, ConventionError, InputConvention
from twinbench.convert.named import ModelError, NamedModel, named_model
from twinbench.convert.opening import open_backbone
from twinbench.data.layouts import LabelledImages
from twinbench.data.paths import file_list
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.classification import BT_LINEAR
from twinbench.protocols.house import UserError
from twinbench.protocols.identity import backbone_identity
from twinbench.protocols.kinds.base import Features, ImageTransform
from twinbench.report.result import read_result
from twinbench.transfer.cache import cache_key
from twinbench.transfer.features import extract
from twinbench.transfer.probe import Probe

CROP = ImageTransform(resize=64, crop=64, shape="center-crop")
POOLED = Features(CROP, "gap", "fp32")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder, draw, found = tmp_path_factory.mktemp("images"), np.random.default_rng(0), []
    for i in range(6):
        found.append(folder / f"{i}.png")
        Image.fromarray(draw.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(found[-1])
    return file_list(found)


@pytest.fixture
def weights():
    """A trained-looking ResNet-18 of torchvision, classifier included."""
    torch.manual_seed(1)
    model = torchvision.models.resnet18()
    for values in model.state_dict().values():
        if values.ndim == 1:
            values.add_(torch.rand(values.shape) * 0.1)
    return model


def opened(spec):
    return open_backbone(spec)


def test_a_spec_is_told_from_a_path():
    assert named_model("timm:vit_tiny_patch16_224=random") == NamedModel("timm", "vit_tiny_patch16_224", "random")
    assert named_model("torchvision:resnet18=a=b.pth") == NamedModel("torchvision", "resnet18", "a=b.pth")
    for other in ("zoo:moco", "timm.pth", "random", "./timm:x", ""):
        assert named_model(other) is None


@pytest.mark.parametrize("half", ["timm:", "timm:=w.pth"])
def test_a_spec_without_a_model_is_refused(half):
    with pytest.raises(ModelError, match="names no model; expected timm:NAME=FILE, =pretrained or =random"):
        named_model(half)


@pytest.mark.parametrize("half", ["torchvision:resnet18", "torchvision:resnet18="])
def test_random_weights_are_only_had_by_name(half):
    with pytest.raises(ModelError) as caught:
        named_model(half)
    assert str(caught.value) == (
        f"{half}: names no weights; expected torchvision:resnet18=FILE, torchvision:resnet18=pretrained for the "
        "library's own, or torchvision:resnet18=random for random ones"
    )


def test_a_model_says_where_its_weights_come_from():
    models = [named_model(f"timm:x={weights}") for weights in ("w.pth", "pretrained", "random", "./random")]
    assert [model and model.file for model in models] == [Path("w.pth"), None, None, Path("random")]
    assert [str(model) for model in models][1:3] == ["timm:x=pretrained", "timm:x=random"]


def test_protocols_on_pooled_features_of_a_frozen_backbone_take_any_model():
    others = {
        "voc07-svm": "maps",
        "places205-linear": "maps",
        "imagenet-1pct": "training",
        "coco-mrcnn-c4-1x": "detector",
    }
    for name, takes in others.items():
        assert PROTOCOLS[name].recipe.takes == takes
    for name in ("voc07-svm-gap", "imagenet-knn", "imagenet-linear", "inat18-svm"):
        assert PROTOCOLS[name].recipe.takes == "pooled"
    assert PROTOCOLS["voc07-svm"].with_settings({"pooling": "gap"}).recipe.takes == "pooled"


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_features_are_what_enters_the_classifier(paths, tmp_path, weights, ending):
    file = tmp_path / f"resnet18{ending}"
    if ending == ".pth":
        torch.save({"state_dict": weights.state_dict()}, file)
    else:
        save_file(weights.state_dict(), file)
    backbone = opened(f"torchvision:resnet18={file}")
    found = extract(backbone, paths, POOLED)
    seen = []
    weights.eval().fc.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET.mean, IMAGENET.std))
    images = torch.stack([torchvision.transforms.functional.to_tensor(Image.open(path)) for path in paths])
    with torch.no_grad():
        weights((images - mean) / std)
    np.testing.assert_allclose(found, seen[0].numpy(), rtol=1e-4, atol=1e-5)


def test_a_random_model_leaves_the_generators_of_gpus_alone(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    opened("torchvision:resnet18=random")
    assert seeded == []


def test_random_is_always_the_same_model_and_says_so():
    state = torch.random.get_rng_state()
    first, second = opened("torchvision:resnet18=random"), opened("torchvision:resnet18=random")
    assert first.identity == second.identity
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.source == first.layout == "torchvision:resnet18=random"
    assert first.architecture == "torchvision:resnet18"


def test_the_identity_of_weights_is_their_tensors_wherever_the_file_lies(tmp_path, weights):
    torch.save(weights.state_dict(), tmp_path / "w.pth")
    save_file(weights.state_dict(), tmp_path / "again.safetensors")
    first, again = (opened(f"torchvision:resnet18={tmp_path / name}") for name in ("w.pth", "again.safetensors"))
    assert first.identity == again.identity
    assert first.identity == backbone_identity(first.sha256, "torchvision:resnet18", IMAGENET.as_dict())
    assert first.layout == "torchvision"
    assert first.details["backbone"] == "torchvision:resnet18"
    assert first.identity != opened("torchvision:resnet18=random").identity


def test_timm_models_bring_their_own_convention(paths):
    backbone = opened("timm:vit_tiny_patch16_224=random")
    assert backbone.convention == InputConvention((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    whole = replace(POOLED, transform=ImageTransform(resize=224, crop=224, shape="center-crop"))
    assert extract(backbone, paths[:2], whole).shape == (2, 192)
    assert extract(backbone, paths[:2], POOLED).shape == (2, 192)  # any size: positions are interpolated
    with pytest.raises(ModelError, match="has no maps of several stages"):
        extract(backbone, paths[:2], replace(whole, pooling="res5-avg6"))


def test_a_model_that_takes_one_size_of_images_says_so(paths):
    with pytest.raises(ModelError, match="takes no images of 64 px"):
        extract(opened("torchvision:vit_b_32=random"), paths[:2], POOLED)


def test_a_linear_probe_trains_on_it_and_leaves_it_alone(paths, tmp_path):
    backbone = opened("torchvision:resnet18=random")
    images = LabelledImages(paths, np.arange(6) % 2, ("a", "b"))
    recipe = BT_LINEAR.__class__(**{**BT_LINEAR.__dict__, "transform": CROP, "epochs": 2, "batch_size": 3})
    outcome = Probe(backbone, recipe, images, images, identity="this", out=tmp_path, cache=tmp_path / "cache").run()
    assert outcome.metrics.keys() == {"top1", "top5"}
    trunk = backbone.build()
    now = trunk.model.state_dict()
    assert all(torch.equal(now[name], values) for name, values in backbone.state_dict.items())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda state: state.pop("layer1.0.conv1.weight"), "no tensors of torchvision:resnet18"),
        (lambda state: state.pop("layer2.0.conv1.weight"), "1 missing: layer2.0.conv1.weight"),
        (lambda state: state.update(strange=torch.zeros(1)), "1 left over that are no known head: strange"),
        (lambda state: state.update({"conv1.weight": torch.zeros(64, 3, 3, 3)}), "1 misshapen: conv1.weight"),
    ],
)
def test_weights_that_are_not_the_models_are_refused(tmp_path, weights, damage, message):
    state = dict(weights.state_dict())
    damage(state)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match=message):
        opened(f"torchvision:resnet18={tmp_path / 'w.pth'}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torchvision:resnet81=random", "Did you mean 'resnet18'"),
        ("timm:vit_tinny_patch16_224=random", "unknown timm model"),
        ("torchvision:resnet18=nowhere.pth", "nowhere.pth: No such file"),
    ],
)
def test_a_name_or_file_that_does_not_exist(spec, message):
    with pytest.raises(UserError, match=message):
        opened(spec)


def test_a_file_that_holds_no_weights_says_what_was_expected(tmp_path):
    (tmp_path / "text.pth").write_text("epoch 1\n")
    with pytest.raises(UserError, match="text.pth: begins with .* no checkpoint that twinbench knows"):
        opened(f"torchvision:resnet18={tmp_path / 'text.pth'}")


def test_a_trial_says_what_its_backbone_was_and_refuses_to_tune_it(scenes, tmp_path, capsys):
    data, out, spec = scenes / "imagenet", tmp_path / "knn", "torchvision:resnet18=random"
    assert (
        twinbench.main(
            [
                "transfer",
                "demo-imagenet-knn",
                spec,
                str(data),
                str(out),
                "--partial",
                "--workers",
                "0",
            ]
        )
        == 0
    )
    result = read_result(out / "result.json")
    assert result.details["backbone"] == result.details["source"] == result.method == spec
    spec = "torchvision:shufflenet_v2_x0_5=random"
    for command, why in (
        (["transfer", "demo-imagenet-1pct"], f"demo-imagenet-1pct on {spec}: trains its backbone, which torchvision:"),
        (["detection", "demo-voc0712-frcnn-c4"], f"demo-voc0712-frcnn-c4 on {spec}: trains a C4 detector, whose"),
    ):
        assert twinbench.main([*command, spec, str(data), str(tmp_path / "x")]) == 2
        assert why in capsys.readouterr().err
    assert twinbench.main(["inspect", "timm:x=random"]) == 2
    assert "timm:x=random: names no file; expected timm:x=FILE" in capsys.readouterr().err


class Mean(nn.Module):
    """The mean colour and a product of it, over the batch norm that a mode changes."""

    def __init__(self, gain=1.0):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.gain = gain

    def forward(self, images):
        return torch.cat([self.norm(images).mean((2, 3)), self.gain * images[:, :1, 0, 0]], dim=1)


class Gives(nn.Module):
    """Gives what it was made with, whatever the images are."""

    def __init__(self, what):
        super().__init__()
        self.what = what

    def forward(self, images):
        return self.what


def test_a_module_of_ones_own_gives_its_features(paths):
    module = Mean()
    module.norm.running_mean += 0.25
    backbone = module_backbone(module, "unit")
    found = extract(backbone, paths, POOLED)
    assert found.shape == (6, 4)
    images = torch.stack([torchvision.transforms.functional.to_tensor(Image.open(path)) for path in paths])
    with torch.no_grad():
        expected = module.eval()(images)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_a_module_is_left_as_it_is():
    module = Mean().train()
    backbone = module_backbone(module)
    backbone.build().model.norm.running_mean += 1
    assert module.training
    assert module.norm.weight.requires_grad
    assert module.norm.running_mean.sum() == 0
    assert backbone.network.module.norm.running_mean.sum() == 0
    module.norm.running_mean += 2  # training goes on, and the trial is of what was given
    assert backbone.state_dict["norm.running_mean"].sum() == 0


def test_a_modules_identity_is_its_tensors_its_code_and_its_convention():
    plain = module_backbone(Mean())
    assert plain.identity == backbone_identity(plain.sha256, plain.architecture, IMAGENET.as_dict())
    assert plain.architecture.startswith("module:Mean-")
    convention_from = "assumed: nothing was asked for"
    assert plain.details == {"backbone": plain.architecture, "source": "Mean", "convention_from": convention_from}
    assert module_backbone(Mean(), name="mine").identity == plain.identity
    other_tensors, other_code, other_input = Mean(), Mean(gain=2.0), Mean()
    other_tensors.norm.running_mean += 1
    found = [module_backbone(other_tensors), module_backbone(other_code), module_backbone(other_input, "unit")]
    assert len({plain.identity, *(backbone.identity for backbone in found)}) == 4
    assert [backbone.sha256 == plain.sha256 for backbone in found] == [False, True, True]


def test_features_of_the_same_tensors_in_other_code_are_kept_apart(paths):
    keys = {cache_key(module_backbone(Mean(gain)), paths, POOLED, "cpu") for gain in (1.0, 2.0)}
    assert len(keys) == 2


def test_what_wraps_a_module_is_taken_off():
    module = Mean()
    compiled = torch.compile(module)
    assert isinstance(compiled, nn.Module)
    for wrapped in (nn.DataParallel(module), compiled):
        assert module_backbone(wrapped).identity == module_backbone(module).identity


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (None, IMAGENET),
        ("unit", UNIT),
        (UNIT, UNIT),
        ({"mean": (0, 0, 0), "std": (1, 1, 1)}, UNIT),
        (UNIT.as_dict(), UNIT),
    ],
)
def test_a_convention_is_given_in_several_ways(given, meant):
    assert open_backbone(Mean(), convention=given).convention == meant


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("units", "unknown input convention 'units'. Did you mean 'unit'"),
        ({"men": (0, 0, 0)}, "unknown field of an input convention 'men'. Did you mean 'mean'"),
        ({"std": (1, 0, 1)}, "expected mean and std of three numbers"),
    ],
)
def test_what_is_no_convention_is_refused(given, message):
    with pytest.raises(ConventionError, match=message):
        module_backbone(Mean(), given)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"features": torch.zeros(6, 2)}, "gives dict for 6 images; expected features"),
        (torch.zeros(6), r"gives torch.float32 \(6,\) for 6 images"),
        (torch.zeros(1, 6), r"gives torch.float32 \(1, 6\) for 6 images"),
        (torch.zeros(6, 2, dtype=torch.int64), r"gives torch.int64 \(6, 2\)"),
    ],
)
def test_what_are_no_features_is_refused(paths, what, message):
    with pytest.raises(ModelError, match=message):
        extract(module_backbone(Gives(what)), paths, POOLED)


def test_a_modules_maps_are_flattened_and_must_be_finite(paths):
    assert extract(module_backbone(Gives(torch.zeros(6, 2, 3, 1))), paths, POOLED).shape == (6, 6)
    with pytest.raises(UserError, match="features are not finite"):
        extract(module_backbone(Gives(torch.full((6, 2), torch.nan))), paths, POOLED)
    with pytest.raises(ModelError, match="module:Gives-.*has no maps of several stages"):
        extract(module_backbone(Gives(torch.zeros(6, 2))), paths, replace(POOLED, pooling="res5-avg6"))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning", "ignore:.*torch.jit.*:DeprecationWarning")
def test_modules_that_cannot_be_measured_say_why():
    held = Mean()
    held.weights = held.norm.weight * 2  # of a graph: PyTorch copies no such tensor
    for module, message in (
        (Mean().half(), "Mean: norm.weight is torch.float16; expected float32: give module.float()"),
        (nn.Sequential(nn.LazyLinear(2)), "Sequential: 0.weight has no shape yet"),
        (torch.jit.script(nn.Sequential(nn.ReLU())), "is TorchScript, whose code has no identity"),
        (held, "Mean: cannot be copied"),
    ):
        with pytest.raises(ModelError, match=message):
            module_backbone(module)


def test_any_backbone_is_opened_by_what_names_it(tmp_path):
    path = tmp_path / "random.pth"
    random = open_backbone("random", 1 / 16)
    for name, values in random.state_dict.items():
        if name.endswith(("bias", "running_mean")):
            values += 1
    write_backbone(random, path)
    found = open_backbone(path)
    assert found.network.is_resnet50
    assert found.sha256 == open_backbone(str(path)).sha256
    assert open_backbone(path, convention="unit").convention == UNIT
    named = open_backbone("torchvision:resnet18=random", convention="unit")
    assert named.convention == UNIT
    assert not named.network.is_resnet50
    assert not open_backbone(Mean()).network.is_resnet50
    with pytest.raises(ModelError, match="backbone int: expected a path, a name or an nn.Module"):
        open_backbone(3)  # type: ignore[arg-type]
