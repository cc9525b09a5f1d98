"""Fine-tuning of transformers: AdamW, rates by depth and step, images mixed, blocks left out, augmented by timm."""

import math
import random
import sys
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from timm.scheduler import CosineLRScheduler
from torch.nn import functional

from tests.forks import launch
from tests.probe_kills import interrupt_after
from tests.small_networks import small_vit
from twinbench.convert import files
from twinbench.convert.architectures.depth import depths, layer_rates
from twinbench.convert.architectures.library import LibraryNetwork
from twinbench.convert.architectures.positions import DINOV2
from twinbench.convert.backbone import fresh_backbone
from twinbench.convert.convention import IMAGENET, InputConvention
from twinbench.convert.named import ModelError
from twinbench.convert.opening import open_backbone
from twinbench.data.layouts import LabelledImages
from twinbench.data.paths import file_list
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.finetuning import DEIT, LIGHTLY, MAE_BASE
from twinbench.protocols.house import SettingError
from twinbench.protocols.kinds.augmentation import Augmentation
from twinbench.protocols.kinds.base import ImageTransform
from twinbench.runtime.draws import seeded
from twinbench.runtime.process import Process, current_process, process_group
from twinbench.transfer.batches import EpochBatches
from twinbench.transfer.classifier import Classifier
from twinbench.transfer.drop_path import DropPaths
from twinbench.transfer.features import pooled
from twinbench.transfer.mixing import Mixing
from twinbench.transfer.noise import AugmentationError
from twinbench.transfer.objectives import Accuracies
from twinbench.transfer.probe import Probe
from twinbench.transfer.probe_checks import ProbeError
from twinbench.transfer.schedule import rate_factor
from twinbench.transfer.transforms import TrainImages, train_transform

TINY = ImageTransform(resize=32, crop=32, shape="center-crop")
VIT = "timm:vit_tiny_patch16_224=random"
SMALL = {"transform": TINY, "epochs": 4, "batch_size": 8, "warmup_epochs": 1, "precision": "fp32"}
MAE = replace(MAE_BASE, **SMALL, norm_groups=2, lr_head=1e-3, lr_backbone=1e-3)
PLAIN = replace(  # MAE's, but for what is drawn
    MAE, policy="", erasing=0.0, mixup=0.0, cutmix=0.0, drop_path=0.0, smoothing=0.0, warmup_epochs=0
)


@pytest.fixture(scope="module")
def backbone():
    return open_backbone(VIT)


@pytest.fixture(scope="module")
def slim():
    """Three blocks of 48 numbers: where a step counts and not what is learned."""
    return slim_backbone()


def slim_backbone():
    return small_vit(depth=3, embed_dim=48, num_heads=3)


def written(folder, count):
    """Write images of two classes, dark and bright; return them with their classes."""
    draw, targets = np.random.default_rng(count), np.arange(count) % 2
    paths = []
    for i in range(count):
        pixels = draw.integers(0, 90, size=(40, 44, 3)) + 150 * targets[i]
        paths.append(folder / f"{count}-{i:02}.png")
        Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
    return LabelledImages(file_list(paths), targets.astype(np.int64), ("dark", "bright"))


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    return [written(folder, count) for count in (21, 10)]


def probe(backbone, splits, out, recipe, **more):
    given = {"identity": "this trial", "out": out, "cache": out / "features"}
    return Probe(backbone, recipe, *splits, **(given | more))


def in_doubles(run):
    """Have a probe compute in float64, in which no sum depends on its order as far as tests look."""
    run.model.double()
    inputs = run.inputs
    run.inputs = lambda images: inputs(images).double()
    return run


# ------------------------------------------------------------------------------------------------------------- rates


def test_deits_rates_are_timms_scheduler_told_of_each_epoch_when_it_is_over():
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.AdamW([parameter], lr=1e-3)
    scheduler = CosineLRScheduler(optimizer, t_initial=150, lr_min=1e-5, warmup_lr_init=1e-6, warmup_t=5)
    scheduler.step(0)  # DeiT's --resume
    for epoch in range(150):
        assert DEIT.lr_backbone * rate_factor(DEIT, epoch) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        scheduler.step(epoch)


