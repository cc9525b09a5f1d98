"""ROIAlign by matrix products: torchvision's numbers and gradients, wherever a region lies."""

import pytest
import torch
from detectron2.layers import ROIAlign
from torchvision.ops import roi_align as kernel

from twinbench.detection.models.roialign import LAYER, REGIONS, repeatable_roi_align, roi_align

SCALE = 1 / 16


def regions(count, images=3, generator=None):
    """Boxes in, across and outside a map of 13 x 17 at a sixteenth, some without any width, each of some image."""
    generator = generator or torch.Generator().manual_seed(0)
    corners = torch.rand(count, 4, generator=generator, dtype=torch.float64) * 400 - 60
    low, high = torch.minimum(corners[:, :2], corners[:, 2:]), torch.maximum(corners[:, :2], corners[:, 2:])
    high[::50] = low[::50]
    return torch.cat([torch.randint(0, images, (count, 1), generator=generator).double(), low, high], dim=1)


def result(function, features, *given):
    """Return the output, and the gradient by the features of a weighted sum of it."""
    features = features.clone().requires_grad_()
    found = function(features, *given)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=found.dtype)
    (found * weights).sum().backward()
    return found.detach(), features.grad


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("count", [0, 1, REGIONS, 2 * REGIONS + 3])
def test_output_and_gradient_are_those_of_the_kernel(count, sampling_ratio, aligned):
    features = torch.randn(3, 4, 13, 17, dtype=torch.float64)
    given = (regions(count), (7, 5), SCALE, sampling_ratio, aligned)
    for ours, theirs in zip(result(roi_align, features, *given), result(kernel, features, *given), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_an_image_without_a_region_gets_no_gradient():
    features = torch.randn(2, 4, 13, 17, dtype=torch.float64)
    _, gradient = result(roi_align, features, regions(20, images=1), (7, 7), SCALE, 0, True)
    assert not gradient[1].any()


def test_detectrons_layer_takes_it_within_the_block_only(monkeypatch):
    taken = []
    monkeypatch.setattr("twinbench.detection.models.roialign.roi_align", lambda *given: taken.append(given) or given[0])
    features = torch.randn(3, 4, 13, 17, dtype=torch.float64)
    with repeatable_roi_align():
        ROIAlign((7, 7), SCALE, 0)(features, regions(5))
    ROIAlign((7, 7), SCALE, 0)(features, regions(5))
    assert len(taken) == 1
    assert LAYER.roi_align is kernel


def test_without_the_wish_detectrons_layer_keeps_its_kernel():
    with repeatable_roi_align(False):
        assert LAYER.roi_align is kernel
