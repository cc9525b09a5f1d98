"""Linear segmentation of frozen backbones: pairs, rates, one step by hand, and whole trials on coloured shapes."""

import math
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional
from torchvision.models import resnet50
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as tf

import twinbench
from tests.coloured_shapes import SIDE, TEST, TRAIN, make_voc
from twinbench.convert.architectures.library import LibraryNetwork
from twinbench.convert.files import load
from twinbench.convert.named import ModelError
from twinbench.convert.opening import open_backbone
from twinbench.data.pixels.matrix import MATRIX
from twinbench.data.pixels.pairs import UNLABELLED
from twinbench.dense.linear.images import TrainPairs, test_size, train_pair
from twinbench.dense.linear.model import LinearSegmenter, reduced
from twinbench.dense.linear.train import rate
from twinbench.dense.places import DenseError, Places
from twinbench.dense.training import Batches
from twinbench.dense.trial import PICTURE, measure
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.dense import ADE20K_LINEAR_DINOV3, VOC12_LINEAR_NECO, VOC12_LINEAR_VICREGL
from twinbench.protocols.house import SettingError, UserError
from twinbench.report.asked import Asked
from twinbench.report.result import read_result
from twinbench.runtime.process import Process
from twinbench.runtime.stopping import StopAsked

test_size.__test__ = False  # a function, not a test
SMALL = {"batch_size": 4, "iterations": 60, "short_side": 64, "crop": 64, "lr": 0.05}
VICREGL = {**SMALL, "long_side": 128}
DINOV3 = {**SMALL, "warmup_iterations": 5, "test_crop": 64, "test_stride": 48, "lr": 0.01}
NECO = {**SMALL, "grid": 16, "steps": 50, "lr": 0.1}
SETTINGS = {"voc12-linear-vicregl": VICREGL, "ade20k-linear-dinov3": DINOV3, "voc12-linear-neco": NECO}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    return make_voc(tmp_path_factory.mktemp("pixels"))


@pytest.fixture(scope="module")
def vit():
    network = LibraryNetwork("timm", "vit_tiny_patch16_224", ())
    return network.build(network.fresh())


def wanted(data, out, name="voc12-linear-vicregl", backbone="random", **settings):
    protocol = replace(find_protocol(f"{name}@shapes"), width=0.125)
    return Asked(
        protocol.with_settings(SETTINGS[name] | settings), backbone, data, out, "ours", device="cpu", workers=0
    )


# ------------------------------------------------------------------------------------------------------------ places


def test_a_dilated_resnet_is_torchvisions():
    trunk = open_backbone("random").build()
    theirs = resnet50(replace_stride_with_dilation=[False, True, True]).eval()
    theirs.load_state_dict(trunk.state_dict(), strict=False)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs.layer1(theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images)))))
        expected = theirs.layer4(theirs.layer3(theirs.layer2(expected)))
    found = Places(trunk, dilations=(1, 1, 2, 4))(images)
    assert found.shape[2:] == (8, 8)
    torch.testing.assert_close(found, expected)


def test_a_transformers_map_is_its_patches_and_covers_a_padded_image(vit):
    images = torch.randn(1, 3, 50, 64, generator=torch.Generator().manual_seed(0))
    places = Places(vit)
    assert places.covered(50, 64) == (64, 64)
    with torch.no_grad():
        expected = vit.tokens(functional.pad(images, (0, 0, 0, 14)))[-1].patches
    torch.testing.assert_close(places(images), expected)


def test_maps_of_several_blocks_lie_side_by_side(vit):
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = torch.cat([each.patches for each in vit.tokens(images, 2)], 1)
    torch.testing.assert_close(Places(vit, blocks=2)(images), expected)


def test_a_frozen_backbone_stays_in_eval_mode(vit):
    places = Places(vit).train()
    assert not any(module.training for module in places.modules())
    assert not any(parameter.requires_grad for parameter in places.parameters())


def test_only_resnets_are_dilated(vit):
    with pytest.raises(DenseError, match="dilations are of a ResNet of bottlenecks"):
        Places(vit, dilations=(1, 1, 2, 4))


# ------------------------------------------------------------------------------------------------------------- pairs


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((300, 400), (683, 512)),
        ((400, 300), (512, 683)),
        ((512, 512), (512, 512)),
    ],  # (width, height) to (height, width)
)
def test_the_short_side_is_as_long_as_asked(size, expected):
    assert test_size(size, ADE20K_LINEAR_DINOV3) == expected