def test_maes_rates_follow_its_formula_with_every_step():
    batches, peak, least = 1251, 2e-3, 1e-6
    for epoch, step in ((0, 0), (0, 700), (4, 1250), (5, 0), (42, 17), (99, 1250)):
        at = epoch + step / batches
        wanted = peak * at / 5 if at < 5 else least + (peak - least) * (1 + math.cos(math.pi * (at - 5) / 95)) / 2
        assert peak * rate_factor(MAE_BASE, epoch, step, batches) == pytest.approx(wanted, rel=1e-9)


def test_lightlys_rates_end_with_the_last_step():
    batches = 5004
    for step in (0, 1, 70_000, 30 * batches - 1):
        wanted = 0.001 + 0.999 * (1 + math.cos(math.pi * step / (30 * batches - 1))) / 2
        found = rate_factor(LIGHTLY, step // batches, step % batches, batches)
        assert found == pytest.approx(wanted, rel=1e-9)


def test_every_step_has_its_own_rate(slim, splits, tmp_path):
    run, seen = probe(slim, splits, tmp_path, replace(MAE, epochs=2)), []
    run.optimizer.register_step_pre_hook(lambda *_: seen.append(run.optimizer.param_groups[0]["lr"]))
    run.run()
    warm = [1e-3 * step / 2 for step in range(2)]  # of one epoch of two batches
    fall = [1e-3 * (5e-4 + (1 - 5e-4) * (1 + math.cos(math.pi * step / 2)) / 2) for step in range(2)]
    assert seen == pytest.approx([*warm, *fall])


# ------------------------------------------------------------------------------------------------------------- depth


def test_rates_by_depth_are_timms_own():
    """But for the final norm, which timm puts with the last block, and MAE with the head."""
    model = timm.create_model("vit_tiny_patch16_224", num_classes=2)
    theirs = {}
    for group in param_groups_layer_decay(model, layer_decay=0.65):
        theirs |= {parameter: group["lr_scale"] for parameter in group["params"]}
    names = [name for name, _ in model.named_parameters()]
    for name, rate in zip(names, layer_rates(names, 0.65), strict=True):
        wanted = 1.0 if name.startswith("norm.") else theirs[model.get_parameter(name)]
        assert rate == pytest.approx(wanted), name


def test_depths_of_a_resnet_are_its_blocks():
    names = [name for name, _ in open_backbone("random", 0.125).build().named_parameters()]
    found, blocks = depths(names)
    by_name = dict(zip(names, found, strict=True))
    assert blocks == 3 + 4 + 6 + 3
    wanted = {"conv1.weight": 0, "bn1.bias": 0, "layer1.0.conv1.weight": 1, "layer2.0.bn1.weight": 4}
    assert {name: by_name[name] for name in wanted} == wanted
    assert by_name["layer4.2.bn3.bias"] == 16


def test_without_blocks_there_is_one_rate():
    assert layer_rates(["stem.weight", "head.weight"], 0.5) == [0.5, 0.5]


def test_what_is_decayed_is_what_timm_decays(backbone):
    model = Classifier(backbone.build(), 2, MAE, 0)
    decayed = set()
    for group in model.parameter_groups():
        if group["weight_decay"]:
            decayed |= set(group["params"])
    theirs = param_groups_weight_decay(
        model.trunk.model, 0.05, no_weight_decay_list=model.trunk.model.no_weight_decay()
    )
    wanted = {parameter for group in theirs if group["weight_decay"] for parameter in group["params"]}
    assert decayed == wanted | {model.head[-1].weight}


def test_one_step_of_adamw_with_layer_decay_is_a_plain_computation(slim, splits, tmp_path):
    """All images in one batch, no warm-up: Adam's first step is g / (|g| + eps), and the decay comes before it."""
    recipe = replace(PLAIN, epochs=1, batch_size=20, norm_groups=1)
    run = in_doubles(probe(slim, splits, tmp_path, recipe))
    model = run.model
    images, targets = next(iter(run.loader))
    names = [name for name, _ in model.named_parameters()]
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    trunk = model.trunk.model
    tokens = trunk.pos_drop(trunk._pos_embed(trunk.patch_embed(run.inputs(images))))
    mean = trunk.blocks(tokens)[:, 1:].mean(1)
    normed = functional.layer_norm(mean, (48,), model.head[0].weight.flatten(), model.head[0].bias.flatten(), 1e-6)
    logits = model.head[-1](normed)
    loss = functional.cross_entropy(logits, targets)
    gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    model.zero_grad()
    run.run()
    after = dict(model.named_parameters())
    for name, gradient in zip(names, gradients, strict=True):
        if gradient is None:  # the norm that MAE leaves out
            assert name.startswith("trunk.model.norm.")
            assert torch.equal(after[name], before[name])
            continue
        below = 0 if "blocks" not in name else int(name.split(".")[3]) + 1
        depth = 4 if name.startswith("head") else below
        rate = 1e-3 * 0.65 ** (4 - depth)
        is_matrix = name.endswith(("proj.weight", "qkv.weight", "fc1.weight", "fc2.weight", "head.2.weight"))
        decay = 0.05 if is_matrix else 0.0
        wanted = before[name] * (1 - rate * decay) - rate * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(after[name], wanted, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: name + text)


# ---------------------------------------------------------------------------------------------------------- features


def test_maes_features_and_norm_are_timms_global_pool(backbone):
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=0, global_pool="avg", dynamic_img_size=True)
    state = {name: values for name, values in backbone.state_dict.items() if not name.startswith("norm.")}
    missing = theirs.load_state_dict(state, strict=False)
    assert missing.missing_keys == ["fc_norm.weight", "fc_norm.bias"]
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model = Classifier(backbone.build(), 5, MAE, 0).eval()
    with torch.no_grad():
        found = model.head[0](pooled(model.trunk, images, "prenorm-patches"))
        torch.testing.assert_close(found.flatten(1), theirs.eval()(images), rtol=1e-5, atol=1e-5)


