"""Vision transformers: features equal to their own library's or formula's, from files as their libraries save them."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from twinbench.convert import CheckpointError, write_backbone
from twinbench.convert.architectures.library import LibraryNetwork
from twinbench.convert.architectures.network import Network
from twinbench.convert.architectures.positions import DINOV2, DINOV2_REGISTERS, at_grid
from twinbench.convert.architectures.recognized import recognized
from twinbench.convert.architectures.vits import VITS
from twinbench.convert.backbone import Backbone
from twinbench.convert.convention import CLIP, HALF
from twinbench.convert.finding.find import Wanted, find
from twinbench.convert.load import take
from twinbench.convert.opening import open_backbone
from twinbench.convert.reading.reader import open_checkpoint

SMALL = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "intermediate_size": 1536}
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
TINY = {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768}
Tensors = Mapping[str, Tensor]


def moved(model: nn.Module) -> nn.Module:
    """Return a model in which no tensor is as initialised and no two are alike, so that none can stand for another."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, values in model.named_parameters():
            is_norm = values.ndim == 1 and name.endswith("weight")
            values.mul_(0.5).add_(torch.randn(values.shape, generator=generator), alpha=0.03).add_(0.5 * is_norm)
    return model.eval()


def images(size: int = 224) -> Tensor:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))


def stored(tmp_path: Path, contents: object) -> Path:
    torch.save(contents, tmp_path / "checkpoint.pth")
    return tmp_path / "checkpoint.pth"


def computed(backbone: Backbone, given: Tensor) -> tuple[Tensor, Tensor]:
    """Return a backbone's feature and its patch tokens (N, patches, C)."""
    trunk = backbone.build()
    with torch.no_grad():
        [tokens] = trunk.tokens(given)
        return trunk(given), tokens.patches.flatten(2).transpose(1, 2)


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


# --- transformers: its own forward pass, on the folder that save_pretrained writes and on a module's state dict ---


def of_transformers(name: str, config: str, **settings: Any) -> nn.Module:
    transformers = pytest.importorskip("transformers", reason="needs the extra dev")
    return moved(getattr(transformers, name)(getattr(transformers, config)(**settings)))


@pytest.mark.parametrize(
    ("name", "config", "settings", "architecture", "size", "prefixed"),
    [
        ("ViTModel", "ViTConfig", TINY | {"layer_norm_eps": 1e-6}, "vit_tiny_patch16_224", 224, 1),
        ("ViTMSNModel", "ViTMSNConfig", TINY, "vit_tiny_patch16_224", 224, 1),
        (
            "Dinov2Model",
            "Dinov2Config",
            SMALL | {"patch_size": 14, "image_size": 224},
            "vit_small_patch14_dinov2 img_size=224",
            224,
            1,
        ),
        (
            "Dinov2WithRegistersModel",
            "Dinov2WithRegistersConfig",
            SMALL | {"patch_size": 14, "image_size": 518},
            "vit_small_patch14_reg4_dinov2",
            224,
            5,
        ),
        ("DINOv3ViTModel", "DINOv3ViTConfig", SMALL, "vit_small_patch16_dinov3_qkvb global_pool=token", 192, 5),
        (
            "DINOv3ViTModel",
            "DINOv3ViTConfig",
            SMALL | {"use_gated_mlp": True, "hidden_act": "silu"},
            "vit_small_plus_patch16_dinov3_qkvb global_pool=token",
            192,
            5,
        ),
    ],
)
def test_transformers_vits(
    tmp_path: Path, name: str, config: str, settings: Any, architecture: str, size: int, prefixed: int
) -> None:
    if name.startswith("DINOv3"):
        settings = settings | {"num_register_tokens": 4}
    model: Any = of_transformers(name, config, **settings)
    model.save_pretrained(tmp_path / "folder")
    of_folder = open_backbone(tmp_path / "folder", convention="imagenet")
    of_module = open_backbone(
        stored(tmp_path, {"state_dict": {f"net.{key}": values for key, values in model.state_dict().items()}}),
        convention="imagenet",
    )
    assert of_folder.architecture == f"timm:{architecture}"
    assert of_folder.layout == "transformers"
    assert of_module.prefix == "net."
    assert of_module.sha256 == of_folder.sha256
    with torch.no_grad():
        hidden = model(images(size)).last_hidden_state
    feature, patches = computed(of_folder, images(size))
    assert_close(feature, hidden[:, 0])
    assert_close(patches, hidden[:, prefixed:])


