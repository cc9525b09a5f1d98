"""ViTDet: plain vision transformers in Detectron2's backbone, against timm's forward pass and ViTDet's own settings."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from detectron2.config import get_cfg
from detectron2.modeling.backbone.vit import get_vit_lr_decay_rate
from torch import nn

from twinbench.convert.architectures.plain import UNUSED, PlainVit, plain_vit
from twinbench.convert.convention import IMAGENET
from twinbench.convert.named import ModelError
from twinbench.convert.opening import open_backbone
from twinbench.detection.config.backbone import backbone_keys, yaml_of
from twinbench.detection.config.detector import detectron2_config
from twinbench.detection.models import add_trunk_config
from twinbench.detection.models.keys import VIT, vit_keys
from twinbench.detection.models.vitdet import NEW, build_vit, windowed
from twinbench.detection.models.weights import build_detector, fill
from twinbench.protocols.catalogue import find_protocol

ROOT = Path(__file__).parent.parent
TINY = "timm:vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def backbone():
    """A ViT-Ti/16 whose tensors are all drawn anew: fresh biases are zero, and would hide a wrong one."""
    fresh, generator = open_backbone(f"{TINY}=random"), torch.Generator().manual_seed(1)
    drawn = {key: values + 0.05 * torch.randn(values.shape, generator=generator) for key, values in tensors(fresh)}
    return replace(fresh, state_dict=drawn)


def tensors(backbone):
    return backbone.state_dict.items()


def config_of(backbone, **changes):
    """Return the demo's Mask R-CNN with ViTDet's backbone."""
    recipe = replace(find_protocol("demo-coco-mrcnn-fpn-1x").recipe, rois_per_image=4, rpn_post_nms_test=4)
    config = detectron2_config(recipe, classes=10, width=1.0, convention=IMAGENET)
    config.defrost()
    add_trunk_config(config)
    keys = backbone_keys(replace(recipe, architecture="mrcnn-vitdet", max_size=64, **changes), backbone.network)
    for key, value in keys.items():
        config.merge_from_list([key, value])
    config.freeze()
    return config


@pytest.fixture(scope="module")
def model(backbone):
    return build_detector(config_of(backbone), backbone, Path("unused"), seed=0)


def test_its_features_are_timms_patches_before_the_last_norm(backbone):
    """ViTDet has no class token and no last norm, so they are those of timm's model without a class token."""
    config = config_of(backbone)
    config.defrost()
    config.MODEL.VIT.WINDOW_SIZE, config.MODEL.VIT.IMG_SIZE = 0, 224
    ours = build_vit(config.MODEL.VIT).eval()
    sent = {name: values for name, values in tensors(backbone) if name not in UNUSED}
    fill(ours, sent, new=NEW)
    theirs = timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, class_token=False, global_pool="avg", fc_norm=False
    ).eval()
    held = {name: values for name, values in tensors(backbone) if name != "cls_token"}
    theirs.load_state_dict(held | {"pos_embed": held["pos_embed"][:, 1:]})
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        [expected] = theirs.forward_intermediates(images, indices=1, norm=False, intermediates_only=True)
        found = ours(images)["last_feat"]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_every_tensor_but_the_class_token_and_the_last_norm_arrives(backbone, model):
    found = model.get_submodule("backbone.net").state_dict()
    left = [name for name, values in tensors(backbone) if name not in found or not torch.equal(found[name], values)]
    assert left == ["cls_token", "norm.weight", "norm.bias"]


def test_only_relative_positions_are_new_and_begin_at_zero(backbone, model):
    found = model.get_submodule("backbone.net").state_dict()
    new = [name for name in found if name not in backbone.state_dict]
    assert {name.rpartition(".")[2] for name in new} == {"rel_pos_h", "rel_pos_w"}
    assert len(new) == 2 * 12
    assert not any(found[name].any() for name in new)