def test_position_embeddings_of_an_origins_rule_are_trained(splits, tmp_path):
    """They are fitted to the image size once: fitted anew in each step they would stay as the file has them."""
    network = LibraryNetwork("timm", "vit_tiny_patch16_224", (("depth", 3),), DINOV2)
    backbone = fresh_backbone(network, "mine", IMAGENET, "assumed")
    run = probe(backbone, splits, tmp_path, replace(PLAIN, epochs=1))
    held = run.model.trunk.model.pos_embed
    before = held.detach().clone()
    run.run()
    assert run.model.trunk.model.pos_embed is held
    assert held.shape == (1, 5, 192)
    assert not torch.equal(held, before)


# ------------------------------------------------------------------------------------------------------------ mixing


def mixed(recipe, count, step=0, process=None, groups=1):
    images = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    targets = (torch.arange(count) >= count // 2).long()  # of two of three classes
    made = Mixing(recipe, 3, groups, 7, process or Process())
    return images, targets, *made(images.clone(), targets, 0, step)


@pytest.mark.parametrize("count", [6, 7])
def test_mixup_is_of_each_image_with_its_counterpart_and_so_are_targets(count):
    recipe = replace(MAE, cutmix=0.0, smoothing=0.1)
    images, targets, found, soft = mixed(recipe, count)
    hot = functional.one_hot(targets, 3) * 0.9 + 0.1 / 3
    first, last = hot[0], hot[-1]  # of different classes
    share = ((soft[0] - last)[0] / (first - last)[0]).item()
    assert 0 < share < 1
    torch.testing.assert_close(soft, share * hot + (1 - share) * hot.flip(0))
    torch.testing.assert_close(found, share * images + (1 - share) * images.flip(0))


def test_cutmix_puts_a_rectangle_of_the_counterpart_in_and_shares_the_target_by_its_area():
    images, targets, found, soft = mixed(replace(MAE, mixup=0.0, smoothing=0.0), 6)
    is_other = (found == images.flip(0)).all(1) & (found != images).all(1)  # (N, h, w)
    assert torch.equal(is_other, is_other[:1].expand_as(is_other))
    assert ((found == images).all(1) | is_other).all()
    rows, columns = is_other[0].any(1).sum(), is_other[0].any(0).sum()
    area = is_other[0].sum()
    assert area == rows * columns > 0
    hot = functional.one_hot(targets, 3).float()
    torch.testing.assert_close(soft, hot * (1 - area / 64) + hot.flip(0) * area / 64)


def test_each_step_and_group_has_its_own_draw():
    recipe = replace(MAE, cutmix=0.0)
    _, _, _, first = mixed(recipe, 6)
    _, _, _, second = mixed(recipe, 6, step=1)
    assert not torch.allclose(first, second)
    _, _, _, again = mixed(recipe, 6)
    assert torch.equal(first, again)


def test_a_process_mixes_its_groups_as_one_process_mixes_all():
    images, targets, found, soft = mixed(MAE, 10, groups=2)
    for rank in range(2):
        made = Mixing(MAE, 3, 1, 7, Process(rank, 2))
        own, own_soft = made(images[rank::2].clone(), targets[rank::2], 0, 0)
        assert torch.equal(own, found[rank::2])
        assert torch.equal(own_soft, soft[rank::2])


def test_a_process_without_images_has_nothing_to_mix():
    found, soft = Mixing(MAE, 3, 2, 7, Process())(torch.empty(0, 3, 1, 1), torch.empty(0, dtype=torch.int64), 0, 0)
    assert len(found) == 0
    assert soft.shape == (0, 3)


def test_mixing_leaves_numpys_generator_alone():
    np.random.seed(3)
    wanted = np.random.RandomState(3).rand()
    mixed(MAE, 6)
    assert np.random.rand() == wanted


def test_smoothed_labels_share_their_part_among_all_classes():
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 4, 2, 2])
    logs = logits.log_softmax(1)
    wanted = -(0.9 * logs[torch.arange(4), targets] + 0.1 * logs.mean(1)).sum()
    torch.testing.assert_close(Accuracies(("top5", "top1"), 0.1).loss(logits, targets), wanted)


