"""ResNets of torchvision and timm are told by their tensors, and give what their library's own forward pass gives."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models as torchvision_models

from twinbench.convert import CheckpointError
from twinbench.convert.architectures.library import LibraryNetwork
from twinbench.convert.architectures.network import Network, ResNet50Network
from twinbench.convert.architectures.recognized import recognized
from twinbench.convert.convention import HALF
from twinbench.convert.opening import open_backbone

timm = pytest.importorskip("timm")

TORCHVISION = (
    *("resnet18", "resnet34", "resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2"),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"),
)
TIMM = (
    *("resnet10t", "resnet14t", "resnet18d", "resnet26", "resnet26d", "resnet26t", "resnet34d"),
    *("resnet50c", "resnet50d", "resnet50s", "resnet50t", "resnet101c", "resnet101d", "resnet101s"),
    *("resnet152c", "resnet152d", "resnet152s", "resnet200", "resnet200d"),
    *("resnext50d_32x4d", "resnext101_32x4d", "resnext101_32x16d", "resnext101_32x32d"),
)
# Nearly the ones above: with attention, other stems, other widths of one stage, norms without statistics.
OTHERS = (
    *("seresnet50", "seresnet18", "ecaresnet50t", "ecaresnetlight", "skresnet18", "skresnet50", "resnest50d"),
    *("res2net50_26w_4s", "resnet50_gn", "resnetrs50", "seresnext50_32x4d", "ecaresnet50d_pruned", "senet154"),
    *("resnet50_clip", "resnetv2_50", "resnetv2_50x1_bit", "regnety_004", "densenet121", "xception41"),
)


def tensors_of(library: str, model: str) -> dict[str, Tensor]:
    """Return the state dict of a library's model without values."""
    with torch.device("meta"):
        made = timm.create_model(model) if library == "timm" else torchvision_models.get_model(model)
    return made.state_dict()


def told(tensors: dict[str, Tensor]) -> list[Network]:
    shapes = {name: tuple(values.shape) for name, values in tensors.items()}
    return recognized(shapes.get)


def test_each_is_told_by_its_own_tensors() -> None:
    expected = [("torchvision", model) for model in TORCHVISION] + [("timm", model) for model in TIMM]
    for library, model in expected:
        tensors = tensors_of(library, model)
        assert told(tensors) == [LibraryNetwork(library, model)], model
        [network] = told(tensors)
        rest = set(tensors) - set(network.shapes())
        assert rest == {"fc.weight", "fc.bias"}, model


def test_torchvisions_and_timms_resnet50_are_ours() -> None:
    assert told(tensors_of("torchvision", "resnet50")) == [ResNet50Network()]
    assert told(tensors_of("timm", "resnet50")) == [ResNet50Network()]


def test_no_other_network_fits_what_it_is_taken_for() -> None:
    for model in OTHERS:
        tensors = tensors_of("timm", model)
        for network in told(tensors):
            shapes = {name: tuple(values.shape) for name, values in tensors.items() if not name.startswith("fc.")}
            assert network.shapes() != shapes, f"{model} is taken for {network.name}"


def moved(model: nn.Module) -> nn.Module:
    """Return the model with every tensor moved from its initial value, so that no two can be mistaken."""
    generator = torch.Generator().manual_seed(1)
    for name, values in model.state_dict().items():
        if values.is_floating_point():
            noise = torch.rand(values.shape, generator=generator)
            values.add_(noise if "running_var" in name else (noise - 0.5) * values.abs().mean().clamp(min=0.02))
    return model.eval()


def saved(model: nn.Module, path: Path) -> Path:
    torch.save(model.state_dict(), path)
    return path


def stages(model: nn.Module) -> list[Tensor]:
    """Return a list that the next forward pass fills with what layer1 to layer4 give, in the library's own code."""
    found: list[Tensor] = []

    def hook(_: nn.Module, __: Any, output: Tensor) -> None:
        found.append(output)

    for number in range(1, 5):
        model.get_submodule(f"layer{number}").register_forward_hook(hook)
    return found