def narrow(path: Path, model: str, **options: Any) -> Backbone:
    """Return the backbone of a file that is of a timm model of two narrow blocks, too small for the table."""
    small = {"embed_dim": 192, "depth": 2, "num_heads": 3, **options}
    network = LibraryNetwork("timm", model, tuple(sorted(small.items())))
    contents = open_checkpoint(path)
    return take(contents, find(contents, Wanted(network=network)), convention=HALF)


TWO_BLOCKS = TINY | {"num_hidden_layers": 2, "patch_size": 16, "image_size": 224}


def test_transformers_siglip(tmp_path: Path) -> None:
    model: Any = of_transformers("SiglipVisionModel", "SiglipVisionConfig", **TWO_BLOCKS)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = model(images())
    found = narrow(tmp_path, "vit_base_patch16_siglip_224", act_layer="gelu_tanh")
    feature, patches = computed(found, images())
    assert_close(feature, expected.pooler_output)
    assert_close(patches, expected.last_hidden_state)


@pytest.mark.parametrize(("activation", "model"), [("quick_gelu", "_quickgelu"), ("gelu", "")])
def test_transformers_clip(tmp_path: Path, activation: str, model: str) -> None:
    clip: Any = of_transformers("CLIPVisionModel", "CLIPVisionConfig", **TWO_BLOCKS, hidden_act=activation)
    path = stored(tmp_path, {f"vision_model.{name}": values for name, values in clip.state_dict().items()})
    with torch.no_grad():
        expected = clip(images()).pooler_output
        assert_close(narrow(path, f"vit_base_patch16_clip{model}_224").build()(images()), expected)


def empty_tower(folder: Path, name: str, config: str, patch: int) -> Path:
    """Return a folder of transformers with a tower of the usual size whose values are all zero."""
    transformers = pytest.importorskip("transformers", reason="needs the extra dev")
    with torch.device("meta"):
        settings = getattr(transformers, config)(**BASE, patch_size=patch, image_size=224)
        shapes = getattr(transformers, name)(settings).state_dict()
    folder.mkdir()
    zeros = {key: torch.zeros(values.shape, dtype=torch.float16) for key, values in shapes.items()}
    save_file(zeros, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"hidden_act": settings.hidden_act}))
    return folder


def network_in(path: Path) -> str:
    return find(open_checkpoint(path)).network.name


def test_siglip_has_the_activation_that_it_was_trained_with(tmp_path: Path) -> None:
    folder = empty_tower(tmp_path / "siglip", "SiglipVisionModel", "SiglipVisionConfig", 16)
    assert network_in(folder) == "timm:vit_base_patch16_siglip_224 act_layer=gelu_tanh"


def test_clips_activation_is_told_by_the_config_or_asked_for(tmp_path: Path) -> None:
    folder = empty_tower(tmp_path / "clip", "CLIPVisionModel", "CLIPVisionConfig", 32)
    assert network_in(folder) == "timm:vit_base_patch32_clip_quickgelu_224"
    (folder / "config.json").write_text('{"vision_config": {"hidden_act": "gelu"}}')
    assert network_in(folder) == "timm:vit_base_patch32_clip_224"
    (folder / "config.json").unlink()
    said = "are those of 2 networks .* timm:vit_base_patch32_clip_224=.* or timm:vit_base_patch32_clip_quickgelu_224="
    with pytest.raises(CheckpointError, match=said):
        network_in(folder)