@pytest.mark.parametrize(
    ("depth", "seeing_all"),
    [(12, [2, 5, 8, 11]), (24, [5, 11, 17, 23]), (32, [7, 15, 23, 31])],  # ViTDet's configs of ViT-B, L and H
)
def test_four_blocks_see_the_whole_image_as_in_vitdets_configs(depth, seeing_all):
    assert sorted(set(range(depth)) - set(windowed(depth, 4))) == seeing_all


def test_the_other_blocks_look_into_windows_of_14_patches(model):
    windows = [block.window_size for block in model.get_submodule("backbone.net").blocks]
    assert windows == [14, 14, 0] * 4


def test_the_pyramid_has_five_levels_and_squares_of_the_recipes_size(model):
    found = model.backbone
    assert {name: shape.stride for name, shape in found.output_shape().items()} == {
        "p2": 4,
        "p3": 8,
        "p4": 16,
        "p5": 32,
        "p6": 64,
    }
    assert found.padding_constraints["square_size"] == 64


def test_the_keys_of_vit_base_are_those_of_vitdets_config():
    """detectron2 configs/common/models/mask_rcnn_vitdet.py, the numbers of ViT-B."""
    network = open_backbone("timm:vit_base_patch16_224=random").network
    section = VIT | {key.rpartition(".")[2]: value for key, value in vit_keys(network.plain, 1024, 0.1).items()}
    assert section == {
        "EMBED_DIM": 768,
        "DEPTH": 12,
        "NUM_HEADS": 12,
        "MLP_DIM": 4 * 768,
        "PRETRAIN_IMG_SIZE": 224,
        "PRETRAIN_USE_CLS_TOKEN": True,
        "IMG_SIZE": 1024,
        "WINDOW_SIZE": 14,
        "GLOBAL_BLOCKS": 4,
        "USE_REL_POS": True,
        "DROP_PATH": 0.1,
    }


def test_the_side_of_images_is_a_multiple_of_the_largest_stride():
    plain = open_backbone(f"{TINY}=random").network.plain
    assert vit_keys(plain, 150, 0.0)["MODEL.VIT.IMG_SIZE"] == 160


def test_drop_path_rises_to_the_recipes_rate(backbone):
    net = build_vit(config_of(backbone, drop_path=0.22).MODEL.VIT)
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in net.blocks]
    np.testing.assert_allclose(rates, np.linspace(0, 0.22, 12), atol=1e-6)


def test_parameters_have_the_names_by_which_detectron2_tells_the_layer(model):
    """ViTDet's layer decay: 0.7 per layer, the patch embedding the first of 14 layers, the heads the last."""
    rates = {name: get_vit_lr_decay_rate(name, 0.7, 12) for name, _ in model.named_parameters()}
    assert rates["backbone.net.pos_embed"] == rates["backbone.net.patch_embed.proj.bias"] == 0.7**13
    assert rates["backbone.net.blocks.0.attn.qkv.weight"] == 0.7**12
    assert rates["backbone.net.blocks.11.attn.rel_pos_h"] == 0.7
    assert rates["roi_heads.box_predictor.cls_score.weight"] == rates["backbone.simfp_2.0.weight"] == 1


def test_all_of_it_freezes_or_nothing(backbone):
    config = config_of(backbone)
    config.defrost()
    config.MODEL.BACKBONE.FREEZE_AT = 5
    frozen = build_detector(config, backbone, Path("unused"), seed=0)
    assert not any(parameter.requires_grad for parameter in frozen.get_submodule("backbone.net").parameters())
    assert all(parameter.requires_grad for parameter in frozen.get_submodule("backbone.simfp_2").parameters())
    config.MODEL.BACKBONE.FREEZE_AT = 2
    with pytest.raises(ModelError, match="freeze_at=2 on a plain vision transformer, which has no stages; expected 0"):
        build_detector(config, backbone, Path("unused"), seed=0)