@pytest.mark.parametrize(
    ("library", "model"), [("torchvision", "resnet18"), ("torchvision", "resnext50_32x4d"), ("timm", "resnet18d")]
)
def test_features_and_maps_are_the_librarys(tmp_path: Path, library: str, model: str) -> None:
    original = timm.create_model(model) if library == "timm" else torchvision_models.get_model(model)
    backbone = open_backbone(saved(moved(original), tmp_path / "file.pth"), convention="imagenet")
    assert backbone.architecture == f"{library}:{model}"
    original.fc = nn.Identity()
    wanted_maps, images = stages(original), torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected, trunk = original(images), backbone.build()
        torch.testing.assert_close(trunk(images), expected, rtol=1e-5, atol=1e-5)
        maps, last_two = trunk.maps(images), trunk.maps(images, last=2)
    assert len(maps) == 4
    for found, wanted in zip(maps, wanted_maps, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert [tuple(each.shape) for each in last_two] == [tuple(each.shape) for each in maps[2:]]


def refusal(model: nn.Module, tmp_path: Path, drop: list[str] | None = None) -> str:
    from twinbench.convert.finding.find import Wanted

    with pytest.raises(CheckpointError) as error:
        open_backbone(saved(moved(model), tmp_path / "file.pth"), wanted=Wanted(drop=drop or []))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("drop", [[], ["*se*"], ["layer*"]])
def test_nothing_inside_a_trunk_can_be_dropped(tmp_path: Path, drop: list[str]) -> None:
    message = refusal(timm.create_model("seresnet50"), tmp_path, drop)
    assert "left over that are no known head: layer1.0.se.fc1.weight" in message
    assert "it is another network; if a library has it, say LIBRARY:NAME=FILE" in message
    assert "--drop" not in message


def test_what_is_refused_by_its_path_opens_by_its_name(tmp_path: Path) -> None:
    original = moved(timm.create_model("seresnet18", num_classes=0))
    path = saved(original, tmp_path / "file.pth")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = original(images)
        found = open_backbone(f"timm:seresnet18={path}", convention="imagenet").build()(images)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_lookalike_opens_by_its_name_and_its_path_means_the_usual_network(tmp_path: Path) -> None:
    """docs/checkpoints.md warns of it: resnetaa50's tensors are a ResNet-50's, and its features are others."""
    path = saved(moved(timm.create_model("resnetblur18", num_classes=0)), tmp_path / "file.pth")
    by_path, by_name = open_backbone(path), open_backbone(f"timm:resnetblur18={path}", convention="imagenet")
    assert by_path.architecture == "torchvision:resnet18"
    assert by_path.sha256 == by_name.sha256
    assert by_path.identity != by_name.identity
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(by_path.build()(images), by_name.build()(images), atol=1e-2)


def test_parameters_without_statistics_are_not_taken_for_group_norms(tmp_path: Path) -> None:
    bare = {name: values for name, values in moved(torchvision_models.resnet50()).named_parameters()}
    torch.save(bare, tmp_path / "bare.pth")
    with pytest.raises(CheckpointError, match=r"no whole resnet50 .*106 missing: bn1\.running_mean"):
        open_backbone(tmp_path / "bare.pth")
    assert open_backbone(f"timm:resnet50_gn={tmp_path / 'bare.pth'}").architecture == "timm:resnet50_gn"


def test_a_network_that_comes_with_several_conventions_asks_for_one(tmp_path: Path) -> None:
    path = saved(moved(timm.create_model("resnet18d")), tmp_path / "file.pth")
    with pytest.raises(
        CheckpointError, match=r"timm:resnet18d come in 2 ways; say --input imagenet .* or --input half"
    ):
        open_backbone(path)
    assert open_backbone(path, convention="half").convention == HALF


@pytest.mark.parametrize("with_pool", [True, False])
def test_a_sequence_of_a_resnets_children_is_one_only_with_its_pooling(tmp_path: Path, with_pool: bool) -> None:
    children = list(moved(torchvision_models.resnet18()).children())[:-1]
    model = nn.Sequential(*(each for each in children if with_pool or not isinstance(each, nn.MaxPool2d)))
    torch.save({"f": model.state_dict()}, tmp_path / "file.pth")
    images = torch.randn(1, 3, 64, 64)
    if with_pool:
        with torch.no_grad():
            found = open_backbone(tmp_path / "file.pth").build()(images)
            torch.testing.assert_close(found, model.eval()(images).flatten(1), rtol=1e-5, atol=1e-5)
    else:
        with pytest.raises(CheckpointError, match=r"without its max-pooling, which neither torchvision nor timm has"):
            open_backbone(tmp_path / "file.pth")


def test_the_stem_for_small_images_is_named(tmp_path: Path) -> None:
    model = torchvision_models.resnet18()
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)  # solo-learn's, Bolts' and SimCLR's for CIFAR
    message = refusal(model, tmp_path)
    assert "conv1.weight is 64 x 3 x 3 x 3, expected 64 x 3 x 7 x 7" in message
