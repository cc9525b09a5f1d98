"""Tokens of transformers: what timm, torchvision and transformers themselves give after each block, to 1e-5."""

import json

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from twinbench.convert.architectures.library import LibraryNetwork
from twinbench.convert.architectures.library_trunks import TorchvisionTrunk
from twinbench.convert.convention import IMAGENET
from twinbench.convert.finding.find import Wanted, find
from twinbench.convert.load import take
from twinbench.convert.named import ModelError
from twinbench.convert.opening import open_backbone
from twinbench.convert.reading.reader import open_checkpoint

WIDTH, SIDE = 64, 64
# transformers' settings of a narrow network of three blocks, and timm's of the same
NARROW = {"hidden_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 4 * WIDTH}
BLOCKS = {"embed_dim": WIDTH, "depth": 3, "num_heads": 2}
EXACT = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def moved(model):
    """Return a model whose tensors are all away from where they start, norms and layer scales among them."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for values in model.parameters():
            values.add_(0.1 * torch.randn(values.shape, generator=generator))
    return model.eval()


def built(library, model, **options):
    network = LibraryNetwork(library, model, tuple(sorted(options.items())))
    trunk = network.build(network.fresh())
    moved(trunk)
    return trunk


def hooked(blocks, call):
    """Return what each block of a model gives while `call` runs it: no code of ours takes part."""
    kept = []
    hooks = [block.register_forward_hook(lambda module, given, found: kept.append(found)) for block in blocks]
    with torch.no_grad():
        call()
    for hook in hooks:
        hook.remove()
    return kept


def laid_out(tokens):
    """Return tokens as one row after the other, (N, T, C): class token, registers, patches row by row."""
    image = [] if tokens.image is None else [tokens.image[:, None]]
    return torch.cat([*image, tokens.registers, tokens.patches.flatten(2).mT], 1)


def of_trunk(trunk, images, last, **keywords):
    with torch.no_grad():
        return [laid_out(each) for each in trunk.tokens(images, last, **keywords)]


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, **EXACT)


# --- timm and torchvision: what the blocks of the very same module give ---

TIMM = [
    ("vit_base_patch16_224", BLOCKS, 1),
    ("vit_small_patch14_dinov2", BLOCKS | {"img_size": 56}, 1),
    ("vit_small_patch14_reg4_dinov2", BLOCKS | {"img_size": 56}, 5),
    ("vit_small_patch16_dinov3_qkvb", BLOCKS | {"global_pool": "token"}, 5),
    ("vit_base_patch16_clip_224", BLOCKS, 1),
    ("vit_base_patch16_gap_224", BLOCKS, 0),
]


@pytest.mark.parametrize(("model", "options", "prefixed"), TIMM)
def test_tokens_are_what_timms_last_blocks_give_before_and_after_its_norm(images, model, options, prefixed):
    trunk = built("timm", model, **options)
    given = images[:, :, :56, :56] if "dinov2" in model else images
    own = hooked(trunk.model.blocks, lambda: trunk.model.forward_features(given))
    raw, normed = of_trunk(trunk, given, 2, normed=False), of_trunk(trunk, given, 2)
    assert raw[0].shape == (2, 16 + prefixed, WIDTH)
    for found, expected in zip(raw, own[-2:], strict=True):
        assert_close(found, expected)
    with torch.no_grad():
        for found, expected in zip(normed, own[-2:], strict=True):
            assert_close(found, trunk.model.norm(expected))


def test_class_token_and_registers_are_told_apart(images):
    trunk = built("timm", "vit_small_patch14_reg4_dinov2", **BLOCKS, img_size=56)
    given = images[:, :, :56, :56]
    with torch.no_grad():
        [tokens] = trunk.tokens(given)
        whole = trunk.model.forward_features(given)
    assert_close(tokens.image, whole[:, 0])
    assert_close(tokens.registers, whole[:, 1:5])
    assert_close(tokens.patches.flatten(2).mT, whole[:, 5:])


@pytest.fixture(scope="module")
def of_torchvision():
    model = VisionTransformer(SIDE, patch_size=16, num_layers=3, num_heads=2, hidden_dim=WIDTH, mlp_dim=2 * WIDTH)
    model.heads = nn.Identity()
    return TorchvisionTrunk(moved(model), "torchvision:narrow")


def test_tokens_are_what_torchvisions_last_blocks_give_before_and_after_its_norm(images, of_torchvision):
    model = of_torchvision.model
    own = hooked(model.encoder.layers, lambda: model(images))
    raw, normed = of_trunk(of_torchvision, images, 3, normed=False), of_trunk(of_torchvision, images, 3)
    for found, expected in zip(raw, own[-3:], strict=True):
        assert_close(found, expected)
    with torch.no_grad():
        for found, expected in zip(normed, own[-3:], strict=True):
            assert_close(found, model.encoder.ln(expected))


def test_torchvisions_class_token_is_its_feature(images, of_torchvision):
    with torch.no_grad():
        [tokens] = of_torchvision.tokens(images)
        assert_close(tokens.image, of_torchvision(images))


def test_torchvisions_patches_lie_as_they_do_in_the_image(images, of_torchvision):
    """An image that is grey but for one patch, of a trunk without attention's mixing: that place alone differs."""
    blank, spotted = torch.zeros(1, 3, SIDE, SIDE), torch.zeros(1, 3, SIDE, SIDE)
    spotted[:, :, 16:32, 48:] = 1.0  # the second row's last
    with torch.no_grad():
        of_patches = [of_torchvision.model._process_input(each) for each in (blank, spotted)]
        differs = (of_patches[0] != of_patches[1]).any(2)[0].unflatten(0, (4, 4)).nonzero().tolist()
        [tokens] = of_torchvision.tokens(spotted, normed=False)
        [plain] = of_torchvision.tokens(blank, normed=False)
    moved_most = (tokens.patches - plain.patches).square().sum(1)[0].flatten().argmax()
    assert differs == [[1, 3]]
    assert divmod(int(moved_most), 4) == (1, 3)


def test_torchvisions_vits_offer_tokens_and_refuse_other_sides(images, of_torchvision):
    assert LibraryNetwork("torchvision", "vit_b_16").offers == {"pooled", "tokens", "training"}
    with pytest.raises(ModelError, match="takes no images of 32 px .*use --set transform.crop="):
        of_torchvision.tokens(images[:, :, :32, :32])


def test_more_blocks_than_torchvisions_has_are_told(images, of_torchvision):
    with pytest.raises(ModelError, match="torchvision:narrow: has 3 blocks; expected at least the 4 asked for"):
        of_torchvision.tokens(images, 4)


# --- transformers: its own hidden states, of its own names and weights ---


def of_transformers(name, config, **settings):
    transformers = pytest.importorskip("transformers", reason="needs the extra dev")
    return moved(getattr(transformers, name)(getattr(transformers, config)(**NARROW, **settings)))


def read(model, folder, timm_model, **options):
    """Return the trunk that the converter builds of the folder that transformers itself writes."""
    model.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["hidden_size"] == WIDTH
    contents = open_checkpoint(folder)
    network = LibraryNetwork("timm", timm_model, tuple(sorted((BLOCKS | options).items())))
    return take(contents, find(contents, Wanted(network=network)), convention=IMAGENET).build()


TRANSFORMERS = [
    ("ViTModel", "ViTConfig", {"image_size": 64, "layer_norm_eps": 1e-6}, "vit_base_patch16_224", {"img_size": 64}, 64),
    (
        "Dinov2Model",
        "Dinov2Config",
        {"image_size": 56, "patch_size": 14},
        "vit_small_patch14_dinov2",
        {"img_size": 56},
        56,
    ),
    (
        "Dinov2WithRegistersModel",
        "Dinov2WithRegistersConfig",
        {"image_size": 56, "patch_size": 14},
        "vit_small_patch14_reg4_dinov2",
        {"img_size": 56},
        56,
    ),
    (
        "DINOv3ViTModel",
        "DINOv3ViTConfig",
        {"num_register_tokens": 4},
        "vit_small_patch16_dinov3_qkvb",
        {"global_pool": "token"},
        64,
    ),
]


@pytest.mark.parametrize(("name", "config", "settings", "timm_model", "options", "side"), TRANSFORMERS)
def test_tokens_are_transformers_hidden_states(images, tmp_path, name, config, settings, timm_model, options, side):
    model = of_transformers(name, config, **settings)
    given = images[:, :, :side, :side]
    trunk = read(model, tmp_path, timm_model, **options)
    with torch.no_grad():
        found = model(given, output_hidden_states=True)
    [last] = of_trunk(trunk, given, 1)
    assert_close(last, found.last_hidden_state)
    raw = of_trunk(trunk, given, 3, normed=False)
    for ours, theirs in zip(raw[:2], found.hidden_states[1:3], strict=True):
        assert_close(ours, theirs)


# --- what has none ---


def test_a_resnet_has_no_tokens_and_says_so(images):
    with pytest.raises(
        ModelError, match=r"resnet50.*: has no tokens of a transformer \(tokens\); it offers maps, pooled"
    ):
        open_backbone("random", 0.125).build().tokens(images)
