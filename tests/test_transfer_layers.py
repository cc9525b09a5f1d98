"""Probes of several layers at once: what each head is fed, that none feels the others, and what is refused."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision import transforms
from torchvision.models.feature_extraction import create_feature_extractor

import twinbench
from tests.probe_kills import interrupt_after
from twinbench.convert.named import ModelError
from twinbench.convert.opening import open_backbone
from twinbench.data.images import read_rgb
from twinbench.data.layouts import LabelledImages
from twinbench.data.paths import file_list
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.house import SettingError
from twinbench.protocols.kinds.augmentation import Augmentation
from twinbench.protocols.kinds.base import ImageTransform
from twinbench.protocols.layers import MMSL_IMAGENET, VISSL_LAYERS
from twinbench.protocols.published import published_for
from twinbench.transfer.classifier import Classifier
from twinbench.transfer.features import FeatureError
from twinbench.transfer.layers import layer_maps
from twinbench.transfer.probe import Probe
from twinbench.transfer.probe_checks import ProbeError
from twinbench.transfer.transforms import evaluation_transform, train_transform

TINY = ImageTransform(resize=48, crop=48, shape="center-crop")
SMALL = {"transform": TINY, "epochs": 3, "batch_size": 8, "milestones": (2,), "lr_head": 0.01}
POOLS = {"kernels": (2, 2, 3, 1, 1), "strides": (2, 2, 1, 1, 1), "paddings": (0, 0, 0, 0, 0)}
SEVEN = replace(VISSL_LAYERS, **SMALL, **POOLS)
FIVE = replace(MMSL_IMAGENET, **SMALL, **POOLS)
VISSL_POOLS = [  # kernel, stride, padding, side of the map at 224 px, channels, dims of its yaml
    ("conv1", 10, 10, 4, 112, 64, 9216),
    ("res2", 16, 8, 0, 56, 256, 9216),
    ("res3", 13, 5, 0, 28, 512, 8192),
    ("res4", 8, 3, 0, 14, 1024, 9216),
    ("res5", 6, 1, 0, 7, 2048, 8192),
]


@pytest.fixture(scope="module")
def backbone(splits):
    """A narrow ResNet-50 with the running statistics of the images, without which random features explode."""
    found = open_backbone("random", 0.125)
    model = found.build().train()
    batch = torch.stack([evaluation_transform(TINY)(read_rgb(path)) for path in splits[0].paths])
    for _ in range(30):
        model((batch.float() / 255 - 0.45) / 0.225)
    return replace(found, state_dict=model.state_dict())


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """Twenty training and ten test images: two classes, red and blue."""
    draw, folder, made = np.random.default_rng(0), tmp_path_factory.mktemp("images"), []
    for split, count in (("train", 20), ("test", 10)):
        targets, paths = np.arange(count) % 2, []
        for i in range(count):
            pixels = draw.integers(0, 50, size=(50, 54, 3))
            pixels[:, :, 2 * targets[i]] += 200
            paths.append(folder / f"{split}{i}.png")
            Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
        made.append(LabelledImages(file_list(paths), targets.astype(np.int64), ("red", "blue")))
    return made


def probe(backbone, splits, out, recipe, **more):
    given = {"identity": "this trial", "out": out, "cache": out / "features"}
    return Probe(backbone, recipe, *splits, **(given | more))


@pytest.fixture(scope="module")
def seven(backbone, splits, tmp_path_factory):
    """A run of all seven heads side by side, and its outcome."""
    run = probe(backbone, splits, tmp_path_factory.mktemp("seven"), SEVEN)
    return run, run.run()


# ------------------------------------------------------------------------------------------------ what heads are fed


@pytest.mark.parametrize(("name", "kernel", "stride", "padding", "side", "channels", "dims"), VISSL_POOLS)
def test_a_layer_is_pooled_to_the_numbers_of_vissls_yaml(name, kernel, stride, padding, side, channels, dims):
    """By the formula of an average's sides, and by what the network gives."""
    places = math.floor((side + 2 * padding - kernel) / stride) + 1
    assert channels * places**2 == dims
    heads = [head for head in VISSL_LAYERS.layer_heads if head.name == name]
    with torch.no_grad():
        [found] = layer_maps(open_backbone("random", 1.0).build(), torch.zeros(1, 3, 224, 224), heads)
    assert found.shape == (1, channels, places, places)


