"""Features on a GPU in every number format, against the processor's in fp32, and what is measured on them.

In a rehearsal the references are computed by PyTorch's plain convolutions and not by oneDNN's: so two ways of adding up
the same products are compared there, too.
"""

import functools
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from twinbench.convert.convention import IMAGENET_BGR
from twinbench.convert.finding import prove
from twinbench.convert.inputs import Inputs
from twinbench.convert.opening import open_backbone
from twinbench.data.paths import file_list
from twinbench.protocols.kinds.base import Features, ImageTransform
from twinbench.runtime.precision import network_precision
from twinbench.runtime.process import Process
from twinbench.transfer.cache import cached_features
from twinbench.transfer.features import extract, feature_loader, pooled
from twinbench.transfer.svm import evaluate_svm

# 53 layers follow each other, each of which rounds inputs, weights, output and what batch norm makes of it: errors of
# either sign, which add as roots. In fp32 it is the order of a sum of 4,608 products that differs, 68 times as far.
ROUNDINGS = 4 * 53**0.5
FARTHEST = {"fp32": 68 * ROUNDINGS * 2**-24, "tf32": ROUNDINGS * 2**-11, "bf16": ROUNDINGS * 2**-8}
NEAREST = 2**-14  # an eighth of what tf32 changes in a single number: exact fp32 stays below it, tf32 does not
DATA = "TWINBENCH_SHARED_DATA"


@pytest.fixture(scope="module")
def transform(on_gpu):
    side = 224 if on_gpu else 64
    return ImageTransform(resize=side, crop=side, shape="center-crop")


@pytest.fixture(scope="module")
def paths(tmp_path_factory, on_gpu):
    """Images with large and small things in them; on a GPU a batch of 64 and one of 6."""
    folder, draw, found = tmp_path_factory.mktemp("images"), np.random.default_rng(0), []
    for number in range(70 if on_gpu else 10):
        coarse = Image.fromarray(draw.integers(0, 255, (6, 7, 3), dtype=np.uint8)).resize((240, 230))
        pixels = np.asarray(coarse) * 0.8 + draw.integers(0, 50, (230, 240, 3))
        found.append(folder / f"{number:02}.png")
        Image.fromarray(pixels.astype(np.uint8)).save(found[-1])
    return file_list(found)


@pytest.fixture(scope="module")
def backbone(paths, transform, on_gpu):
    """A random ResNet-50 whose branches weigh less than its shortcuts, and with the images' running statistics.

    As after a training. With branches of weight 1, errors grow from block to block: bf16's to a third.
    """
    fresh = open_backbone("random", 1.0 if on_gpu else 0.25)
    model = fresh.build().train()
    for name, part in model.named_modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
            nn.init.constant_(part.weight, 0.2 if name.endswith("bn3") else 1.0)
    images, _ = next(iter(feature_loader(paths, transform, "cpu", 0)))
    with torch.no_grad():
        model(Inputs(fresh.convention, "cpu")(images))
    state = dict(model.state_dict())
    return replace(fresh, state_dict=state, sha256=prove.identity(state))


@pytest.fixture(scope="module")
def exact(backbone, paths, transform, reference):
    with reference():
        return extract(backbone, paths, Features(transform, "gap", "fp32"))


@pytest.fixture(scope="module")
def computed(backbone, paths, transform, device):
    """Return a function: the device's features in a format."""

    @functools.cache
    def extracted(precision):
        return extract(backbone, paths, Features(transform, "gap", precision), device=device)

    return extracted


def far(found, from_here):
    """Return the relative error of features."""
    return np.linalg.norm(found - from_here) / np.linalg.norm(from_here)


def in_format(precision, request):
    if precision == "tf32":
        request.getfixturevalue("only_gpu")
    return precision


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_features_are_as_near_as_their_format_says(precision, request, computed, exact):
    assert far(computed(in_format(precision, request)), exact) < FARTHEST[precision]


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_a_format_is_the_one_that_was_asked_for(precision, request, computed, exact):
    """TF32, which PyTorch by itself lets convolutions take, would be seen in fp32's features; its own must show it."""
    assert (far(computed(in_format(precision, request)), exact) < NEAREST) == (precision == "fp32")


def test_res5_is_averaged_alike(backbone, paths, device, reference):
    """8192 numbers of two images: channels last on the device, the windows' order is that of the processor."""
    whole = ImageTransform(resize=224, crop=224, shape="squash")
    with reference():
        expected = extract(backbone, paths[:2], Features(whole, "res5-avg6", "fp32"))
    found = extract(backbone, paths[:2], Features(whole, "res5-avg6", "fp32"), device=device)
    assert far(found, expected) < NEAREST


def test_channels_last_is_a_matter_of_memory_only(backbone, paths, transform, device):
    """A trunk whose tensors lie as PyTorch lays them, on the device itself."""
    model, inputs = backbone.build().to(device), Inputs(backbone.convention, device)
    images, _ = next(iter(feature_loader(paths, transform, device, 0)))
    with torch.no_grad(), network_precision("fp32", device):
        plain = pooled(model, inputs(images).contiguous(), "gap").flatten(1).cpu().numpy()
    found = extract(backbone, paths[: len(plain)], Features(transform, "gap", "fp32"), device=device)
    assert far(found, plain) < NEAREST