# --- the authors' own names, as their code gives them ---


def in_clip_names(tensors: Tensors) -> dict[str, Tensor]:
    """Return timm's tensors of a CLIP as OpenAI's files have them: openai/CLIP clip/model.py."""
    words = {
        "patch_embed.proj": "conv1",
        "norm_pre": "ln_pre",
        "pos_embed": "positional_embedding",
        "cls_token": "class_embedding",
    }
    inside = {
        "norm1": "ln_1",
        "norm2": "ln_2",
        "attn.qkv.": "attn.in_proj_",
        "attn.proj": "attn.out_proj",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }
    found: dict[str, Tensor] = {}
    for name, values in tensors.items():
        new = re.sub(r"^norm\.", "ln_post.", name).replace("blocks.", "transformer.resblocks.")
        for ours, theirs in (words | inside).items():
            new = new.replace(ours, theirs)
        found[f"visual.{new}"] = (
            values.reshape(values.shape[2:] if name == "cls_token" else values.shape[1:])
            if name in ("cls_token", "pos_embed")
            else values
        )
    return found


def test_clips_own_names(tmp_path: Path) -> None:
    model = moved(timm.create_model("vit_xsmall_patch16_clip_224", num_classes=0))
    beside = {
        "visual.proj": torch.ones(256, 512),
        "transformer.resblocks.0.ln_1.weight": torch.ones(512),
        "logit_scale": torch.ones(()),
    }
    path = stored(tmp_path, in_clip_names(model.state_dict()) | beside)
    backbone = open_backbone(f"timm:vit_xsmall_patch16_clip_224={path}")
    assert (backbone.layout, backbone.prefix) == ("clip", "visual.")
    assert backbone.convention == CLIP
    with torch.no_grad():
        assert_close(backbone.build()(images()), model(images()))


def test_dinov2s_registers_chunks_and_position_of_the_class(tmp_path: Path) -> None:
    model: Any = moved(timm.create_model("vit_small_patch14_reg4_dinov2", num_classes=0, img_size=224))
    tensors = dict(model.state_dict())
    at_class = torch.full((1, 1, 384), 0.25)  # added to the class token by DINOv2's forward pass
    tensors["register_tokens"] = tensors.pop("reg_token")
    tensors["cls_token"] = tensors["cls_token"] - at_class
    tensors["pos_embed"] = torch.cat([at_class, tensors["pos_embed"]], dim=1)
    tensors["mask_token"] = torch.ones(1, 384)
    chunked = {
        re.sub(r"^blocks\.(\d+)", lambda found: f"blocks.{int(found[1]) // 3}.{found[1]}", name): values
        for name, values in tensors.items()
    }
    assert "blocks.2.7.norm1.bias" in chunked
    heads = {"dino_head.mlp.0.weight": torch.ones(2, 2), "ibot_head.mlp.0.weight": torch.ones(2, 2)}
    path = stored(tmp_path, {"teacher": {f"backbone.{name}": values for name, values in chunked.items()} | heads})
    backbone = open_backbone(path)
    assert (backbone.layout, backbone.convention_from) == ("dinov2-teacher", "usual for dinov2-teacher")
    with torch.no_grad():
        expected = model.forward_features(images())
    feature, patches = computed(backbone, images())
    assert_close(feature, expected[:, 0])
    assert_close(patches, expected[:, 5:])


def in_dinov3_names(tensors: Tensors) -> dict[str, Tensor]:
    """Return timm's tensors of a DINOv3 as its own files have them, with biases of keys that their mask takes away."""
    found: dict[str, Tensor] = {"rope_embed.periods": torch.ones(16), "mask_token": torch.zeros(1, 384)}
    for name, values in tensors.items():
        if name.endswith("q_bias"):
            value_bias = tensors[name.replace("q_bias", "v_bias")]
            stem = name.replace("q_bias", "qkv.bias")
            found[stem] = torch.cat([values, torch.full_like(values, 3.0), value_bias])
            found[f"{stem}_mask"] = torch.cat([torch.ones(384), torch.zeros(384), torch.ones(384)])
        elif not name.endswith("v_bias"):
            new = re.sub(r"gamma_(\d)", r"ls\1.gamma", name).replace("reg_token", "storage_tokens")
            found[new] = values
    return found


