"""DINOv2's linear segmentation: padding, scores, head and rate against their formulas, and a trial on shapes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.coloured_shapes import make_voc
from twinbench.convert.architectures.library import LibraryNetwork
from twinbench.data.pixels.pairs import UNLABELLED
from twinbench.dense.linear.model import LinearSegmenter
from twinbench.dense.linear.train import rate
from twinbench.dense.places import Places
from twinbench.dense.trial import measure
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.dense import ADE20K_LINEAR_DINOV2
from twinbench.protocols.house import SettingError
from twinbench.report.asked import Asked
from twinbench.runtime.process import Process

BACKBONE = "timm:vit_tiny_patch16_224=random"
SMALL = replace(ADE20K_LINEAR_DINOV2, crop=40, batch_size=2)


@pytest.fixture(scope="module")
def vit():
    network = LibraryNetwork("timm", "vit_tiny_patch16_224", ())
    return network.build(network.fresh())


@pytest.fixture(scope="module")
def model(vit):
    return LinearSegmenter(Places(vit, padding="around"), 3, SMALL, 0, Process())


def batch(height=40, width=40):
    draw = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (2, height, width), generator=draw)
    labels[0, :5] = UNLABELLED
    return torch.randn(2, 3, height, width, generator=draw), labels


def patches_of(vit, images, rows, columns):
    """Return the patches' map of images padded by so many rows above and below, and columns left and right."""
    padded = torch.from_numpy(np.pad(images.numpy(), ((0, 0), (0, 0), rows, columns)))
    with torch.no_grad():
        return vit.tokens(padded)[-1].patches


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [
        ((50, 71), (7, 7), (4, 5)),  # an odd number: the smaller half comes first
        ((48, 64), (0, 0), (0, 0)),
        ((33, 79), (7, 8), (0, 1)),
    ],
)
def test_images_are_padded_by_half_on_each_side(vit, size, rows, columns):
    images, _ = batch(*size)
    torch.testing.assert_close(
        Places(vit, padding="around")(images), patches_of(vit, images, rows, columns), rtol=1e-4, atol=1e-5
    )


def test_a_score_is_of_the_whole_image_stretched_over_what_was_padded(vit, model):
    images, _ = batch()
    model.eval()
    weight, bias = model.head.classify.weight[:, :, 0, 0], model.head.classify.bias
    places = patches_of(vit, images, (4, 4), (4, 4)) / (1 + 1e-5) ** 0.5  # a norm that has seen nothing
    small = torch.einsum("nfhw,cf->nchw", places, weight) + bias[:, None, None]
    expected = functional.interpolate(small, (40, 40), mode="bilinear", align_corners=False)
    torch.testing.assert_close(model.scores(images), expected, rtol=1e-4, atol=1e-5)


def test_a_loss_is_the_mean_over_all_pixels_of_normalised_places_scores(vit, model):
    images, labels = batch()
    model.train()
    loss, pixels = model.losses(images, labels, 0)
    places = patches_of(vit, images, (4, 4), (4, 4))
    mean, variance = places.mean((0, 2, 3), keepdim=True), places.var((0, 2, 3), correction=0, keepdim=True)
    small = model.head.classify((places - mean) / (variance + 1e-5).sqrt())
    scores = functional.interpolate(small, (40, 40), mode="bilinear", align_corners=False)
    chances = scores.log_softmax(1).gather(1, labels.clamp(min=0)[:, None])[:, 0]
    expected = -(chances * (labels != UNLABELLED)).mean()
    torch.testing.assert_close(loss / pixels, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 1e-3 * 1e-6),
        (1, 1e-3 * (1 - 1 / 40_000) * (1 - (1 - 1 / 1500) * (1 - 1e-6))),
        (750, 1e-3 * (1 - 750 / 40_000) * (1 - 0.5 * (1 - 1e-6))),
        (1500, 1e-3 * (1 - 1500 / 40_000)),
        (20_000, 1e-3 * 0.5),
        (39_999, 1e-3 / 40_000),
    ],
)
def test_the_rate_falls_on_a_line_after_a_warm_up(step, expected):
    assert rate(ADE20K_LINEAR_DINOV2, step) == pytest.approx(expected, rel=1e-9)


def test_a_trial_whose_crops_and_windows_are_no_whole_patches(tmp_path):
    voc = make_voc(tmp_path / "data")
    small = {"batch_size": 4, "iterations": 30, "warmup_iterations": 2, "lr": 0.01}
    small |= {"short_side": 64, "crop": 40, "test_crop": 40, "test_stride": 27}
    protocol = find_protocol("ade20k-linear-dinov2@shapes").with_settings(small)
    result = measure(Asked(protocol, BACKBONE, voc, tmp_path / "out", "ours", device="cpu", workers=0))
    (_, loss), *_ = result.curves["loss"]
    assert loss < 0.5 * math.log(len(result.details["classes"]))  # half of what guessing has
    assert result.details["features"] == 192


def test_another_padding_is_told():
    with pytest.raises(SettingError, match="unknown value for setting padding: 'middle'. Known: around, end"):
        find_protocol("ade20k-linear-dinov2").with_settings({"padding": "middle"})