def test_soft_targets_are_not_smoothed_again():
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    soft = torch.rand(4, 5, generator=torch.Generator().manual_seed(1)).softmax(1)
    wanted = -(soft * logits.log_softmax(1)).sum()
    torch.testing.assert_close(Accuracies(("top5", "top1"), 0.1).loss(logits, soft), wanted)


# --------------------------------------------------------------------------------------------------------- drop path


def test_blocks_are_left_out_at_a_rate_that_rises_to_the_recipes(backbone):
    trunk = backbone.build(0.22)
    paths = DropPaths(trunk).paths
    wanted = [0.22 * block / 11 for block in range(1, 12) for _ in ("attention", "mlp")]  # the first block's is none
    assert [path.rate for path in paths] == pytest.approx(wanted)
    assert trunk.name == "timm:vit_tiny_patch16_224"


def test_what_is_left_out_is_drawn_for_the_whole_batch(backbone):
    paths = DropPaths(backbone.build(0.5))
    whole = paths.drawn(11, 12, (7, 1, 2), Process())
    parts = [paths.drawn(count, 12, (7, 1, 2), Process(rank, 2)) for rank, count in ((0, 6), (1, 5))]
    assert torch.equal(parts[0], whole[:, ::2])
    assert torch.equal(parts[1], whole[:, 1::2])
    assert not torch.equal(paths.drawn(11, 12, (7, 1, 3), Process()), whole)


def test_what_stays_makes_up_for_what_is_left_out(backbone):
    paths = DropPaths(backbone.build(0.5))
    factors = paths.drawn(5000, 5000, (0, 0, 0), Process())
    assert set(factors[-1].tolist()) == {0.0, 2.0}
    assert (factors[-1] == 0).float().mean() == pytest.approx(0.5, abs=0.03)
    torch.testing.assert_close(factors.mean(1), torch.ones(len(factors)), rtol=0, atol=0.05)


def test_an_image_whose_blocks_are_left_out_goes_past_them(backbone):
    trunk = backbone.build(0.5)
    paths = DropPaths(trunk)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    factors = torch.ones(len(paths.paths), 2)
    factors[:, 1] = 0
    paths.use(factors)
    with torch.no_grad():
        alone = pooled(trunk.train(), images, "prenorm-patches")
        model = trunk.model.eval()
        full = pooled(trunk, images, "prenorm-patches")
        first = model.blocks[0](model._pos_embed(model.patch_embed(images)))[:, 1:].mean(1)
    torch.testing.assert_close(alone[0], full[0])
    torch.testing.assert_close(alone[1].flatten(), first[1])


