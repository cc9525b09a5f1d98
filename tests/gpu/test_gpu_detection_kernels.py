"""The two operators of a detector that are no network: suppression, and ROIAlign in torchvision's form and in ours."""

import pytest
import torch
from torchvision.ops import batched_nms
from torchvision.ops import roi_align as kernel

from twinbench.detection.models.roialign import roi_align
from twinbench.runtime.determinism import deterministic

SHAPE, BINS, SCALE = (2, 16, 25, 42), (14, 14), 1 / 16  # a 400 x 672 image on a C4 map
FULL_SIZE, REGIONS = (2, 1024, 50, 84), 1024  # the recipes': two images, 512 regions of each


def boxes(count, generator, eighth=True):
    """(count, 4) boxes within 672 x 400, on a grid of eighths of a pixel, on which their areas are exact."""
    corners = torch.rand(count, 2, 2, generator=generator) * torch.tensor([672.0, 400.0])
    if eighth:
        corners = (corners * 8).round() / 8
    return torch.cat([corners.amin(1), corners.amax(1)], dim=1)


def regions(count, generator):
    image = torch.arange(count)[:, None] % 2
    return torch.cat([image, boxes(count, generator, eighth=False)], dim=1)


def aligned(function, features, rois):
    """Return the regions' features and the gradient by the map, on the processor."""
    features = features.clone().requires_grad_()
    found = function(features, rois, BINS, SCALE, 0, True)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).to(found.device)
    (found * weights).sum().backward()
    return found.detach().cpu(), features.grad.cpu()


@pytest.mark.parametrize("function", [kernel, roi_align])
def test_regions_and_their_gradients_are_those_of_the_processors_kernel(device, function):
    """A number is a sum over many samples or regions, in float32 in another order; positions round, too."""
    generator = torch.Generator().manual_seed(0)
    features, rois = torch.randn(SHAPE, generator=generator), regions(100, generator)
    for found, expected in zip(
        aligned(function, features.to(device), rois.to(device)), aligned(kernel, features, rois), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_in_deterministic_mode_the_gradient_of_regions_has_the_same_bits_each_time(device):
    generator = torch.Generator().manual_seed(0)
    features, rois = torch.randn(SHAPE, generator=generator).to(device), regions(100, generator).to(device)
    with deterministic():
        _, first = aligned(roi_align, features, rois)
        _, second = aligned(roi_align, features, rois)
    assert torch.equal(first, second)


@pytest.mark.usefixtures("only_gpu")
def test_at_the_size_of_the_recipes_our_form_takes_at_most_four_gigabytes_more_than_the_output(device):
    generator = torch.Generator().manual_seed(0)
    features, rois = torch.randn(FULL_SIZE, generator=generator).to(device), regions(REGIONS, generator).to(device)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    features.requires_grad_()
    roi_align(features, rois, BINS, SCALE, 0, True).sum().backward()
    output = REGIONS * FULL_SIZE[1] * BINS[0] * BINS[1] * 4
    assert torch.cuda.max_memory_allocated() - before < output + 4e9


@pytest.mark.usefixtures("only_gpu")
@pytest.mark.parametrize("count", [300, 3000, 6000])
def test_suppression_keeps_the_same_boxes(device, count):
    """Of 300 both sides move the classes apart, of 3000 the GPU alone, of 6000 neither: each class by itself."""
    generator = torch.Generator().manual_seed(0)
    given = (boxes(count, generator), torch.rand(count, generator=generator), torch.randint(0, 5, (count,)))
    found = batched_nms(*(values.to(device) for values in given), iou_threshold=0.7)
    assert torch.equal(found.cpu(), batched_nms(*given, iou_threshold=0.7))