def test_other_shapes_fit_into_a_frame_or_are_stretched():
    assert test_size((500, 375), VOC12_LINEAR_VICREGL) == (512, 683)
    assert test_size((5000, 500), VOC12_LINEAR_VICREGL) == (205, 2048)
    assert test_size((500, 375), VOC12_LINEAR_NECO) == (448, 448)


def photograph(width=90, height=60):
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels), draw.integers(0, 5, (height, width)).astype(np.int64)


def test_image_and_labels_of_a_part_are_torchvisions_resized_crop(monkeypatch):
    image, labels = photograph()
    monkeypatch.setattr(RandomResizedCrop, "get_params", lambda image, scale, ratio: (5, 7, 40, 50))
    recipe = replace(VOC12_LINEAR_NECO, crop=32, flip=0.0)
    pixels, found = train_pair(image, labels, recipe)
    expected = tf.resized_crop(image, 5, 7, 40, 50, [32, 32], tf.InterpolationMode.BILINEAR)
    np.testing.assert_array_equal(pixels, np.asarray(expected))
    of_labels = tf.resized_crop(torch.from_numpy(labels)[None], 5, 7, 40, 50, [32, 32], tf.InterpolationMode.NEAREST)
    np.testing.assert_array_equal(found, of_labels[0].numpy())


def test_a_flip_mirrors_both():
    image, labels = photograph()
    plain = replace(ADE20K_LINEAR_DINOV3, short_side=60, crop=90, scale=(1.0, 1.0), distortion="none", flip=0.0)
    pixels, found = train_pair(image, labels, plain)
    mirrored, theirs = train_pair(image, labels, replace(plain, flip=1.0))
    np.testing.assert_array_equal(mirrored, pixels[:, ::-1])
    np.testing.assert_array_equal(theirs, found[:, ::-1])


def test_a_pair_depends_on_seed_epoch_and_image_alone(voc):
    records, decode = small_records(voc)
    recipe = replace(ADE20K_LINEAR_DINOV3, short_side=64, crop=48)
    first = TrainPairs(records, decode, recipe, seed=3)[1, 2]
    np.random.rand(7)
    again = TrainPairs(records, decode, recipe, seed=3)[1, 2]
    other = TrainPairs(records, decode, recipe, seed=3)[2, 2]
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def small_records(voc):
    from twinbench.data.objects.packed import Records
    from twinbench.data.pixels.read import read_pixels
    from twinbench.data.source import Source

    split = read_pixels("voc-pixels-aug", Source.of(voc), "train")
    return Records.of(list(split.records())), split.decode


def test_an_endless_stream_is_one_shuffled_pass_after_the_other_shared_by_processes():
    recipe = replace(VOC12_LINEAR_NECO, iterations=6, batch_size=4)
    whole = list(Batches(6, recipe, 0, Process()))
    flat = [key for batch in whole for key in batch]
    assert [epoch for epoch, _ in flat] == [place // 6 for place in range(24)]
    for epoch in range(4):
        assert sorted(index for of, index in flat if of == epoch) == list(range(6))
    parts = [list(Batches(6, recipe, 0, Process(rank, 2))) for rank in range(2)]
    assert [sorted([*first, *second]) for first, second in zip(*parts, strict=True)] == [sorted(b) for b in whole]


def test_a_grid_has_the_label_at_each_places_corner():
    labels = torch.arange(16).view(1, 4, 4)
    assert reduced(labels, (2, 2)).tolist() == [[[0, 2], [8, 10]]]


# -------------------------------------------------------------------------------------------------------------- rates


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 1e-9),  # 1e-3 * 1e-6
        (1, 1e-9),  # the schedule is first moved after the second step
        (751, 1e-3 * (1 - 0.5 * (1 - 1e-6)) * (1 - 750 / 40_000)),
        (1501, 1e-3 * 0.5 * (1 + math.cos(math.pi * 1501 / 40_000))),
        (20_000, 1e-3 * 0.5),
        (39_999, 1e-3 * 0.5 * (1 + math.cos(math.pi * 39_999 / 40_000))),
    ],
)
def test_dinov3s_rate(step, expected):
    assert rate(ADE20K_LINEAR_DINOV3, step) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.01), (20_000, 1e-4 + 0.0099 * 0.5**0.9)])
def test_vicregls_rate(step, expected):
    assert rate(VOC12_LINEAR_VICREGL, step) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.01), (1639, 0.01), (1640, 0.001), (2049, 0.001)])
def test_necos_rate(step, expected):
    assert rate(VOC12_LINEAR_NECO, step) == pytest.approx(expected, rel=1e-9)


# -------------------------------------------------------------------------------------------------------------- losses