@pytest.fixture(scope="module")
def extracted():
    """An image's maps by torchvision's own extractor, and our pooled ones, of a ResNet-50 of the same tensors."""
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    backbone = open_backbone("random", 1.0)
    theirs = torchvision.models.resnet50()
    theirs.load_state_dict(backbone.state_dict, strict=False)
    nodes = ("relu", "layer1", "layer2", "layer3", "layer4", "flatten")
    with torch.no_grad():
        maps = create_feature_extractor(theirs.eval(), list(nodes))(images)
        ours = layer_maps(backbone.build(), images, VISSL_LAYERS.layer_heads)
    return [maps[node] for node in nodes], ours


@pytest.mark.parametrize("stage", range(5))
def test_a_layers_map_is_vissls_average_of_torchvisions(extracted, stage):
    maps, ours = extracted
    _, kernel, stride, padding, *_ = VISSL_POOLS[stage]
    torch.testing.assert_close(ours[stage], nn.AvgPool2d(kernel, stride, padding)(maps[stage]))


def test_the_global_average_is_torchvisions(extracted):
    maps, ours = extracted
    torch.testing.assert_close(ours[5].flatten(1), maps[5])


def test_the_bare_head_is_fed_the_same(extracted):
    _, ours = extracted
    assert torch.equal(ours[5], ours[6])


@pytest.mark.parametrize("name", ["torchvision:resnet18=random", "timm:resnet18=random"])
def test_a_librarys_resnet_has_its_stem_too(name):
    trunk, images = open_backbone(name).build(), torch.rand(2, 3, 64, 64)
    model = trunk.get_submodule("model")
    head = replace(VISSL_LAYERS, **POOLS).layer_heads[0]
    with torch.no_grad():
        stem = nn.functional.relu(model.bn1(model.conv1(images)))
        [found] = layer_maps(trunk, images, [head])
    torch.testing.assert_close(found, nn.functional.avg_pool2d(stem, 2, 2))


def test_no_hook_stays_on_the_trunk():
    trunk = open_backbone("random", 0.125).build()
    layer_maps(trunk, torch.zeros(1, 3, 48, 48), SEVEN.layer_heads)
    assert not trunk.stem()._forward_hooks


# ------------------------------------------------------------------------------------------------------- the heads


def kinds_of(recipe):
    """The modules of each head, by the name of its layer."""
    model = Classifier(open_backbone("random", 0.125).build(), 2, recipe, seed=0)
    heads = zip(recipe.layers, model.head.heads, strict=True)
    return {name: [type(module) for module in head] for name, head in heads}


def test_vissls_heads_have_a_batch_norm_but_for_the_last():
    kinds = kinds_of(SEVEN)
    assert kinds.pop("res5avg-linear") == [nn.Flatten, nn.Linear]
    assert all(modules == [nn.BatchNorm2d, nn.Flatten, nn.Linear] for modules in kinds.values())


def test_a_standardizing_norm_has_nothing_to_train():
    """MMSelfSup: affine=False, so that its linear layers are all there is: weights of deviation .01, biases of 0."""
    model = Classifier(open_backbone("random", 0.125).build(), 2, FIVE, seed=0)
    groups = model.parameter_groups()
    assert [len(group["params"]) for group in groups] == [10]
    assert groups[0]["weight_decay"] == 1e-4


def test_batch_norms_of_heads_have_no_weight_decay():
    model = Classifier(open_backbone("random", 0.125).build(), 2, SEVEN, seed=0)
    groups = model.parameter_groups()
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(14, 5e-4), (12, 0.0)]


