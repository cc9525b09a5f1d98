"""ConvNeXts and Swins, in everybody's names, give what their authors' or library's network gives."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models as torchvision_models

from twinbench.convert import CheckpointError
from twinbench.convert.architectures.convs import CONVS
from twinbench.convert.architectures.recognized import recognized
from twinbench.convert.backbone import Backbone
from twinbench.convert.convention import IMAGENET
from twinbench.convert.opening import open_backbone

timm = pytest.importorskip("timm")

SIDE = 64  # of images; Swins take their own
Weights = dict[str, Tensor]
Rename = Callable[[str], str]


def moved(model: nn.Module) -> Any:
    """Return the model with every tensor moved from its initial value, so that no two can be mistaken."""
    generator = torch.Generator().manual_seed(1)
    for name, values in model.state_dict().items():
        if values.is_floating_point():
            noise = torch.rand(values.shape, generator=generator)
            values.add_(noise if "running_var" in name else (noise - 0.5) * 0.1)
    return model.eval()


def images(side: int = SIDE) -> Tensor:
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(2))


def assert_gives(backbone: Backbone, expected: Tensor, side: int = SIDE) -> None:
    """Compare with features of 1 image."""
    with torch.no_grad():
        torch.testing.assert_close(backbone.build()(images(side)), expected, rtol=1e-5, atol=1e-5)


def outputs(model: nn.Module, *names: str) -> list[Tensor]:
    """Return a list that the next forward pass fills with what these modules give."""
    found: list[Tensor] = []

    def hook(_: nn.Module, __: Any, output: Tensor) -> None:
        found.append(output)

    for name in names:
        model.get_submodule(name).register_forward_hook(hook)
    return found


def renamed(weights: Weights, *rules: tuple[str, str]) -> Weights:
    found = {}
    for name, values in weights.items():
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        found[name] = values
    return found


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers")


# --- what the tables say of names, told by each network's own tensors ---


def test_every_network_is_told_by_its_own_tensors() -> None:
    narrow = [row for row in CONVS if re.search(r"atto|nano|tiny|_t$|lite\d", row.network.name)]
    assert len(narrow) == 22
    for row in narrow:
        found = recognized(row.network.shapes().get, row.variant)
        alike = {"timm:swinv2_tiny_window8_256", "timm:swinv2_tiny_window16_256"}  # one network but for its windows
        assert {each.name for each in found} == (alike if row.network.name in alike else {row.network.name})


# --- ConvNeXt ---

# From transformers' names to facebookresearch's: the inverse of transformers' convert_convnext_to_pytorch.py.
TO_FACEBOOK = (
    (r"^embeddings\.patch_embeddings", "downsample_layers.0.0"),
    (r"^embeddings\.layernorm", "downsample_layers.0.1"),
    (r"^encoder\.stages\.(\d)\.downsampling_layer\.(\d)", r"downsample_layers.\1.\2"),
    (r"^encoder\.stages\.(\d)\.layers\.(\d+)", r"stages.\1.\2"),
    (r"^layernorm\.", "norm."),
    (r"\.layernorm\.", ".norm."),
    (r"layer_scale_parameter", "gamma"),
    (r"grn\.weight", "grn.gamma"),
    (r"grn\.bias", "grn.beta"),
)


def convnext(transformers: Any, second: bool) -> tuple[Any, Tensor]:
    """Return transformers' ConvNeXt-Atto of version 2, or -Tiny, with its features.

    Its final norm adds 1e-12 to the variance unless told otherwise, the authors' and timm's 1e-6.
    """
    version = "V2" if second else ""
    sizes, depths = ([40, 80, 160, 320], [2, 2, 6, 2]) if second else ([96, 192, 384, 768], [3, 3, 9, 3])
    config = getattr(transformers, f"ConvNext{version}Config")(hidden_sizes=sizes, depths=depths, layer_norm_eps=1e-6)
    model = moved(getattr(transformers, f"ConvNext{version}Model")(config))
    with torch.no_grad():
        return model, model(images()).pooler_output


@pytest.mark.parametrize("second", [False, True])
def test_convnext_of_its_authors_of_transformers_and_of_timm(tmp_path: Path, transformers: Any, second: bool) -> None:
    model, expected = convnext(transformers, second)
    name = "timm:convnextv2_atto" if second else "timm:convnext_tiny"
    head = {"head.weight": torch.ones(10, expected.shape[1]), "head.bias": torch.ones(10)}
    authors = renamed(model.state_dict(), *TO_FACEBOOK)
    average = {key: values * 1.01 for key, values in authors.items()}
    torch.save({"model": authors | head, "model_ema": average | head}, tmp_path / "authors.pth")
    model.save_pretrained(tmp_path / "folder")
    found = open_backbone(tmp_path / "authors.pth")
    assert (found.architecture, found.layout, found.convention) == (name, "convnext", IMAGENET)
    assert_gives(found, expected)
    saved = open_backbone(tmp_path / "folder" / "model.safetensors")
    assert (saved.architecture, saved.layout, saved.sha256) == (name, "transformers", found.sha256)
    own = timm.create_model(name.removeprefix("timm:"), num_classes=10)
    own.load_state_dict(dict(found.state_dict), strict=False)
    torch.save({"state_dict": own.state_dict()}, tmp_path / "timm.pth")
    again = open_backbone(tmp_path / "timm.pth")
    assert (again.layout, again.sha256) == ("timm", found.sha256)


def test_dinov3s_convnext_in_both_namings(tmp_path: Path, transformers: Any) -> None:
    model = moved(transformers.DINOv3ConvNextModel(transformers.DINOv3ConvNextConfig()))
    with torch.no_grad():
        expected = model(images()).pooler_output
    model.save_pretrained(tmp_path)
    found = open_backbone(tmp_path / "model.safetensors")
    assert (found.architecture, found.layout) == ("timm:convnext_tiny", "transformers")
    assert_gives(found, expected)
    authors = renamed(
        model.state_dict(),
        (r"^model\.stages\.(\d)\.downsample_layers\.(\d)", r"downsample_layers.\1.\2"),
        (r"^model\.stages\.(\d)\.layers\.(\d+)", r"stages.\1.\2"),
        (r"depthwise_conv", "dwconv"),
        (r"pointwise_conv", "pwconv"),
        (r"^layer_norm", "norm"),
        (r"\.layer_norm", ".norm"),
    )
    authors |= {"norms.3.weight": authors["norm.weight"], "norms.3.bias": authors["norm.bias"]}
    torch.save(authors, tmp_path / "dinov3.pth")
    again = open_backbone(tmp_path / "dinov3.pth")
    assert (again.layout, again.convention, again.sha256) == ("dinov3-convnext", IMAGENET, found.sha256)


# --- Swin ---

# From transformers' names to Microsoft's: the inverse of transformers' convert_swin_timm_to_pytorch.py.
TO_MICROSOFT = (
    (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"^embeddings\.norm", "patch_embed.norm"),
    (r"^encoder\.", ""),
    (r"attention\.output\.dense", "attn.proj"),
    (r"attention\.self\.relative", "attn.relative"),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"intermediate\.dense", "mlp.fc1"),
    (r"(blocks\.\d+)\.output\.dense", r"\1.mlp.fc2"),
    (r"^layernorm", "norm"),
)


def microsofts(file: Path) -> Weights:
    """Return what transformers saved in Microsoft's names, with the tables that its modules keep as buffers."""
    from safetensors.torch import load_file

    saved = load_file(file)
    parts = {name: saved.pop(name) for name in list(saved) if re.search(r"self\.(query|key|value)", name)}
    for name in parts:
        if "query" in name:
            three = [parts[name.replace("query", part)] for part in ("query", "key", "value")]
            saved[name.replace("attention.self.query", "attn.qkv")] = torch.cat(three)
    named = renamed(saved, *TO_MICROSOFT)
    masks = {"layers.0.blocks.1.attn_mask": torch.zeros(64, 49, 49)}
    index = {"layers.0.blocks.0.attn.relative_position_index": torch.zeros(49, 49, dtype=torch.int64)}
    return named | masks | index


