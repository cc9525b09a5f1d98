"""Batched views against Pillow's and torchvision's operations, with the same parameters and in distribution."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as F

from twinbench.pretrain import augment
from twinbench.pretrain.reference import crop_resize_pil, recolor_pil, to_bytes, to_input
from twinbench.pretrain.views import Colors, Crops, draw_colors, draw_crops
from twinbench.protocols.pretraining import RECIPES
from twinbench.runtime.seeds import generator

RECIPE = RECIPES["barlow-twins"]
LEVEL = 1 / 255


@pytest.fixture(scope="module")
def photos() -> Tensor:
    """Eight pieces of real photographs, uint8 (8, 3, 72, 96)."""
    pieces = [
        load_sample_image(name)[y : y + 72, x : x + 96]
        for name in ("china.jpg", "flower.jpg")
        for y, x in ((100, 100), (200, 300), (250, 40), (330, 500))
    ]
    return torch.from_numpy(np.stack(pieces)).permute(0, 3, 1, 2).contiguous()


def image(photo: Tensor) -> Image.Image:
    return Image.fromarray(photo.permute(1, 2, 0).numpy())


def nothing(n: int) -> Colors:
    """Return colours that change nothing."""
    off = np.zeros(n, bool)
    return Colors(
        off, np.tile(np.arange(4), (n, 1)), np.ones((n, 4), np.float32), off, off, np.ones(n, np.float32), off
    )


def both(photos: Tensor, colors: Colors) -> tuple[Tensor, Tensor]:
    """Return what the batched and the Pillow path make of the photos."""
    fast = augment.recolor(photos.float().div(255), colors)
    slow = [to_bytes(recolor_pil(image(photo), colors[i : i + 1])) for i, photo in enumerate(photos)]
    return fast, torch.stack(slow).float().div(255)


def test_crops_agree_with_pillow(photos: Tensor) -> None:
    """Shrinking and growing, mirrored or not; Pillow rounds and clips to bytes between its two passes."""
    for size in (24, 64):
        crops = draw_crops(replace(RECIPE, min_scale=0.1), generator(0, 0), 8, 72, 96)
        fast = augment.crop_resize(photos.float().div(255), crops, size)
        slow = torch.stack([to_bytes(crop_resize_pil(image(p), crops[i : i + 1], size)) for i, p in enumerate(photos)])
        error = (fast - slow.float().div(255)).abs()
        assert float(error.max()) < 8 * LEVEL
        assert float(error.mean()) < 0.3 * LEVEL


@pytest.mark.parametrize("operation", range(4))
def test_jitter_agrees_with_pillow(photos: Tensor, operation: int) -> None:
    colors = replace(nothing(8), jittered=np.ones(8, bool))
    colors.factors[:, 3] = 0
    colors.factors[:, operation] = np.linspace(-0.1, 0.1, 8) if operation == 3 else np.linspace(0.6, 1.4, 8)
    fast, slow = both(photos, colors)
    # Pillow's HSV has 255 steps for all six sextants of hue: a grey shade may turn by several levels.
    assert float((fast - slow).abs().mean()) < (2 if operation == 3 else 0.8) * LEVEL


def test_hue_agrees_with_torchvision_on_floats(photos: Tensor) -> None:
    x = photos.float().div(255)
    shifts = torch.linspace(-0.5, 0.5, 8)
    expected = torch.stack([F.adjust_hue(one, float(shift)) for one, shift in zip(x, shifts, strict=True)])
    torch.testing.assert_close(augment.adjust_hue(x, shifts), expected, atol=1e-5, rtol=0)


def test_grey_solarize_and_order_agree_with_pillow(photos: Tensor) -> None:
    half = np.arange(8) % 2 == 0
    fast, slow = both(photos, replace(nothing(8), gray=half))
    assert float((fast - slow).abs().max()) < 1.01 * LEVEL
    assert torch.equal(fast[1::2], photos[1::2].float().div(255))
    fast, slow = both(photos, replace(nothing(8), solarized=half))
    assert float((fast - slow).abs().max()) < 1e-6
    order = np.array([[3, 1, 0, 2], [0, 1, 2, 3]] * 4)
    factors = np.tile(np.array([1.4, 0.6, 1.2, 0.1], np.float32), (8, 1))
    fast, slow = both(photos, replace(nothing(8), jittered=~half, order=order, factors=factors))
    assert float((fast - slow).abs().mean()) < 2 * LEVEL


def test_blur_is_gaussian(photos: Tensor) -> None:
    """Against torchvision's exact kernel inside; Pillow's three boxes come near it everywhere."""
    x = photos.float().div(255)[..., :72]
    sigma = torch.tensor([0.1, 0.4, 0.7, 1.0, 1.3, 1.6, 1.9, 2.0])
    found = augment.blur(x, sigma)
    for one, blurred, s in zip(x, found, sigma.tolist(), strict=True):
        exact = F.gaussian_blur(one, [15, 15], [s, s])
        torch.testing.assert_close(blurred[:, 8:-8, 8:-8], exact[:, 8:-8, 8:-8], atol=2e-4, rtol=0)
    colors = replace(nothing(8), blurred=np.ones(8, bool), sigma=sigma.numpy())
    fast, slow = both(photos[..., :72], colors)
    assert float((fast - slow).abs().mean()) < 1.5 * LEVEL
    wide = photos.repeat(1, 1, 3, 2)[:4, :, :150, :150].float().div(255)  # three blocks of 50
    for one, blurred, s in zip(wide, augment.blur(wide, sigma[4:]), sigma[4:].tolist(), strict=True):
        exact = F.gaussian_blur(one, [15, 15], [s, s])
        torch.testing.assert_close(blurred[:, 8:-8, 8:-8], exact[:, 8:-8, 8:-8], atol=1e-3, rtol=0)
    flat = torch.full((1, 3, 20, 20), 0.6)
    torch.testing.assert_close(augment.blur(flat, torch.tensor([2.0])), flat)  # the border does not darken


def test_normalize_as_torchvision(photos: Tensor) -> None:
    found = augment.normalize(photos.float().div(255))
    torch.testing.assert_close(found[3], to_input(image(photos[3])))


def test_draws_have_the_recipe_s_distribution() -> None:
    """Probabilities within 4 standard deviations, ranges met to a hundredth."""
    n = 20_000
    first, second = (draw_colors(RECIPE, generator(0, 1, view), n, view) for view in (0, 1))
    chances = [(first.jittered, 0.8), (first.gray, 0.2), (first.blurred, 1.0), (first.solarized, 0.0)]
    chances += [(second.blurred, 0.1), (second.solarized, 0.2)]
    for drawn, chance in chances:
        assert abs(drawn.mean() - chance) <= 4 * np.sqrt(chance * (1 - chance) / n)
    low, high = first.factors.min(0), first.factors.max(0)
    np.testing.assert_allclose(low, [0.6, 0.6, 0.8, -0.1], atol=0.01)
    np.testing.assert_allclose(high, [1.4, 1.4, 1.2, 0.1], atol=0.01)
    assert first.sigma.min() == pytest.approx(0.1, abs=0.01)
    assert first.sigma.max() == pytest.approx(2.0, abs=0.01)
    for place in range(4):  # each operation stands at each place as often as the others
        np.testing.assert_allclose(np.bincount(first.order[:, place]) / n, 0.25, atol=0.02)


@pytest.mark.parametrize(("height", "width"), [(96, 96), (60, 120), (20, 200)])
def test_crops_have_torchvision_s_distribution(height: int, width: int) -> None:
    """Means of area, shape and place within 4 standard errors of torchvision's own draws; all inside the image."""
    n = 3000
    ours = draw_crops(RECIPE, generator(0, 2), n, height, width)
    torch.manual_seed(0)
    canvas = torch.empty(1, height, width)
    drawn = [RandomResizedCrop.get_params(canvas, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(n)]
    top, left, h, w = np.array(drawn).T
    pairs = [(ours.height * ours.width, h * w), (ours.width / ours.height, w / h), (ours.top, top), (ours.left, left)]
    for mine, theirs in pairs:
        error = np.sqrt((mine.var() + theirs.var()) / n)
        assert abs(mine.mean() - theirs.mean()) <= 4 * error + 1e-9
    assert (ours.top >= 0).all()
    assert (ours.top + ours.height <= height).all()
    assert (ours.left >= 0).all()
    assert (ours.left + ours.width <= width).all()
    assert abs(ours.flip.mean() - 0.5) < 4 * 0.5 / np.sqrt(n)


def test_whole_views_agree_in_their_statistics(photos: Tensor) -> None:
    """Mean, contrast and edges of 240 views of each path, in levels of 255."""
    batch = photos.repeat(30, 1, 1, 1)
    summaries = []
    for path in ("batched", "pil"):
        random = generator(5, len(path))
        crops, colors = draw_crops(RECIPE, random, 240, 72, 96), draw_colors(RECIPE, random, 240, 1)
        if path == "batched":
            views = augment.recolor(augment.crop_resize(batch.float().div(255), crops, 48), colors)
        else:
            made = [
                recolor_pil(crop_resize_pil(image(p), crops[i : i + 1], 48), colors[i : i + 1])
                for i, p in enumerate(batch)
            ]
            views = torch.stack([to_bytes(view) for view in made]).float().div(255)
        edges = views.diff(dim=-1).abs().mean((1, 2, 3))
        summaries.append(torch.stack([views.mean((1, 2, 3)), views.std((1, 2, 3)), edges]))
    fast, slow = summaries
    error = ((fast.var(1) + slow.var(1)) / 240).sqrt()
    assert bool(((fast.mean(1) - slow.mean(1)).abs() < 4 * error).all())


def test_slices_are_parts() -> None:
    crops = draw_crops(RECIPE, generator(0, 3), 6, 50, 50)
    assert isinstance(crops[2:4], Crops)
    assert (crops[2:4].top == crops.top[2:4]).all()