@pytest.mark.parametrize("name", SEVEN.layers)
def test_a_head_learns_the_same_beside_others_as_alone(backbone, splits, tmp_path, seven, name):
    side_by_side, outcome = seven
    alone = probe(backbone, splits, tmp_path, replace(SEVEN, layers=(name,)))
    by_itself = alone.run()
    found = side_by_side.model.head.heads[SEVEN.layers.index(name)].state_dict()
    for key, wanted in alone.model.head.heads[0].state_dict().items():
        torch.testing.assert_close(found[key], wanted, rtol=1e-5, atol=1e-6)
    assert outcome.metrics[f"top1-{name}"] == by_itself.metrics[f"top1-{name}"]


def test_the_loss_that_is_logged_is_the_sum_of_the_heads(backbone, splits, tmp_path, seven):
    total = np.zeros(3)
    for name in SEVEN.layers:
        alone = probe(backbone, splits, tmp_path / name, replace(SEVEN, layers=(name,))).run()
        total += [loss for _, loss in alone.curves["loss"]]
    assert [loss for _, loss in seven[1].curves["loss"]] == pytest.approx(total.tolist(), rel=1e-5)


@pytest.fixture(scope="module")
def learned(backbone, splits, tmp_path_factory):
    """The outcome of a run on images as they are: crops upset the last stage of a random network."""
    recipe = replace(SEVEN, epochs=20, milestones=(15,), train_crop="none")
    return probe(backbone, splits, tmp_path_factory.mktemp("learned"), recipe).run()


@pytest.mark.parametrize("name", SEVEN.layers)
def test_every_layer_learns_red_from_blue(learned, name):
    assert learned.metrics[f"top1-{name}"] >= 70  # of ten images, half of which are red


def test_the_last_epoch_is_reported_of_every_layer(seven):
    _, outcome = seven
    last = {name: values[-1][1] for name, values in outcome.curves.items() if name != "loss"}
    assert last == {name: value for name, value in outcome.metrics.items() if name.startswith("top1")}


def test_a_process_without_images_has_logits_of_none():
    model = Classifier(open_backbone("random", 0.125).build(), 2, SEVEN, seed=0)
    assert model(torch.empty(0, 3, 1, 1)).shape == (0, 7, 2)


# ------------------------------------------------------------------------------------------------- kill and resume


@pytest.mark.parametrize("saves", [1, 4, 7])  # of 5 an epoch: after its three steps, before and after its evaluation
def test_killed_and_resumed_equals_never_killed(backbone, splits, tmp_path, seven, saves, monkeypatch):
    interrupt_after(monkeypatch, saves)
    with pytest.raises(KeyboardInterrupt):
        probe(backbone, splits, tmp_path, SEVEN).run()
    monkeypatch.undo()
    assert probe(backbone, splits, tmp_path, SEVEN).run() == seven[1]


# -------------------------------------------------------------------------------------------------- training images


@pytest.fixture(scope="module")
def picture():
    pixels = np.random.default_rng(1).integers(0, 256, size=(60, 80, 3))
    return Image.fromarray(pixels.astype(np.uint8))


WIDE = ImageTransform(resize=50, crop=40, shape="center-crop")


def drawn(picture, augmentation, seed, transform=WIDE):
    torch.manual_seed(seed)
    return train_transform(transform, augmentation)(picture)


def test_without_a_crop_a_training_image_is_the_test_image_or_its_mirror(picture):
    squash = ImageTransform(resize=0, crop=40, shape="squash")
    plain = evaluation_transform(squash)(picture)
    both = {plain.numpy().tobytes(), plain.flip(2).numpy().tobytes()}
    assert {drawn(picture, Augmentation("none"), seed, squash).numpy().tobytes() for seed in range(12)} == both


def test_a_random_crop_is_of_the_test_image_before_its_crop(picture):
    """Places205 as MMSelfSup: Resize(50), CenterCrop(50), and any 40 x 40 of that."""
    whole = evaluation_transform(replace(WIDE, crop=50))(picture)
    windows = set()
    for one in (whole, whole.flip(2)):
        windows |= {one[:, y : y + 40, x : x + 40].numpy().tobytes() for y in range(11) for x in range(11)}
    found = {drawn(picture, Augmentation("random"), seed).numpy().tobytes() for seed in range(12)}
    assert found <= windows
    assert len(found) > 6


