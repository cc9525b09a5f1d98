"""Features by name, of transformers and of networks with stages."""

from dataclasses import replace

import pytest
import torch

from twinbench.convert.architectures.library import LibraryNetwork
from twinbench.convert.backbone import fresh_backbone
from twinbench.convert.convention import IMAGENET
from twinbench.convert.named import ModelError
from twinbench.convert.opening import open_backbone
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.house import SettingError
from twinbench.protocols.kinds.base import Features, ImageTransform
from twinbench.protocols.kinds.forms import form
from twinbench.transfer.features import FeatureError, all_pooled, pooled

SIDE = 64
WIDTH = 192


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def made(model):
    network = LibraryNetwork("timm", model, ())
    return network.build(network.fresh())


@pytest.fixture(scope="module")
def vit():
    return made("vit_tiny_patch16_224")


@pytest.fixture(scope="module")
def resnet():
    return open_backbone("random", 0.125).build()


def rows(model, images, name):
    with torch.no_grad():
        return pooled(model, images, name).flatten(1)


def own_tokens(vit, images):
    """Return timm's own class tokens (2, C) and patches (2, P, C) of every block, normalised by its last norm."""
    kept = []
    hooks = [block.register_forward_hook(lambda module, given, found: kept.append(found)) for block in vit.model.blocks]
    with torch.no_grad():
        vit.model(images)
        for hook in hooks:
            hook.remove()
        return [(found[:, 0], found[:, 1:]) for found in map(vit.model.norm, kept)]


def test_a_class_token_is_the_last_blocks_and_a_vits_own_features(vit, images):
    own = own_tokens(vit, images)
    torch.testing.assert_close(rows(vit, images, "class"), own[-1][0], rtol=0, atol=1e-5)
    torch.testing.assert_close(rows(vit, images, "gap"), own[-1][0], rtol=0, atol=1e-5)


def test_class_tokens_of_the_last_blocks_lie_in_their_order_with_the_patches_mean_behind(vit, images):
    own = own_tokens(vit, images)
    expected = torch.cat([*(token for token, _ in own[-4:]), own[-1][1].mean(1)], 1)
    torch.testing.assert_close(rows(vit, images, "class-4+patches"), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(rows(vit, images, "class-4"), expected[:, : 4 * WIDTH], rtol=0, atol=1e-5)
    torch.testing.assert_close(rows(vit, images, "patches"), expected[:, 4 * WIDTH :], rtol=0, atol=1e-5)


def test_a_resnets_patches_are_its_last_map(resnet, images):
    torch.testing.assert_close(rows(resnet, images, "patches"), rows(resnet, images, "gap"), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "index"), [("res2", 0), ("res3", 1), ("res4", 2), ("res5", 3)])
def test_a_stages_map_is_averaged_over_its_places(resnet, images, name, index):
    with torch.no_grad():
        expected = resnet.maps(images)[index].mean((2, 3))
    torch.testing.assert_close(rows(resnet, images, name), expected, rtol=0, atol=1e-5)


def test_several_features_of_one_kind_are_one_pass(vit, images, monkeypatch):
    passes = []
    monkeypatch.setattr(type(vit), "tokens", counted(type(vit).tokens, passes))
    found = all_pooled(vit, images, ["class", "class-4+patches", "patches"])
    assert [each.shape[1] for each in found] == [WIDTH, 5 * WIDTH, WIDTH]
    assert passes == [4]


def counted(function, passes):
    def call(self, images, last=1):
        passes.append(last)
        return function(self, images, last)

    return call


@pytest.mark.parametrize("word", ["", "Gap", "class-0", "class-4+", "patches+class", "res1", "res6", "class-100"])
def test_words_that_are_no_features(word):
    assert form(word) is None


def test_a_setting_that_is_no_feature_is_told():
    with pytest.raises(SettingError, match="setting feature=cls: expected gap, class, class-4, patches"):
        PROTOCOLS["imagenet-knn"].with_settings({"feature": "cls"})


def test_a_resnet_has_no_class_token():
    recipe = PROTOCOLS["imagenet-knn"].with_settings({"feature": "class"}).recipe
    with pytest.raises(ModelError, match="imagenet-knn on random: takes the tokens of a transformer, which resnet50"):
        open_backbone("random").require(recipe.takes, "imagenet-knn")


def test_a_dense_protocol_speaks_of_no_detector():
    vit = fresh_backbone(LibraryNetwork("timm", "vit_tiny_patch16_224", ()), "vit", IMAGENET, "test")
    with pytest.raises(ModelError, match="choose a protocol on patches, such as ade20k-linear-dinov3") as told:
        vit.require("maps", "voc12-linear-vicregl", "dense")
    assert "detector" not in str(told.value)


def test_networks_with_tokens_and_with_maps_have_patches():
    vit = fresh_backbone(LibraryNetwork("timm", "vit_tiny_patch16_224", ()), "vit", IMAGENET, "test")
    for backbone in (vit, open_backbone("random", 0.125)):
        backbone.require("patches", "it")


def test_a_transformer_without_a_class_token_says_what_it_has(images):
    without = made("vit_base_patch16_gap_224")
    with pytest.raises(FeatureError, match="has no class token; use features `patches`"):
        rows(without, images, "class")


def test_more_blocks_than_there_are_is_told(vit, images):
    with pytest.raises(ModelError, match="has 12 blocks; expected at least the 13 asked for"):
        rows(vit, images, "class-13")


def test_features_at_their_default_leave_a_fingerprint_as_it_was():
    protocol = PROTOCOLS["imagenet-knn"]
    assert "feature" in type(protocol.recipe).later
    assert replace(protocol, recipe=replace(protocol.recipe, feature="class")).fingerprint != protocol.fingerprint


def test_a_plan_counts_tokens_that_lie_side_by_side():
    transform = ImageTransform(resize=256, crop=224, shape="center-crop")
    assert Features(transform, "class-4+patches", "fp32").positions == 5
    assert Features(transform, "res5-avg6", "fp32").positions == 4
