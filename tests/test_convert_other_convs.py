"""RegNets, CLIP's ResNets and an EfficientNet, in everybody's names, give what another code's network gives."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models as torchvision_models

from twinbench.convert import CheckpointError
from twinbench.convert.architectures.convs import CONVS
from twinbench.convert.architectures.library import LibraryNetwork
from twinbench.convert.architectures.recognized import recognized
from twinbench.convert.backbone import Backbone
from twinbench.convert.convention import CLIP, HALF, IMAGENET
from twinbench.convert.opening import open_backbone
from twinbench.convert.released import released_classifier

timm = pytest.importorskip("timm")

Weights = dict[str, Tensor]


def moved(model: nn.Module) -> Any:
    """Return the model with every tensor moved from its initial value, so that no two can be mistaken."""
    generator = torch.Generator().manual_seed(1)
    for name, values in model.state_dict().items():
        if values.is_floating_point():
            noise = torch.rand(values.shape, generator=generator)
            values.add_(noise if "running_var" in name else (noise - 0.5) * 0.05)
    return model.eval()


def images(side: int = 64) -> Tensor:
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(2))


def assert_gives(backbone: Backbone, expected: Tensor, side: int = 64) -> None:
    """Compare with features of 1 image."""
    with torch.no_grad():
        torch.testing.assert_close(backbone.build()(images(side)), expected, rtol=1e-5, atol=1e-5)


def renamed(weights: Weights, *rules: tuple[str, str]) -> Weights:
    found = {}
    for name, values in weights.items():
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        found[name] = values
    return found


# --- RegNet ---


def test_a_network_that_can_only_be_built_really_has_its_tensors() -> None:
    """torchvision computes a RegNet's channels with tensors, which on the meta device have no values."""
    model = torchvision_models.regnet_x_400mf()
    expected = {name: tuple(values.shape) for name, values in model.state_dict().items() if not name.startswith("fc.")}
    before = torch.get_rng_state()
    assert LibraryNetwork("torchvision", "regnet_x_400mf").shapes() == expected
    assert torch.equal(torch.get_rng_state(), before)


def test_each_small_regnet_is_told_by_its_own_tensors() -> None:
    rows = [row for row in CONVS if re.search(r"regnet_._(4|8)00mf", row.network.name)]
    assert len(rows) == 4
    for row in rows:
        assert recognized(row.network.shapes().get) == [row.network]


@pytest.mark.parametrize(
    ("model", "kind", "sizes", "depths", "group"),
    [
        ("regnet_y_400mf", "y", [48, 104, 208, 440], [1, 3, 6, 6], 8),
        ("regnet_x_400mf", "x", [32, 64, 160, 400], [1, 2, 7, 12], 16),
    ],
)
def test_regnet_of_transformers_of_torchvision_and_of_vissl(
    tmp_path: Path, model: str, kind: str, sizes: list[int], depths: list[int], group: int
) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.RegNetConfig(
        embedding_size=32, hidden_sizes=sizes, depths=depths, groups_width=group, layer_type=kind
    )
    original = moved(transformers.RegNetModel(config))
    with torch.no_grad():
        expected = original(images()).pooler_output.flatten(1)
    original.save_pretrained(tmp_path)
    found = open_backbone(tmp_path / "model.safetensors")
    assert found.architecture == f"torchvision:{model}"
    assert_gives(found, expected)
    own = torchvision_models.get_model(model)
    own.load_state_dict(dict(found.state_dict), strict=False)
    torch.save({"model": own.state_dict(), "epoch": 100}, tmp_path / "own.pth")
    assert open_backbone(tmp_path / "own.pth").sha256 == found.sha256
    trunk = renamed(  # ClassyVision's anynet.py in VISSL's feature blocks
        dict(found.state_dict),
        (r"^stem\.", "conv1.stem."),
        (r"^trunk_output\.block1\.", "res2."),
        (r"^trunk_output\.block2\.", "res3."),
        (r"^trunk_output\.block3\.", "res4."),
        (r"^trunk_output\.block4\.", "res5."),
        (r"\.proj\.0\.", ".proj."),
        (r"\.proj\.1\.", ".bn."),
        (r"\.f\.se\.fc1\.", ".f.se.excitation.0."),
        (r"\.f\.se\.fc2\.", ".f.se.excitation.2."),
        (r"\.f\.c\.0\.", ".f.c."),
        (r"\.f\.c\.1\.", ".f.final_bn."),
    )
    trunk = {f"_feature_blocks.{name}": values for name, values in trunk.items()}
    seer = {"classy_state_dict": {"base_model": {"model": {"trunk": trunk, "heads": {}}}}}
    torch.save(seer, tmp_path / "seer.torch")
    again = open_backbone(tmp_path / "seer.torch")
    assert (again.layout, again.sha256, again.convention) == ("vissl", found.sha256, IMAGENET)


# --- CLIP's ResNet ---