@pytest.mark.parametrize("name", ["random", "torchvision:resnet18=random", "timm:resnet18=random"])
def test_a_network_without_such_blocks_is_refused(name, splits, tmp_path):
    with pytest.raises(ModelError, match="drop_path=0.1: .* has no blocks that can be left out; expected drop_path=0"):
        probe(open_backbone(name, 0.125), splits, tmp_path, MAE)


# ----------------------------------------------------------------------------------------------------- augmentations


def test_noise_of_erasing_is_normal_as_the_network_sees_it():
    convention = InputConvention((0.1, 0.2, 0.3), (0.5, 0.6, 0.7), order="bgr")
    transform = train_transform(replace(TINY, crop=128), Augmentation(erasing=1.0), convention)
    image = Image.fromarray(np.full((150, 150, 3), 255, dtype=np.uint8))
    with seeded(5):
        found = transform(image)
    is_noise = (found != 255).all(0)
    rows, columns = is_noise.any(1).sum(), is_noise.any(0).sum()
    assert is_noise.sum() == rows * columns
    assert 0.02 * 128**2 * 0.9 < is_noise.sum() < 128**2 / 3 * 1.1
    mean, std = (torch.tensor(values)[:, None] for values in (convention.mean, convention.std))
    seen = (found.flip(0)[:, is_noise] / 255 - mean) / std  # BGR
    torch.testing.assert_close(seen.mean(1), torch.zeros(3), rtol=0, atol=0.15)
    torch.testing.assert_close(seen.std(1), torch.ones(3), rtol=0, atol=0.1)


def test_a_quarter_of_images_is_erased_where_the_recipe_says_so():
    transform = train_transform(TINY, Augmentation(crop="none", erasing=0.25))
    image = Image.fromarray(np.full((32, 32, 3), 255, dtype=np.uint8))
    erased = 0
    for seed in range(400):
        with seeded(seed):
            erased += int((transform(image) != 255).any())
    assert erased / 400 == pytest.approx(0.25, abs=0.07)


def test_crops_are_resized_as_the_recipe_says():
    pixels = np.random.default_rng(0).integers(0, 256, size=(60, 70, 3)).astype(np.uint8)
    found = []
    for how in ("bilinear", "bicubic"):
        with seeded(1):
            found.append(train_transform(TINY, Augmentation(interpolation=how))(Image.fromarray(pixels)))
    assert not torch.equal(*found)


def crops(splits, recipe, seed=0):
    images = splits[0]
    transform = train_transform(recipe.transform, recipe.augmentation)
    return TrainImages(images.paths, images.targets, transform, seed)


def test_timms_augmentations_are_a_function_of_seed_epoch_and_image(splits):
    made = crops(splits, DEIT)
    first, _ = made[0, 3]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    again, _ = made[0, 3]
    assert torch.equal(first, again)
    for other in ((1, 3), (0, 4), (0, 3, 1)):
        assert not torch.equal(first, made[other][0])


def test_timms_augmentations_leave_the_global_generators_alone(splits):
    made = crops(splits, DEIT)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state()
    made[0, 3]
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.random.get_rng_state(), states[2])


def test_randaugment_is_timms_own(splits):
    """The same draws through timm's transform of training, of the image that comes out of the crop and the flip."""
    made = crops(splits, replace(DEIT, erasing=0.0))
    steps = made.transform.transforms
    theirs = timm.data.create_transform(
        (3, 224, 224), is_training=True, auto_augment=DEIT.policy, interpolation="bicubic", color_jitter=0.3
    )
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, size=(224, 224, 3)).astype(np.uint8))
    for seed in range(8):
        with seeded(seed):
            found = np.asarray(steps[2](image))
        with seeded(seed):
            wanted = np.asarray(theirs.transforms[2](image))
        np.testing.assert_array_equal(found, wanted)


def test_the_strongest_posterize_leaves_black(splits):
    """Pillow 13 keeps no less than one bit and raises; timm asks for none at the end of its scale."""
    augment = train_transform(TINY, Augmentation(policy=DEIT.policy)).transforms[2]
    [operation] = [each for each in augment.ops if each.name == "PosterizeIncreasing"]
    image = Image.fromarray(np.full((8, 8, 3), 255, dtype=np.uint8))
    assert not np.asarray(operation.aug_fn(image, 0)).any()
    assert (np.asarray(operation.aug_fn(image, 1)) == 128).all()