def segmenter(recipe, trunk, classes=3):
    return LinearSegmenter(Places(trunk, recipe.blocks), classes, recipe, 0, Process())


def batch(side=32):
    draw = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (2, side, side), generator=draw)
    labels[0, :5] = UNLABELLED
    return torch.randn(2, 3, side, side, generator=draw), labels


@pytest.mark.parametrize("mean", ["all", "labelled"])
def test_a_loss_is_pytorchs_over_resized_scores(vit, mean):
    recipe = replace(ADE20K_LINEAR_DINOV3, dropout=0.0, norm="none", crop=32, loss_mean=mean, batch_size=2)
    model = segmenter(recipe, vit)
    images, labels = batch()
    loss, pixels = model.losses(images, labels, 0)
    maps = model.places(images)
    scores = functional.interpolate(model.head.classify(maps), (32, 32), mode="bilinear", align_corners=False)
    each = functional.cross_entropy(scores, labels, ignore_index=UNLABELLED, reduction="none")
    expected = each.mean() if mean == "all" else each.sum() / (labels >= 0).sum()
    torch.testing.assert_close(loss / pixels, expected)


def test_dropout_takes_whole_channels_and_depends_on_the_step_alone(vit):
    model = segmenter(replace(ADE20K_LINEAR_DINOV3, dropout=0.5, crop=32, batch_size=4), vit)
    kept = model._kept(4, 7, torch.device("cpu"))
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert kept.mean().item() == pytest.approx(1, abs=0.1)
    assert torch.equal(kept, model._kept(4, 7, torch.device("cpu")))
    assert not torch.equal(kept, model._kept(4, 8, torch.device("cpu")))


@pytest.mark.parametrize("norm", ["before-dropout", "after-dropout"])
def test_the_norm_stands_where_the_source_has_it(vit, norm):
    head = segmenter(replace(ADE20K_LINEAR_DINOV3, norm=norm, crop=32), vit).head.train()
    maps = torch.randn(2, WIDTH, 2, 2, generator=torch.Generator().manual_seed(0))
    kept = (torch.rand(2, WIDTH, generator=torch.Generator().manual_seed(1)) > 0.5).float() * 2
    dropped = kept[:, :, None, None]
    normal = functional.batch_norm(maps, None, None, training=True) * dropped
    if norm == "after-dropout":
        normal = functional.batch_norm(maps * dropped, None, None, training=True)
    torch.testing.assert_close(head(maps, kept), head.classify(normal))


WIDTH = 192


def test_scores_of_a_padded_image_are_of_its_own_pixels(vit):
    model = segmenter(replace(ADE20K_LINEAR_DINOV3, crop=32), vit).eval()
    images = torch.randn(1, 3, 40, 32, generator=torch.Generator().manual_seed(0))
    padded = functional.pad(images, (0, 0, 0, 8))
    torch.testing.assert_close(model.scores(images), model.scores(padded)[:, :, :40])


# --------------------------------------------------------------------------------------------------------- whole trials