def test_jitter_is_torchvisions_without_hue(picture):
    steps = [transforms.RandomResizedCrop(40), transforms.RandomHorizontalFlip()]
    theirs = transforms.Compose([*steps, transforms.ColorJitter(0.4, 0.4, 0.4, 0.0), transforms.PILToTensor()])
    torch.manual_seed(3)
    wanted = theirs(picture)
    assert torch.equal(drawn(picture, Augmentation(jitter=0.4), 3), wanted)


def test_lighting_shifts_the_whole_image_by_one_colour(picture):
    shift = drawn(picture, Augmentation(lighting=0.1), 3) - drawn(picture, Augmentation(), 3)
    colour = shift.mean((1, 2))
    torch.testing.assert_close(shift, colour[:, None, None].expand_as(shift), rtol=0, atol=1e-4)


def test_lighting_has_the_spread_of_imagenets_colours():
    """The covariance of the shift is sum_j (.1 lambda_j)^2 v_j v_j^T, of 0 to 255."""
    black = Image.fromarray(np.zeros((4, 4, 3), np.uint8))
    tiny = ImageTransform(resize=4, crop=4, shape="center-crop")
    transform = train_transform(tiny, Augmentation("none", lighting=0.1))
    torch.manual_seed(0)
    shifts = torch.stack([transform(black)[:, 0, 0] for _ in range(20_000)]).double().numpy() / 255
    values = np.array([0.2175, 0.0188, 0.0045])
    vectors = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
    wanted = vectors @ np.diag((0.1 * values) ** 2) @ vectors.T
    np.testing.assert_allclose(np.cov(shifts.T), wanted, rtol=0.05, atol=2e-7)


def test_probes_that_say_nothing_of_training_images_keep_their_fingerprints():
    """The fields are younger than the kind: recipes of before must not change their column."""
    recipe = PROTOCOLS["imagenet-linear"].recipe
    assert (recipe.train_crop, recipe.jitter, recipe.lighting) == ("resized", 0.0, 0.0)
    assert PROTOCOLS["imagenet-linear"].fingerprint == "36fadc8dcfc7"


# ----------------------------------------------------------------------------------------------------- what is refused


def test_a_vision_transformer_is_refused_in_one_line():
    vit = open_backbone("timm:vit_tiny_patch16_224=random")
    with pytest.raises(
        ModelError, match=r"imagenet-layers-vissl on timm:vit.*=random: takes the map of .*does not offer"
    ) as told:
        vit.require(VISSL_LAYERS.takes, "imagenet-layers-vissl")
    assert "\n" not in str(told.value)


def test_a_network_with_maps_and_no_stem_has_no_conv1():
    swin = open_backbone("torchvision:swin_t=random").build()
    with pytest.raises(FeatureError, match=r"layer conv1 of torchvision:swin_t: it has no map of a stem.*layers=res2"):
        layer_maps(swin, torch.zeros(1, 3, 64, 64), SEVEN.layer_heads)


def test_a_map_smaller_than_its_pooling_is_told():
    trunk = open_backbone("random", 0.125).build()
    with pytest.raises(FeatureError, match=r"layer res2 has a 12 x 12 map: expected at least its pooling's 16 x 16"):
        layer_maps(trunk, torch.zeros(1, 3, 48, 48), VISSL_LAYERS.layer_heads)


def test_a_last_batch_of_one_image_has_no_variance_at_the_global_average(backbone, splits, tmp_path):
    with pytest.raises(ProbeError, match="20 training images in batches of 19: the last batch is one image"):
        probe(backbone, splits, tmp_path, replace(SEVEN, batch_size=19))


def test_a_last_batch_of_one_image_has_variance_on_a_map(backbone, splits, tmp_path):
    assert probe(backbone, splits, tmp_path, replace(FIVE, batch_size=19)).model.fewest == 4