def test_loaders_feed_a_device_that_is_already_in_use(backbone, paths, transform, device, computed):
    """Forked after CUDA has begun: they must touch nothing of it."""
    torch.zeros(1, device=device)
    found = extract(backbone, paths, Features(transform, "gap", "fp32"), device=device, workers=2)
    np.testing.assert_array_equal(found, computed("fp32"))


def test_another_convention_is_applied_on_the_device(backbone, paths, transform, device, reference):
    other = replace(backbone, convention=IMAGENET_BGR)
    with reference():
        expected = extract(other, paths[:4], Features(transform, "gap", "fp32"))
    assert far(extract(other, paths[:4], Features(transform, "gap", "fp32"), device=device), expected) < NEAREST


def test_a_librarys_model_and_a_module_on_the_device_give_the_processors_features(paths, transform, device, reference):
    named = open_backbone("torchvision:resnet18=random")
    module = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.AdaptiveAvgPool2d(2), nn.Flatten()).to(device)
    for backbone in (named, open_backbone(module, convention="imagenet")):
        with reference():
            expected = extract(backbone, paths[:4], Features(transform, "gap", "fp32"))
        assert far(extract(backbone, paths[:4], Features(transform, "gap", "fp32"), device=device), expected) < NEAREST
    assert next(module.parameters()).device == torch.device(device)


def test_bf16_of_a_device_does_not_pass_for_fp32_nor_for_anothers_bf16(backbone, paths, transform, device, tmp_path):
    def cached(where, precision):
        process = Process(device=where)
        given = {"process": process, "workers": 0}
        return np.array(cached_features(tmp_path, backbone, paths[:3], Features(transform, "gap", precision), **given))

    lower, full = cached(device, "bf16"), cached("cpu", "fp32")
    assert far(lower, full) > NEAREST
    np.testing.assert_array_equal(cached(device, "bf16"), lower)
    cached("cpu", "bf16")
    kinds = {device.partition(":")[0], "cpu"}
    assert len(list(tmp_path.iterdir())) == 1 + len(kinds)


@pytest.fixture(scope="module", params=["voc-mini", "scenes"])
def devkit(request, scenes):
    """Photographs where they are at hand, else only the generated scenes."""
    if request.param == "scenes":
        return scenes / "VOCdevkit" / "VOC2007"
    shared = os.environ.get(DATA)
    if not shared:
        pytest.skip(f"{DATA} names no folder with voc-mini; the same is asked of the generated scenes")
    return Path(shared) / "voc-mini" / "VOC2007"


def followed(path):
    """Return the photograph that a link means, which some copies of voc-mini hold as text."""
    start = path.read_bytes()[:200]
    return path if start[:2] == b"\xff\xd8" else (path.parent / start.decode().strip()).resolve()


def labelled(devkit):
    """Return paths and targets of both splits, of the classes that three folds and the test can judge."""
    lists, parts = devkit / "ImageSets" / "Main", {}
    for split in ("trainval", "test"):
        files = sorted(lists.glob(f"*_{split}.txt"))
        rows = [[line.split() for line in file.read_text().splitlines()] for file in files]
        paths = [followed(devkit / "JPEGImages" / f"{name}.jpg") for name, _ in rows[0]]
        marks = np.array([[int(mark) for _, mark in column] for column in rows]).T
        parts[split] = file_list(paths), np.select([marks == 1, marks == -1], [1, 0], -1).astype(np.int8)
    enough = ((parts["trainval"][1] == 1).sum(0) >= 3) & (parts["test"][1] == 1).any(0)
    return [(paths, targets[:, enough]) for paths, targets in parts.values()]


@pytest.fixture(scope="module")
def mean_ap(devkit, backbone, on_gpu):
    """Return a function: the SVM's mAP on features in a precision, all of it on one device."""
    side = 224 if on_gpu else 64
    transform = ImageTransform(resize=side, crop=side, shape="squash")
    (train, train_y), (test, test_y) = labelled(devkit)

    def measured(device, precision):
        x, z = (
            extract(backbone, paths, Features(transform, "gap", precision), device=device, workers=2 * on_gpu)
            for paths in (train, test)
        )
        return evaluate_svm(x, train_y, z, test_y, costs=(0.1, 1.0, 10.0), device=device).mean_ap

    return measured


@pytest.fixture(scope="module")
def expected_ap(mean_ap, reference):
    with reference():
        return mean_ap("cpu", "fp32")


# Of 100 test images or fewer a class has few, and one that moves a rank moves its AP by points.
@pytest.mark.parametrize(("precision", "points"), [("fp32", 0.5), ("tf32", 1.0), ("bf16", 3.0)])
def test_the_svms_map_is_the_processors(mean_ap, expected_ap, precision, points, device, request):
    assert mean_ap(device, in_format(precision, request)) == pytest.approx(expected_ap, abs=points)