@pytest.mark.parametrize("name", SETTINGS)
def test_it_learns_and_says_so(voc, tmp_path, name):
    backbone, first = "random", {"iterations": 1}
    if name == "voc12-linear-neco":  # of a transformer, whose patches are of one scale: nothing normalises them
        backbone, first = "timm:vit_tiny_patch16_224=random", {"iterations": 1, "steps": 1}
    start = measure(wanted(voc, tmp_path / "start", name, backbone, **first))
    result = measure(wanted(voc, tmp_path / "end", name, backbone))
    assert result.metrics["mIoU"] > start.metrics["mIoU"] + 15
    assert result.headline == "mIoU"
    assert result.images == {"train": TRAIN // 2, "test": TEST}
    assert read_result(tmp_path / "end" / "result.json") == result
    losses = [loss for _, loss in result.curves["loss"]]
    assert losses[-1] < 1.5
    with Image.open(tmp_path / "end" / PICTURE) as picture:
        assert picture.width > 10 * SIDE
    assert result.pictures == [PICTURE, MATRIX]
    found = {path.name for path in (tmp_path / "end").iterdir()}
    assert found == {"result.json", "head.pth", "log.jsonl", PICTURE, MATRIX}


def test_a_transformer_is_measured_by_the_same_recipe(voc, tmp_path):
    result = measure(wanted(voc, tmp_path, "ade20k-linear-dinov3", "timm:vit_tiny_patch16_224=random", iterations=3))
    assert result.architecture == "timm:vit_tiny_patch16_224"
    assert result.details["features"] == WIDTH


def stop_at(monkeypatch, images):
    """Have a signal come while the training image of this number is read."""
    read, count = TrainPairs.__getitem__, [0]

    def reading(self, key):
        count[0] += 1
        if count[0] == images:
            os.kill(os.getpid(), signal.SIGTERM)
        return read(self, key)

    monkeypatch.setattr(TrainPairs, "__getitem__", reading)


def test_a_killed_training_ends_with_the_same_bits(voc, tmp_path, monkeypatch):
    short = {"name": "ade20k-linear-dinov3", "iterations": 8}
    whole = measure(wanted(voc, tmp_path / "whole", **short))
    stop_at(monkeypatch, 4 * 3 + 1)
    with pytest.raises(StopAsked, match="stopped after step 5 of 8"):
        measure(wanted(voc, tmp_path / "killed", **short))
    monkeypatch.undo()
    again = measure(wanted(voc, tmp_path / "killed", **short))
    first, second = (load(tmp_path / name / "head.pth")["head"] for name in ("whole", "killed"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert again.metrics == whole.metrics


def test_another_trials_head_is_not_gone_on_with(voc, tmp_path, monkeypatch):
    stop_at(monkeypatch, 4 * 3 + 1)
    with pytest.raises(StopAsked):
        measure(wanted(voc, tmp_path, iterations=8))
    monkeypatch.undo()
    with pytest.raises(DenseError, match="head.pth: belongs to ours on .* choose another OUT or remove it"):
        measure(wanted(voc, tmp_path, iterations=9))


def test_a_loss_that_is_no_number_ends_the_run_in_one_line(voc, tmp_path):
    with pytest.raises(DenseError, match="the loss after step .* diverges; lower --set lr"):
        measure(wanted(voc, tmp_path, lr="1e38", iterations=50))


# ------------------------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("voc12-linear-vicregl", {"dilations": "1,2"}, "setting dilations=1,2: expected 4 whole numbers"),
        ("voc12-linear-vicregl", {"long_side": 0}, "setting long_side=0: expected a number of pixels with shape=fit"),
        ("voc12-linear-neco", {"scale": "0.5,2"}, "setting scale=0.5,2.0: expected the least and the largest part"),
        ("voc12-linear-neco", {"steps": "none"}, "setting steps"),
        ("ade20k-linear-dinov3", {"test_stride": 900}, "setting test_stride=900: expected 1 to test_crop=512"),
        ("ade20k-linear-dinov3", {"betas": "0.9"}, "setting betas=0.9: expected two numbers of at least 0"),
    ],
)
def test_settings_that_contradict_each_other_are_told(name, settings, message):
    with pytest.raises(SettingError, match=message):
        find_protocol(name).with_settings(settings)


def test_a_dilated_recipe_refuses_a_transformer(voc, tmp_path):
    with pytest.raises(ModelError, match="takes the map of the last stage, which timm:vit_tiny"):
        measure(wanted(voc, tmp_path, backbone="timm:vit_tiny_patch16_224=random"))


def test_more_stages_than_there_are_is_told(voc, tmp_path):
    with pytest.raises(DenseError, match="has 4 stages; expected at least blocks=5"):
        measure(wanted(voc, tmp_path, blocks=5))


def test_the_command_measures_and_names_the_room_of_another(voc, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["voc12-linear-vicregl@shapes", "random", str(voc), str(out), "--workers", "0", "--device", "cpu"]
    settings = [word for name, value in {**VICREGL, "iterations": 2}.items() for word in ("--set", f"{name}={value}")]
    assert twinbench.main(["dense", *words, *settings]) == 0
    assert "mIoU" in capsys.readouterr().out
    assert twinbench.main(["transfer", *words]) == 2
    assert "is a dense protocol; run it with: twinbench dense voc12-linear-vicregl" in capsys.readouterr().err
    assert twinbench.main(["dense", "voc12-linear-vicregl", "random", str(tmp_path), str(tmp_path / "no")]) == 2
    assert "no ImageSets/Segmentation; expected VOC 2012 with its lists of masks" in capsys.readouterr().err


def test_it_is_called_from_python_too(voc, tmp_path):
    settings = {**VICREGL, "iterations": 2}
    result = twinbench.evaluate(
        "random", "voc12-linear-vicregl@shapes", voc, tmp_path, settings=settings, device="cpu", workers=0
    )
    assert result.protocol == "voc12-linear-vicregl@shapes"
    with pytest.raises(UserError):
        twinbench.evaluate("random", "voc12-linear-vicregl@shapes", voc, tmp_path, solver="x")
