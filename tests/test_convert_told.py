"""What no tensor tells: networks of the same tensors are asked for, and every answer that is offered leads on."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from torch import Tensor

from twinbench.convert import CheckpointError
from twinbench.convert.architectures.library import LibraryNetwork
from twinbench.convert.finding.find import Wanted
from twinbench.convert.named import ModelError, named_model
from twinbench.convert.opening import open_backbone

SMALL = "vit_small_patch16_224"


def vit_small() -> dict[str, Tensor]:
    """Return a ViT-S in which no tensor is as initialised."""
    torch.manual_seed(0)
    fresh = LibraryNetwork("timm", SMALL).fresh()
    return {name: values + 0.1 * torch.rand(values.shape) for name, values in fresh.items()}


def test_a_small_vit_with_fixed_positions_may_be_moco_v3s(tmp_path: Path) -> None:
    tensors = vit_small()
    path = tmp_path / "deit.pth"
    torch.save({"model": tensors}, path)
    assert open_backbone(path).architecture == f"timm:{SMALL}"  # learned positions: six heads
    tensors["pos_embed"][:, 0] = 0
    torch.save({"model": tensors}, path)
    with pytest.raises(CheckpointError, match="2 networks that only the forward pass tells apart") as caught:
        open_backbone(path)
    specs = re.split(" or ", str(caught.value).partition("say which: ")[2])
    specs = [spec for words in specs for spec in shlex.split(words)]
    assert specs == [f"timm:{SMALL}={path}", f"timm:{SMALL} num_heads=12={path}"]
    images = torch.rand(1, 3, 224, 224)
    features = []
    for spec in specs:
        backbone = open_backbone(spec)
        assert f"{backbone.architecture}={path}" == spec
        with torch.inference_mode():
            features.append(backbone.build()(images))
    assert not torch.allclose(*features, atol=1e-3)


@pytest.mark.parametrize("spec", ["random", "torchvision:resnet18=random"])
@pytest.mark.parametrize(
    ("wanted", "told"), [(Wanted("moco:key"), "--layout moco:key"), (Wanted(drop=["fc.*"]), "--drop fc")]
)
def test_a_place_is_only_asked_for_in_a_file(spec: str, wanted: Wanted, told: str) -> None:
    with pytest.raises(ModelError, match=f"{told}.*: {spec} is no file"):
        open_backbone(spec, wanted=wanted)
    assert open_backbone(spec, wanted=Wanted()).source == spec


def test_a_network_with_options_has_a_spec() -> None:
    named = named_model(f"timm:{SMALL} num_heads=12=a=b.pth")
    assert named is not None
    assert named.label == f"timm:{SMALL} num_heads=12"
    assert named.file == Path("a=b.pth")
    with pytest.raises(ModelError, match=f"no network that twinbench knows; of that model: timm:{SMALL} num_heads=12"):
        open_backbone(f"timm:{SMALL} num_heads=13=random")
    with pytest.raises(ModelError, match="of that model: none"):
        open_backbone("timm:resnet18 checkpoint_path=x=random")