@pytest.fixture(scope="module")
def swin(transformers: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensor]:
    """A Swin-T as transformers saves it, and its features."""
    model = moved(transformers.SwinModel(transformers.SwinConfig()))
    folder = tmp_path_factory.mktemp("swin")
    model.save_pretrained(folder)
    with torch.no_grad():
        return folder / "model.safetensors", model(images(224)).pooler_output


def test_swin_of_transformers_of_its_authors_and_of_timm(tmp_path: Path, swin: tuple[Path, Tensor]) -> None:
    file, expected = swin
    found = open_backbone(file)
    assert (found.architecture, found.layout) == ("timm:swin_tiny_patch4_window7_224", "transformers")
    assert_gives(found, expected, 224)
    authors = microsofts(file)
    torch.save({"model": authors | {"head.weight": torch.ones(10, 768)}, "max_accuracy": 1.0}, tmp_path / "swin.pth")
    assert [open_backbone(tmp_path / "swin.pth").sha256, open_backbone(tmp_path / "swin.pth").layout] == [
        found.sha256,
        "swin",
    ]
    own = timm.create_model("swin_tiny_patch4_window7_224")
    own.load_state_dict(dict(found.state_dict), strict=False)
    torch.save(own.state_dict(), tmp_path / "timm.pth")
    assert open_backbone(tmp_path / "timm.pth").sha256 == found.sha256