WRONG = [
    ({"layers": "res6"}, r"setting layers=res6: expected different layers of conv1, res2"),
    ({"layers": ""}, r"setting layers=: expected different layers"),
    ({"layers": "res5avg,res5avg"}, r"expected different layers"),
    ({"kernels": "2,2"}, r"setting kernels=2,2: expected 5 whole numbers of at least 1, one of each of conv1"),
    ({"paddings": "1,0,0,0"}, r"setting paddings=1,0,0,0: expected 5 whole numbers of at least 0"),
    ({"paddings": "6,0,0,0,0"}, r"setting paddings=6,0,0,0,0: expected half of each kernel or less"),
    ({"train_crop": "random", "transform.resize": "100"}, r"setting train_crop=random: expected resized or none where"),
    ({"train_crop": "none", "transform.backend": "opencv"}, r"setting train_crop=none: expected resized where"),
    ({"jitter": "-1"}, r"setting jitter=-1.0: expected a number of at least 0"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG, ids=str)
def test_a_setting_that_no_run_can_mean_is_told(settings, message):
    with pytest.raises(SettingError, match=message):
        PROTOCOLS["imagenet-layers-vissl"].with_settings(settings)


def test_layers_without_the_headline_are_told():
    with pytest.raises(SettingError, match=r"gives no top1-res5avg, the protocol's headline; it gives top5-res4"):
        PROTOCOLS["imagenet-layers-vissl"].with_settings({"layers": "res4,res5"})


def test_the_log_has_every_layer(seven):
    run, _ = seven
    line = json.loads((run.path.parent / "log.jsonl").read_text().splitlines()[-1])
    assert {name for name in line if name.startswith("top")} == set(SEVEN.metrics())


@pytest.mark.parametrize(
    ("name", "data"), [("imagenet-layers-mmselfsup", "imagenet"), ("places205-layers-mmselfsup", "places")]
)
def test_a_whole_trial_measures_every_layer(scenes, tmp_path, name, data):
    out = tmp_path / "out"
    words = ["transfer", f"demo-{name}", "random", str(scenes / data), str(out), "--partial", "--set", "epochs=2"]
    words += ["--set", "milestones=1", "--device", "cpu", "--workers", "0"]
    assert twinbench.main(words) == 0
    metrics = json.loads((out / "result.json").read_text())["metrics"]
    assert set(metrics) == {f"{top}-{layer}" for top in ("top1", "top5") for layer in FIVE.layers}


def test_a_vision_transformer_is_refused_by_the_command(scenes, tmp_path, capsys):
    words = ["transfer", "demo-imagenet-layers-vissl", "timm:vit_tiny_patch16_224=random", str(scenes / "imagenet")]
    assert twinbench.main([*words, str(tmp_path / "out"), "--partial", "--device", "cpu"]) == 2
    assert "which timm:vit_tiny_patch16_224 does not offer" in capsys.readouterr().err


def published_of(name):
    """Published numbers of a protocol by method and metric."""
    return {(row.method, row.metric): row.value for row in published_for(PROTOCOLS[name])}


def test_mmselfsups_numbers_stand_beside_each_layer():
    """Of configs/selfsup/barlowtwins/README.md at 6faad816."""
    rows = published_of("imagenet-layers-mmselfsup")
    method = "barlowtwins barlowtwins_resnet50_8xb256-coslr-300e_in1k [mmselfsup]"
    found = [rows[method, f"top1-{layer}"] for layer in FIVE.layers]
    assert found == [15.51, 33.98, 45.96, 61.90, 71.01]


def test_openselfsups_random_network_stands_beside_each_layer():
    """Of docs/MODEL_ZOO.md at 1db69ec."""
    rows = published_of("places205-layers-mmselfsup")
    found = [rows["Random [OpenSelfSup]", f"top1-{layer}"] for layer in FIVE.layers]
    assert found == [17.19, 21.70, 19.23, 14.59, 11.73]


def test_there_are_260_published_numbers_of_layers():
    names = ("imagenet-layers-mmselfsup", "places205-layers-mmselfsup")
    assert [len(published_of(name)) for name in names] == [145, 115]
