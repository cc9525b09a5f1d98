"""Linear depth part by part: pairs, bins, losses, rates and errors, by formulas and by other libraries."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import metrics as theirs
from torchvision.transforms import functional as tf

from tests.depth_scenes import SIDES, Patches, write_depth
from twinbench.data.objects.packed import Records
from twinbench.data.pixels.read import read_pixels
from twinbench.data.source import Source
from twinbench.dense.depth.images import TrainPairs, area_of, train_pair
from twinbench.dense.depth.model import LinearDepth, bins, sigloss
from twinbench.dense.depth.scores import errors_of, means_of
from twinbench.dense.depth.trial import Predictor, settings
from twinbench.dense.places import DenseError
from twinbench.dense.training import stacked
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.depth import NYUV2_LINEAR_DINOV3 as RECIPE
from twinbench.protocols.house import SettingError
from twinbench.runtime.process import Process

PLAIN = replace(RECIPE, train_area=(), test_area=(), rotated=0.0, flip=0.0, coloured=0.0, crop=SIDES)


# --------------------------------------------------------------------------------------------------------------- pairs


def photograph(height=60, width=90):
    draw = np.random.default_rng(1)
    depth = draw.uniform(0.5, 9, (height, width)).astype(np.float32)
    return Image.fromarray(draw.integers(0, 255, (height, width, 3), dtype=np.uint8)), depth


def test_a_frame_is_cut_as_its_sources_do_and_another_size_in_proportion():
    assert area_of(RECIPE.train_area, (480, 640)) == (slice(45, 472), slice(43, 608))
    assert area_of(RECIPE.test_area, (480, 640)) == (slice(45, 471), slice(41, 601))
    assert area_of(RECIPE.test_area, (240, 320)) == (slice(22, 235), slice(20, 300))
    assert area_of((), (480, 640)) == (slice(None), slice(None))


def test_nothing_random_is_the_image_itself():
    image, depth = photograph()
    pixels, metres = train_pair(image, depth, replace(PLAIN, crop=(60, 90)))
    np.testing.assert_array_equal(pixels.numpy(), np.asarray(image).transpose(2, 0, 1))
    np.testing.assert_array_equal(metres.numpy(), depth)


def test_a_flip_mirrors_both():
    image, depth = photograph()
    pixels, metres = train_pair(image, depth, replace(PLAIN, crop=(60, 90), flip=1.0))
    np.testing.assert_array_equal(pixels.numpy(), np.asarray(image).transpose(2, 0, 1)[:, :, ::-1])
    np.testing.assert_array_equal(metres.numpy(), depth[:, ::-1])


def test_depth_is_rotated_without_new_depths_and_its_corners_are_not_known(monkeypatch):
    monkeypatch.setattr(np.random, "uniform", lambda least, largest: largest)
    image, depth = photograph()
    pixels, metres = train_pair(image, depth, replace(PLAIN, crop=(60, 90), rotated=1.0, rotation=20.0))
    of_pixels = tf.rotate(
        torch.from_numpy(np.asarray(image).transpose(2, 0, 1).astype(np.float32)), 20.0, tf.InterpolationMode.BILINEAR
    )
    torch.testing.assert_close(pixels, of_pixels)
    assert set(np.unique(metres)) <= {0.0, *np.unique(depth)}
    assert (metres[0, 0], metres[-1, -1]) == (0, 0)


def test_colours_follow_the_sources_formula(monkeypatch):
    drawn = iter([1.1, 0.8, 0.9, 1.0, 1.05])
    monkeypatch.setattr(np.random, "uniform", lambda least, largest: next(drawn))
    image, depth = photograph()
    pixels, _ = train_pair(image, depth, replace(PLAIN, crop=(60, 90), coloured=1.0))
    expected = np.asarray(image).astype(np.float64) ** 1.1 * 0.8 * np.array([0.9, 1.0, 1.05])
    np.testing.assert_allclose(pixels.numpy(), expected.clip(0, 255).transpose(2, 0, 1), rtol=1e-5)


def test_a_crop_is_the_same_part_of_both_and_a_smaller_image_is_padded():
    image, depth = photograph()
    pixels, metres = train_pair(image, depth, replace(PLAIN, crop=(20, 30)))
    [(top, left)] = np.argwhere(depth == float(metres[0, 0]))
    np.testing.assert_array_equal(metres.numpy(), depth[top : top + 20, left : left + 30])
    np.testing.assert_array_equal(
        pixels.numpy(), np.asarray(image)[top : top + 20, left : left + 30].transpose(2, 0, 1)
    )
    small = train_pair(image, depth, replace(PLAIN, crop=(70, 100)))

    def inputs(images):
        return images - 9.0

    inputs.device = "cpu"
    images, labels = stacked([small], (70, 100), 0.0, inputs)
    assert images.shape == (1, 3, 70, 100)
    assert not images[0, :, 60:].any()
    assert not labels[0, :, 90:].any()


def test_a_pair_depends_on_seed_epoch_and_image_alone(tmp_path):
    split = read_pixels("depth", Source.of(write_depth(tmp_path)), "train")
    records, recipe = Records.of(list(split.records())), replace(RECIPE, crop=(24, 32))
    first = TrainPairs(records, split.decode, recipe, seed=3)[1, 2]
    np.random.rand(7)
    again = TrainPairs(records, split.decode, recipe, seed=3)[1, 2]
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    others = [TrainPairs(records, split.decode, recipe, seed=3)[epoch, 2][0] for epoch in range(2, 6)]
    assert not any(torch.equal(first[0], other) for other in others)


# ----------------------------------------------------------------------------------------------------- bins and losses


def model_of(recipe, process=None):
    return LinearDepth(Patches(None, 1), recipe, 0, process or Process())  # type: ignore[arg-type]


@pytest.mark.parametrize("spacing", ["linear", "log"])
def test_bins_reach_from_the_least_to_the_most(spacing):
    space = np.linspace if spacing == "linear" else np.geomspace
    np.testing.assert_allclose(bins(spacing, 0.001, 10.0, 256).numpy(), space(0.001, 10.0, 256), rtol=1e-5)


WEIGHTS = {
    "linear": lambda x: np.maximum(x, 0) + 0.1,
    "softmax": np.exp,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_places_depth_is_the_weighted_mean_of_the_bins(weights):
    model = model_of(replace(PLAIN, bins=8, weights=weights))
    outputs = torch.randn(2, 8, 3, 4, generator=torch.Generator().manual_seed(0))
    found = WEIGHTS[weights](outputs.double().numpy())
    expected = (found * np.linspace(0.001, 10, 8)[None, :, None, None]).sum(1) / found.sum(1)
    np.testing.assert_allclose(model._metres(outputs)[:, 0].numpy(), expected, rtol=1e-5)


def test_a_map_is_enlarged_to_the_pixels_without_what_covers_padding():
    model = model_of(replace(PLAIN, bins=8, norm="none")).eval()
    images = torch.rand(1, 3, 40, 60, generator=torch.Generator().manual_seed(0))
    depth = model(images)
    padded = torch.nn.functional.pad(images, (0, 4))
    assert depth.shape == (1, 40, 60)
    torch.testing.assert_close(depth, model(padded)[:, :, :60])


@pytest.mark.parametrize("step", [99, 100])
def test_the_loss_is_the_sources(step):
    draw = np.random.default_rng(0)
    predicted, truth = draw.uniform(0.5, 9, (2, 4, 5)), draw.uniform(0.5, 9, (2, 4, 5))
    truth[0, :2] = 0
    g = (np.log(predicted + 0.001) - np.log(truth + 0.001))[truth > 0]
    expected = 0.15 * g.mean() ** 2 + (g.var(ddof=1) if step >= 100 else 0)
    found = sigloss(torch.from_numpy(predicted), torch.from_numpy(truth), RECIPE, step)
    assert found.item() == pytest.approx(math.sqrt(expected), rel=1e-12)


def test_a_loss_of_too_few_pixels_is_none_and_one_of_no_error_has_a_gradient():
    one = torch.zeros(1, 2, 2)
    one[0, 0, 0] = 3.0
    assert sigloss(torch.ones(1, 2, 2), one, RECIPE, 200) is None
    predicted = torch.full((1, 2, 2), 3.0, requires_grad=True)
    sigloss(predicted, torch.full((1, 2, 2), 3.0), RECIPE, 200).backward()
    assert torch.isfinite(predicted.grad).all()


def test_losses_are_of_the_same_images_in_any_number_of_processes():
    recipe = replace(PLAIN, batch_size=8, loss_images=2, norm="none", bins=8, crop=(16, 16))
    draw = torch.Generator().manual_seed(0)
    images, depth = torch.rand(8, 3, 16, 16, generator=draw), torch.rand(8, 16, 16, generator=draw) * 5
    depth[3], depth[7] = 0, 0  # a loss without a pixel
    whole, count = model_of(recipe).losses(images, depth, 200)
    parts = [model_of(recipe, Process(rank, 2)).losses(images[rank::2], depth[rank::2], 200) for rank in range(2)]
    assert count == 3 == sum(number for _, number in parts)
    torch.testing.assert_close(whole, sum(loss for loss, _ in parts))
    with pytest.raises(DenseError, match="3 processes: a step has 4 losses of 2 images each; expected a number"):
        model_of(recipe, Process(0, 3))


def half(start, end, part):
    return end + (start - end) * math.cos(math.pi * part / 2) ** 2


RATES = [
    (0, 3e-7, 0.0),
    (6400, 3e-7 + 3e-4 * half(1, 0, 6400 / 38_400) * 0.5, 0.0),
    (12_799, 3e-7 + 3e-4 * half(1, 0, 12_799 / 38_400) * 12_799 / 12_800, 0.0),
    (12_800, half(3e-4, 1.2e-8, 12_801 / 38_400), 0.85),
    (25_600, half(3e-4, 1.2e-8, 25_601 / 38_400), 0.9),
    (38_399, 1.2e-8, half(0.85, 0.95, 25_599 / 25_600)),
]


@pytest.mark.parametrize(("step", "rate", "beta"), RATES)
def test_dinov3s_rate_and_momentum(step, rate, beta):
    found = settings(RECIPE, step)
    assert found["lr"] == pytest.approx(rate, rel=1e-9)
    assert found["betas"] == (pytest.approx(beta, rel=1e-9), 0.99)


# -------------------------------------------------------------------------------------------------------------- errors


def test_errors_are_scikit_learns_over_the_pixels_of_the_range():
    draw = np.random.default_rng(0)
    truth, predicted = draw.uniform(0, 14, (96, 128)), draw.uniform(-1, 14, (96, 128))
    found = errors_of(truth.astype(np.float32), predicted.astype(np.float32), RECIPE)
    assert found
    rows, columns = area_of(RECIPE.test_area, truth.shape)
    known = np.zeros(truth.shape, bool)
    known[rows, columns] = True
    known &= (truth > 0.001) & (truth < 10)
    true, guess = truth[known], predicted[known].clip(0.001, 10)
    near = [max(a / b, b / a) < 1.25 for a, b in zip(true, guess, strict=True)]
    expected = {
        "rmse": theirs.root_mean_squared_error(true, guess),
        "abs_rel": theirs.mean_absolute_percentage_error(true, guess),
        "log10": theirs.mean_absolute_error(np.log10(true), np.log10(guess)),
        "sq_rel": sum((a - b) ** 2 / a for a, b in zip(true, guess, strict=True)) / len(true),
        "d1": 100 * sum(near) / len(near),
    }
    assert found == {name: pytest.approx(value, rel=1e-4) for name, value in expected.items()}
    assert set(found) == set(RECIPE.metrics())


def test_means_are_over_images_that_have_a_pixel_to_test():
    assert errors_of(np.zeros((48, 64)), np.ones((48, 64)), RECIPE) is None
    assert means_of([{"rmse": 1.0}, None, {"rmse": 2.0}]) == {"rmse": 1.5}


def test_what_is_predicted_of_a_mirror_image_is_averaged_in():
    model = model_of(replace(PLAIN, bins=8)).eval()

    class Bytes:
        def __call__(self, images):
            return images.float()

    image = torch.randint(0, 255, (3, *SIDES), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    [found] = Predictor(model, Bytes()).predicted([image], [SIDES])  # type: ignore[arg-type]
    with torch.no_grad():
        plain, mirrored = model(image[None].float())[0], model(image.flip(2)[None].float())[0].flip(1)
    np.testing.assert_allclose(found, ((plain + mirrored) / 2).numpy(), rtol=1e-6)


# ------------------------------------------------------------------------------------------------------------ mistakes

MISTAKES = [
    ({"most_depth": 0.001}, "setting most_depth=0.001: expected more than least_depth=0.001"),
    ({"batch_size": 15}, "setting batch_size=15: expected a multiple of loss_images=2"),
    ({"weight_floor": 0}, "setting weight_floor=0.0: expected a number above 0 with weights=linear"),
    ({"crop": "416"}, "setting crop=416: expected height and width in pixels"),
    ({"momenta": "0.9"}, "setting momenta=0.9: expected two numbers of at least 0"),
    ({"test_area": "45,471,41"}, "setting test_area=45,471,41: expected top, bottom, left and right"),
    ({"test_area": "45,471,41,641"}, "setting test_area=45,471,41,641: expected top, bottom, left and right"),
    ({"gamma": ""}, "setting gamma=.*: expected the least and the largest factor"),
]


@pytest.mark.parametrize(("given", "message"), MISTAKES)
def test_settings_that_contradict_each_other_are_told(given, message):
    with pytest.raises(SettingError, match=message):
        find_protocol("nyuv2-linear-dinov3").with_settings({name: str(value) for name, value in given.items()})