def test_dinov3s_own_names_and_the_mask_of_its_biases(tmp_path: Path) -> None:
    model = moved(timm.create_model("vit_small_patch16_dinov3_qkvb", num_classes=0, global_pool="token"))
    tensors = in_dinov3_names(model.state_dict())
    backbone = open_backbone(stored(tmp_path, tensors))
    assert backbone.architecture == "timm:vit_small_patch16_dinov3_qkvb global_pool=token"
    with torch.no_grad():
        assert_close(backbone.build()(images()), model(images()))
    tensors["blocks.3.attn.qkv.bias_mask"][400] = 1.0
    with pytest.raises(CheckpointError, match="leaves a bias of keys"):
        open_backbone(stored(tmp_path, tensors))


def test_moco_v3s_vit_s_has_twelve_heads_wherever_its_files_say_so(tmp_path: Path) -> None:
    model = moved(timm.create_model("vit_small_patch16_224", num_classes=0, num_heads=12))
    tensors = model.state_dict()
    query = {f"module.base_encoder.{name}": values for name, values in tensors.items()}
    query |= {"module.base_encoder.head.0.weight": torch.ones(2, 2), "module.predictor.0.weight": torch.ones(2, 2)}
    momentum = {f"module.momentum_encoder.{name}": 2 * values for name, values in tensors.items()}
    pretrained = open_backbone(stored(tmp_path, {"arch": "vit_small", "state_dict": query | momentum}))
    assert pretrained.layout == "mocov3"
    assert pretrained.architecture == "timm:vit_small_patch16_224 num_heads=12"
    with torch.no_grad():
        assert_close(pretrained.build()(images()), model(images()))
    probed = {f"module.{name}": values for name, values in tensors.items()} | {"module.head.weight": torch.ones(9, 384)}
    path = stored(tmp_path, {"arch": "vit_small", "state_dict": probed})
    assert open_backbone(path, convention="imagenet").identity == pretrained.identity
    write_backbone(pretrained, tmp_path / "written.safetensors")
    assert open_backbone(tmp_path / "written.safetensors").identity == pretrained.identity


@pytest.fixture(scope="module")
def vit() -> dict[str, Tensor]:
    """The tensors of a ViT-Ti/16."""
    return dict(moved(timm.create_model("vit_tiny_patch16_224", num_classes=0)).state_dict())


def prefixed(prefix: str, tensors: Tensors) -> dict[str, Tensor]:
    return {f"{prefix}{name}": values for name, values in tensors.items()}