@pytest.mark.parametrize("setting", [{"policy": DEIT.policy}, {"erasing": 0.5}])
def test_what_needs_timm_says_so(setting, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm.data.auto_augment", None)
    monkeypatch.setitem(sys.modules, "timm.data.random_erasing", None)
    with pytest.raises(AugmentationError, match=f"setting {next(iter(setting))}=.*: needs the package timm, which is"):
        train_transform(TINY, Augmentation(**setting))


def test_a_policy_that_timm_does_not_read_is_refused():
    with pytest.raises(SettingError, match="setting policy=auto: expected timm's name of a RandAugment"):
        PROTOCOLS["imagenet-finetune-deit"].with_settings({"policy": "auto"})


@pytest.mark.parametrize("world", [1, 3])
def test_repeated_crops_follow_each_other_in_a_part_of_the_images(world):
    parts = [list(EpochBatches(20, 6, 5, Process(rank, world), repeats=3, drop_last=True)) for rank in range(world)]
    keys = [[key for part in parts for key in part[batch]] for batch in range(3)]
    assert [len(batch) for batch in keys] == [6, 6, 6]
    for batch in keys:
        images = sorted({index for _, index, _ in batch})
        assert sorted(batch) == [(0, index, copy) for index in images for copy in range(3)]
    assert len({index for batch in keys for _, index, _ in batch}) == 6


def test_the_last_batch_is_dropped_where_the_recipe_says_so():
    batches = EpochBatches(20, 6, 5, Process(), drop_last=True)
    assert [len(batch) for batch in batches] == [6, 6, 6]
    assert len(batches) == 3
    assert batches.images == 18


# ------------------------------------------------------------------------------------------------------------ trials


@pytest.mark.parametrize("name", ["mae", "deit"])
def test_a_transformer_learns_by_each_recipe(splits, tmp_path, name):
    """Eleven epochs of two or three steps of twelve blocks, with everything on that both papers draw."""
    recipe = MAE if name == "mae" else replace(DEIT, **SMALL, norm_groups=2)
    recipe = replace(recipe, epochs=11, lr_head=2e-3, lr_backbone=2e-3)
    outcome = probe(small_vit(), splits, tmp_path, recipe).run()
    assert outcome.metrics["top1"] == 100


def test_bf16_is_of_the_transformers_forward_pass_alone(slim, splits, tmp_path):
    runs = [probe(slim, splits, tmp_path / name, replace(PLAIN, epochs=2, precision=name)) for name in ("fp32", "bf16")]
    images, _ = next(iter(runs[0].loader))
    full, lower = (run.model(run.inputs(images)) for run in runs)
    assert lower.dtype == torch.float32
    assert not torch.equal(full, lower)
    losses = [[loss for _, loss in run.run().curves["loss"]] for run in runs]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert losses[1] != losses[0]
    assert {parameter.dtype for parameter in runs[1].model.parameters()} == {torch.float32}


@pytest.mark.parametrize("saves", [1, 2, 4])
@pytest.mark.parametrize("name", ["mae", "deit"])
def test_killed_and_resumed_equals_never_killed(slim, splits, tmp_path, name, saves, monkeypatch):
    """With images mixed, erased and augmented, and blocks left out: between two steps and between two epochs."""
    recipe = replace(MAE if name == "mae" else replace(DEIT, **SMALL, norm_groups=2), epochs=2)
    whole = probe(slim, splits, tmp_path / "whole", recipe).run()
    interrupt_after(monkeypatch, saves)
    with pytest.raises(KeyboardInterrupt):
        probe(slim, splits, tmp_path / "cut", recipe).run()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    assert probe(slim, splits, tmp_path / "cut", recipe, workers=1).run() == whole
    states = [files.load(tmp_path / name / "checkpoint.pth")["model"] for name in ("whole", "cut")]
    for key, values in states[0].items():
        assert torch.equal(states[1][key], values), key


TOGETHER = {
    "a group each": MAE,
    "two groups each": replace(MAE, norm_groups=4),
    "two groups each in parts": replace(MAE, norm_groups=4, accumulate=2),
    "no mixing, in parts": replace(MAE, norm_groups=1, accumulate=2, mixup=0.0, cutmix=0.0, drop_last=False),
    "the last batch uneven": replace(MAE, drop_last=False),
    "repeated": replace(MAE, repeats=3),
}


def train_all(folder, out):
    """Run all of these in one process of a group."""
    process = current_process("cpu")
    backbone = slim_backbone()
    with process_group(process):
        for name, recipe in TOGETHER.items():
            split = LabelledImages(file_list(sorted(folder.iterdir())), np.arange(11) % 2, ("a", "b"))
            given = {"identity": name, "out": out / name, "cache": out / "cache", "process": process}
            in_doubles(Probe(backbone, replace(recipe, epochs=2), split, split, **given)).run()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the last checkpoint of each in one process and in two."""
    folder = tmp_path_factory.mktemp("eleven")
    written(folder, 11)
    outs = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    for world, out in enumerate(outs, start=1):
        launch(world, out, train_all, folder, out)
    return [{name: files.load(out / name / "checkpoint.pth") for name in TOGETHER} for out in outs]


@pytest.mark.parametrize("name", TOGETHER)
def test_two_processes_train_as_one_does(trained, name):
    one, two = (each[name] for each in trained)
    for key, tensor in one["model"].items():
        torch.testing.assert_close(two["model"][key], tensor, rtol=1e-6, atol=1e-7)
    for first, second in zip(one["history"], two["history"], strict=True):
        assert first["top1"] == second["top1"]
        assert first["loss"] == pytest.approx(second["loss"], rel=1e-6)


# ---------------------------------------------------------------------------------------------------------- refusals


def test_images_are_not_mixed_across_processes(backbone, splits, tmp_path):
    with pytest.raises(ProbeError, match=r"mixup=0.8 and cutmix=1: 4 processes share norm_groups=2 groups of a batch"):
        probe(backbone, splits, tmp_path, MAE, process=Process(0, 4))


def test_too_few_images_for_one_whole_batch_are_refused(backbone, splits, tmp_path):
    with pytest.raises(ProbeError, match="21 training images in batches of 32, of which only whole ones are taken"):
        probe(backbone, splits, tmp_path, replace(MAE, batch_size=32))


def test_a_transformers_features_are_refused_on_a_resnet(splits, tmp_path):
    with pytest.raises(ModelError, match=r"resnet50-w0.125: has no .*tokens of a transformer \(tokens\)"):
        probe(open_backbone("random", 0.125), splits, tmp_path, PLAIN)


@pytest.mark.parametrize(
    ("protocol", "setting", "value", "message"),
    [
        (
            "imagenet-finetune-lightly",
            "precision",
            "bf16",
            "expected fp32 or tf32 where the backbone is trained by opt",
        ),
        ("imagenet-finetune-deit", "nesterov", "true", "expected false where optimizer=adamw"),
        ("imagenet-finetune-deit", "warmup_epochs", "150", "expected fewer than epochs=150"),
        ("imagenet-finetune-deit", "schedule", "steps", "setting warmup_epochs=5: expected 0 where schedule=steps"),
        ("imagenet-finetune-mae", "norm_groups", "7", "expected a divisor of batch_size"),
        ("imagenet-finetune-mae", "drop_path", "1", "setting drop_path=1"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(protocol, setting, value, message):
    with pytest.raises(SettingError, match=message):
        PROTOCOLS[protocol].with_settings({setting: value})


@pytest.mark.parametrize(
    "name", ["timm:vit_tiny_patch16_224", "timm:resnet18", "torchvision:resnet18", "torchvision:vit_b_16"]
)
def test_what_can_be_trained(name):
    library, _, model = name.partition(":")
    assert "training" in LibraryNetwork(library, model).offers


@pytest.mark.parametrize("name", ["timm:convnext_atto", "torchvision:swin_t", "timm:efficientnet_b0"])
def test_what_cannot_be_trained(name):
    library, _, model = name.partition(":")
    assert "training" not in LibraryNetwork(library, model).offers