def test_clips_resnet_as_timm_itself_reads_it(tmp_path: Path) -> None:
    byobnet = pytest.importorskip("timm.models.byobnet")
    original = moved(timm.create_model("resnet50_clip"))
    weights = original.state_dict()
    kinds = {"conv1_1x1": "1", "conv2_kxk": "2", "conv3_1x1": "3"}
    for stage in range(4):
        weights = renamed(
            weights,
            *(
                (rf"^stages\.{stage}\.(\d+)\.{ours}\.(conv|bn)\.", rf"layer{stage + 1}.\1.\g<2>{n}.")
                for ours, n in kinds.items()
            ),
            (rf"^stages\.{stage}\.(\d+)\.shortcut\.conv\.conv\.", rf"layer{stage + 1}.\1.downsample.0."),
            (rf"^stages\.{stage}\.(\d+)\.shortcut\.conv\.bn\.", rf"layer{stage + 1}.\1.downsample.1."),
        )
    weights = renamed(
        weights,
        (r"^stem\.conv(\d)\.(conv|bn)\.", r"\g<2>\1."),
        (r"^head\.pos_embed", "attnpool.positional_embedding"),
        (r"^head\.proj\.", "attnpool.c_proj."),
        (r"^head\.([qkv])\.", r"attnpool.\1_proj."),
    )
    clip = {f"visual.{name}": values for name, values in weights.items()}
    assert {name: tuple(values.shape) for name, values in byobnet.checkpoint_filter_fn(clip, original).items()} == {
        name: tuple(values.shape) for name, values in original.state_dict().items()
    }
    text = {"positional_embedding": torch.ones(77, 8), "logit_scale": torch.ones(()), "ln_final.weight": torch.ones(8)}
    halves = {name: values.half() if values.is_floating_point() else values for name, values in clip.items()}
    torch.save(clip | text, tmp_path / "RN50.pt")
    torch.save(halves | text, tmp_path / "RN50-half.pt")
    found = open_backbone(tmp_path / "RN50.pt")
    assert (found.architecture, found.layout, found.convention) == ("timm:resnet50_clip", "clip", CLIP)
    original.reset_classifier(0)
    with torch.no_grad():
        expected = original(images(224))
    assert_gives(found, expected, 224)
    assert open_backbone(tmp_path / "RN50-half.pt").cast == "float16"


# --- EfficientNet ---


@pytest.mark.parametrize("size", range(5))
def test_efficientnet_lite_of_its_package_is_padded_as_tensorflow_does(size: int, tmp_path: Path) -> None:
    model = f"efficientnet_lite{size}"
    original = moved(timm.create_model(f"tf_{model}", num_classes=0))
    with torch.no_grad():
        expected = original(images())
    torch.save(original.state_dict(), tmp_path / "timm.pth")
    with pytest.raises(CheckpointError, match=rf"say which: timm:{model}=.* or timm:tf_{model}"):
        open_backbone(tmp_path / "timm.pth")
    places = [f"{stage}.{block}" for stage, blocks in enumerate(original.blocks) for block in range(len(blocks))][1:]
    first = ((r"^conv_stem", "_conv_stem"), (r"^bn1", "_bn0"), (r"^bn2", "_bn1"), (r"^conv_head", "_conv_head"))
    block_0 = (
        (r"^blocks\.0\.0\.conv_dw", "_blocks.0._depthwise_conv"),
        (r"^blocks\.0\.0\.bn", "_blocks.0._bn"),
        (r"^blocks\.0\.0\.conv_pw", "_blocks.0._project_conv"),
    )
    later = (
        *((rf"^blocks\.{place}\.".replace("0.", r"0\."), f"_blocks.{n}.") for n, place in enumerate(places, start=1)),
        (r"(_blocks\.\d+)\.conv_pw\.", r"\1._expand_conv."),
        (r"(_blocks\.\d+)\.bn1\.", r"\1._bn0."),
        (r"(_blocks\.\d+)\.conv_dw", r"\1._depthwise_conv"),
        (r"(_blocks\.\d+)\.bn2\.", r"\1._bn1."),
        (r"(_blocks\.\d+)\.conv_pwl\.", r"\1._project_conv."),
        (r"(_blocks\.\d+)\.bn3\.", r"\1._bn2."),
    )
    head = {"_fc.weight": torch.randn(10, 1280), "_fc.bias": torch.randn(10)}
    named = renamed(original.state_dict(), *first, *block_0, *later) | head
    torch.save(named, tmp_path / "lite.pth")
    found = open_backbone(tmp_path / "lite.pth")
    assert (found.architecture, found.convention) == (f"timm:tf_{model}", HALF)
    assert_gives(found, expected)
    classifier = released_classifier(str(tmp_path / "lite.pth"))
    assert torch.equal(classifier.weight, head["_fc.weight"])
    assert torch.equal(classifier.bias, head["_fc.bias"])
