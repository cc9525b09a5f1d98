"""The names and shapes by arithmetic are those of the model, which are torchvision's."""

import pytest
import torch
from torchvision.models import resnet50

from twinbench.convert.architectures.resnet import ResNet50
from twinbench.convert.architectures.shapes import expected_shapes


@pytest.mark.parametrize("width", [1 / 16, 1 / 4, 1 / 2, 1, 2, 4, 5])
def test_the_318_tensors_at_every_width(width: float) -> None:
    with torch.device("meta"):
        model = ResNet50(width)
    shapes = {name: tuple(values.shape) for name, values in model.state_dict().items()}
    assert list(expected_shapes(width).items()) == list(shapes.items())
    assert len(shapes) == 318


def test_width_1_is_torchvisions_without_its_classifier() -> None:
    with torch.device("meta"):
        theirs = {name: tuple(values.shape) for name, values in resnet50().state_dict().items()}
    assert expected_shapes(1.0) == {name: shape for name, shape in theirs.items() if not name.startswith("fc.")}
    assert sum(not name.endswith("num_batches_tracked") for name in expected_shapes(1.0)) == 265