def test_self_supervised_swins(tmp_path: Path, swin: tuple[Path, Tensor]) -> None:
    authors = microsofts(swin[0])
    expected = open_backbone(swin[0]).sha256
    other = {name: values + 1 for name, values in authors.items()}

    def under(prefix: str, weights: Weights) -> Weights:
        return {prefix + name: values for name, values in weights.items()}

    simmim = under("encoder.", authors | {"mask_token": torch.ones(1, 1, 96)}) | {"decoder.0.weight": torch.ones(9, 9)}
    moby = under("encoder.", authors) | under("encoder_k.", other) | {"queue1": torch.ones(2, 2)}
    head = {"head.last_layer.weight_g": torch.ones(3, 1), "head_dense.last_layer.weight_g": torch.ones(3, 1)}
    esvit = {
        "student": under("module.", under("backbone.", other) | head),
        "teacher": under("backbone.", authors) | head,
    }
    for name, contents, layout in (
        ("simmim", {"model": simmim}, "simmim"),
        ("moby", {"model": moby}, "simmim"),
        ("esvit", esvit, "dino-full"),
    ):
        torch.save(contents, tmp_path / f"{name}.pth")
        found = open_backbone(tmp_path / f"{name}.pth")
        assert (found.layout, found.sha256, found.convention) == (layout, expected, IMAGENET), name


def test_swin_v2_asks_for_the_network_that_only_its_windows_tell(tmp_path: Path) -> None:
    model = moved(timm.create_model("swinv2_tiny_window8_256", num_classes=0))
    torch.save(model.state_dict(), tmp_path / "file.pth")
    with pytest.raises(
        CheckpointError, match=r"say which: timm:swinv2_tiny_window16_256=.* or timm:swinv2_tiny_window8"
    ):
        open_backbone(tmp_path / "file.pth")
    with torch.no_grad():
        expected = model(images(256))
    assert_gives(open_backbone(f"timm:swinv2_tiny_window8_256={tmp_path / 'file.pth'}"), expected, 256)


# --- torchvision's, and maps ---


@pytest.mark.parametrize("model", ["convnext_tiny", "swin_t", "swin_v2_t"])
def test_torchvisions_own(tmp_path: Path, model: str) -> None:
    original = moved(torchvision_models.get_model(model))
    torch.save({"model": original.state_dict(), "epoch": 3}, tmp_path / "file.pth")
    found = open_backbone(tmp_path / "file.pth")
    assert (found.architecture, found.convention) == (f"torchvision:{model}", IMAGENET)
    last = "classifier" if model == "convnext_tiny" else "head"
    head = original.get_submodule(last)
    if isinstance(head, nn.Sequential):
        head[-1] = nn.Identity()
    else:
        original.head = nn.Identity()
    wanted = outputs(original, *(f"features.{number}" for number in (1, 3, 5, 7)))
    with torch.no_grad():
        expected = original(images())
        maps = found.build().maps(images())
    assert_gives(found, expected)
    for mine, theirs in zip(maps, wanted, strict=True):
        torch.testing.assert_close(mine, theirs if last == "classifier" else theirs.permute(0, 3, 1, 2))


def test_timms_maps_are_those_of_its_stages(tmp_path: Path) -> None:
    original = moved(timm.create_model("convnext_atto", num_classes=0))
    torch.save(original.state_dict(), tmp_path / "file.pth")
    wanted = outputs(original, *(f"stages.{number}" for number in range(4)))
    with torch.no_grad():
        original(images())
        maps = open_backbone(tmp_path / "file.pth").build().maps(images())
    for mine, theirs in zip(maps, wanted, strict=True):
        torch.testing.assert_close(mine, theirs)