@pytest.mark.parametrize(
    "name",
    [
        "vit_small_patch14_dinov2",  # layer scale
        "vit_small_patch16_dinov3",  # rotary positions, registers
        "vit_base_patch16_siglip_224",  # a query gathers its feature
        "vit_base_patch16_clip_224",  # a norm before the blocks
        "vit_base_patch16_clip_quickgelu_224",
        "beit_base_patch16_224",  # relative positions of its own
        "deit_small_distilled_patch16_224",  # a second token
        "vit_small_patch8_224",  # no pyramid of strides 4 to 32
        "convnext_atto",
    ],
)
def test_what_is_no_plain_transformer_is_refused_in_words(name):
    found = open_backbone(f"timm:{name}=random")
    with pytest.raises(ModelError, match="rebuilds a plain vision transformer .* does not offer; it has .*; choose a"):
        found.require("plain", "coco-mrcnn-vitdet-100ep")


@pytest.mark.parametrize("name", ["vit_small_patch16_224", "deit_small_patch16_224", "vit_small_patch16_384"])
def test_a_plain_transformer_may_be_rebuilt(name):
    network = open_backbone(f"timm:{name}=random").network
    assert "plain" in network.offers
    assert (network.plain.width, network.plain.heads, network.plain.depth) == (384, 6, 12)


def test_moco_v3s_small_transformer_keeps_its_twelve_heads():
    network = open_backbone("timm:vit_small_patch16_224 num_heads=12=random").network
    assert network.plain.heads == 12


def test_a_transformer_without_a_class_token_is_rebuilt_without_its_position():
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=0, class_token=False, global_pool="avg").eval()
    plain = plain_vit(theirs)
    assert plain == PlainVit(width=192, depth=12, heads=3, mlp=768, side=14, has_class=False)
    config = get_cfg()
    add_trunk_config(config)
    for key, value in vit_keys(plain, 224, 0.0).items():
        config.merge_from_list([key, value])
    config.MODEL.VIT.WINDOW_SIZE = 0
    ours = build_vit(config.MODEL.VIT).eval()
    fill(ours, {name: values for name, values in theirs.state_dict().items() if name not in UNUSED}, new=NEW)
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        [expected] = theirs.forward_intermediates(images, indices=1, norm=False, intermediates_only=True)
        found = ours(images)["last_feat"]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(
    "options",
    [
        {"act_layer": "gelu_tanh"},
        {"qk_norm": True},
        {"init_values": 0.1},
        {"norm_layer": partial(nn.LayerNorm, eps=1e-5)},
        {"qkv_bias": False},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_transformer_that_computes_something_else_is_not_plain(options):
    """The tanh form of GELU and another eps of the norms leave no trace in the tensors."""
    assert plain_vit(timm.create_model("vit_tiny_patch16_224", num_classes=0, **options)) is None


READ = """
import numpy as np, torch
from twinbench.detection.models import add_trunk_config
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.modeling import build_model

cfg = get_cfg()
add_trunk_config(cfg)
cfg.merge_from_file("config.yaml")
model = build_model(cfg).eval()
DetectionCheckpointer(model).load("model_final.pth")
with torch.no_grad():
    found = model([{"image": torch.from_numpy(np.load("image.npy"))}])[0]["instances"]
np.save("boxes.npy", found.pred_boxes.tensor.numpy())
"""


def test_a_saved_detector_loads_in_detectron2_with_one_import(tmp_path, backbone, model):
    (tmp_path / "config.yaml").write_text(yaml_of(config_of(backbone)))
    torch.save({"model": model.state_dict()}, tmp_path / "model_final.pth")
    image = np.random.default_rng(0).integers(0, 255, (3, 48, 64), dtype=np.uint8)
    np.save(tmp_path / "image.npy", image)
    with torch.no_grad():
        expected = model.eval()([{"image": torch.from_numpy(image)}])[0]["instances"]
    where = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", READ], cwd=tmp_path, env=where, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert len(expected) > 0
    np.testing.assert_array_equal(np.load(tmp_path / "boxes.npy"), expected.pred_boxes.tensor.numpy())