@pytest.mark.parametrize(
    ("wrapped", "layout", "prefix"),
    [
        (
            lambda right, other: {
                "student": prefixed("module.backbone.", other) | {"module.backbone.masked_embed": torch.ones(1, 192)},
                "teacher": prefixed("backbone.", right) | {"head.mlp.0.weight": torch.ones(2, 2)},
                "epoch": 3,
            },
            "dino-full",
            "backbone.",
        ),
        (
            lambda right, other: {
                "encoder": prefixed("module.", other),
                "target_encoder": prefixed("module.", right) | {"module.fc.fc1.weight": torch.ones(2, 2)},
                "predictor": {"module.predictor_embed.weight": torch.ones(2, 2)},
            },
            "jepa",
            "module.",
        ),
        (
            lambda right, _: {
                "model": dict(right) | {"mask_token": torch.ones(1, 1, 192), "decoder_embed.weight": torch.ones(2, 2)}
            },
            "mae",
            "",
        ),
        (lambda right, _: {"state_dict": prefixed("backbone.", right), "epoch": 3}, "mmselfsup", "backbone."),
    ],
)
def test_which_of_several_is_meant_and_its_input(
    tmp_path: Path, vit: dict[str, Tensor], wrapped: Callable[..., object], layout: str, prefix: str
) -> None:
    other = {name: 2 * values for name, values in vit.items()}
    backbone = open_backbone(stored(tmp_path, wrapped(vit, other)))
    assert (backbone.layout, backbone.prefix) == (layout, prefix)
    assert str(backbone.convention).startswith("RGB in [0, 1], mean 0.485")
    assert backbone.convention_from == f"usual for {layout}"
    assert all(torch.equal(backbone.state_dict[name], values) for name, values in vit.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(tmp_path: Path, vit: dict[str, Tensor], dtype: torch.dtype) -> None:
    halves = {name: values.to(dtype) for name, values in vit.items()}
    backbone = open_backbone(stored(tmp_path, {"model": halves}))
    assert backbone.cast == str(dtype).removeprefix("torch.")
    assert torch.equal(backbone.state_dict["pos_embed"], halves["pos_embed"].float())


def test_a_plain_file_asks_how_images_are_normalised(tmp_path: Path, vit: dict[str, Tensor]) -> None:
    tensors = dict(moved(timm.create_model("vit_small_patch16_224", num_classes=0)).state_dict())
    path = stored(tmp_path, tensors)
    said = r"does not say how images are normalised .* --input half \(augreg_in1k, .*\) or --input imagenet \(dino\)"
    with pytest.raises(CheckpointError, match=said):
        open_backbone(path)
    assert open_backbone(path, convention="imagenet").layout == "vit"


@pytest.mark.parametrize(
    ("named", "architecture"),
    [("vit_tiny_patch16_224", "vit_tiny_patch16_224"), ("deit_tiny_patch16_224", "deit_tiny_patch16_224")],
)
def test_timms_config_names_the_network_and_the_input(
    tmp_path: Path, vit: dict[str, Tensor], named: str, architecture: str
) -> None:
    torch.save(vit, tmp_path / "pytorch_model.bin")
    given = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    (tmp_path / "config.json").write_text(json.dumps({"architecture": named, "pretrained_cfg": given}))
    backbone = open_backbone(tmp_path)
    assert backbone.architecture == f"timm:{architecture}"
    assert backbone.convention.std == (0.25, 0.25, 0.25)


def test_a_network_that_timms_config_names_is_the_one_that_is_proven(tmp_path: Path, vit: dict[str, Tensor]) -> None:
    torch.save(vit, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text('{"architecture": "vit_tiny_r_s16_p8_224", "pretrained_cfg": {}}')
    with pytest.raises(CheckpointError, match="no whole timm:vit_tiny_r_s16_p8_224 .* missing: patch_embed.backbone"):
        open_backbone(tmp_path)


# --- what is no whole backbone ---


def without(tensors: Tensors, part: str) -> dict[str, Tensor]:
    return {name: values for name, values in tensors.items() if not name.startswith(part)}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda vit: without(vit, "blocks.11."), "12 missing: blocks.11.norm1.weight"),
        (lambda vit: without(vit, "blocks.4."), "12 missing: blocks.4.norm1.weight"),
        (lambda vit: without(vit, "norm."), "2 missing: norm.weight"),
        (
            lambda vit: vit | {"blocks.0.attn.qkv.weight": vit["blocks.0.attn.qkv.weight"].T},
            "blocks.0.attn.qkv.weight is 192 x 576, expected 576 x 192",
        ),
        (lambda vit: vit | {"blocks.0.adapter.weight": torch.ones(8, 192)}, "inside the trunk nothing is left out"),
        (lambda vit: vit | {"blocks.12.norm1.weight": torch.ones(192)}, "inside the trunk nothing is left out"),
        (lambda vit: vit | {"dist_token": torch.ones(1, 1, 192)}, "1 left over that are no known head: dist_token"),
        (lambda vit: vit | {"pos_embed": torch.ones(1, 50, 192)}, "pos_embed is 1 x 50 x 192, expected 1 x 197 x 192"),
    ],
)
def test_what_is_not_whole_is_refused(
    tmp_path: Path, vit: dict[str, Tensor], changed: Callable[[Any], Tensors], said: str
) -> None:
    with pytest.raises(CheckpointError, match=said):
        open_backbone(stored(tmp_path, changed(vit)), convention="imagenet")


def test_fresh_norms_are_refused(tmp_path: Path, vit: dict[str, Tensor]) -> None:
    fresh = {
        name: torch.full_like(values, float(name.endswith("weight"))) if "norm" in name else values
        for name, values in vit.items()
    }
    with pytest.raises(CheckpointError, match="a freshly initialised backbone"):
        open_backbone(stored(tmp_path, fresh), convention="imagenet")


# --- the table of known networks, and positions at another image size ---


@pytest.mark.parametrize(
    "row", [row for row in VITS if (row.landmarks.get("patch_embed.proj.weight") or (9999,))[0] in (192, 384, 768)]
)
def test_a_network_is_told_by_its_own_tensors(row: Any) -> None:
    shapes = row.network.shapes()

    def is_whole(network: Network) -> bool:
        return network.shapes() == shapes

    assert list(filter(is_whole, recognized(shapes.get, row.variant))) == [row.network]


def bicubic(values: np.ndarray, size: int, scale: float) -> np.ndarray:
    """Return `values` (n,) resampled at the centres of `size` cells of width 1 / scale: Keys 1981 with a = -0.75."""
    a = -0.75
    found = np.zeros(size)
    for place in range(size):
        centre = (place + 0.5) / scale - 0.5
        for at in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            far = abs(centre - at)
            near = (a + 2) * far**3 - (a + 3) * far**2 + 1
            weight = near if far <= 1 else a * (far**3 - 5 * far**2 + 8 * far - 4)
            found[place] += weight * values[min(max(at, 0), len(values) - 1)]
    return found


def test_dinov2_resamples_positions_by_a_scale_that_is_a_little_larger() -> None:
    profile = np.random.default_rng(0).normal(size=37)
    embedding = torch.zeros(1, 1 + 37 * 37, 1)
    embedding[0, 0] = 5.0
    embedding[0, 1:, 0] = torch.from_numpy(np.repeat(profile, 37)).float()  # alike along each row
    found = at_grid(embedding, (16, 20), DINOV2)
    assert found.shape == (1, 1 + 16 * 20, 1)
    assert found[0, 0] == 5.0
    expected = np.repeat(bicubic(profile, 16, 16.1 / 37), 20)
    np.testing.assert_allclose(found[0, 1:, 0].numpy(), expected, atol=1e-5)
    assert at_grid(embedding, (37, 37), DINOV2) is embedding
    assert at_grid(embedding[:, 1:], (16, 16), DINOV2_REGISTERS).shape == (1, 256, 1)


def test_dinov2_at_another_size_computes_with_its_resampled_positions(tmp_path: Path) -> None:
    model: Any = moved(timm.create_model("vit_small_patch14_dinov2", num_classes=0, img_size=224))
    held = model.pos_embed.detach().clone()
    trunk = open_backbone(stored(tmp_path, model.state_dict())).build()
    with torch.no_grad():
        assert_close(trunk(images(224)), model(images(224)))
        model.patch_embed.strict_img_size = False
        model.pos_embed = nn.Parameter(at_grid(held, (8, 8), DINOV2))
        smaller = model(images(112))
        assert_close(trunk(images(112)), smaller)
        model.pos_embed = nn.Parameter(held)
        assert_close(trunk(images(224)), model(images(224)))
