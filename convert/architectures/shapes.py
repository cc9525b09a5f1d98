"""The 318 tensors of a ResNet-50 backbone: torchvision's names, in its order, with their shapes at any width.

Plain arithmetic: a conversion imports neither torchvision nor a model. A test compares it with the model of
`convert.architectures.resnet`.
"""

from functools import cache

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # planes, blocks; He et al. 2016, Table 1
COUNTER = "num_batches_tracked"
Shapes = dict[str, tuple[int, ...]]


@cache
def expected_shapes(width: float) -> Shapes:
    """Return the names of a backbone whose channel counts are ResNet-50's times `width`, with their shapes."""
    channels = round(64 * width)
    shapes = {"conv1.weight": (channels, 3, 7, 7), **_norm("bn1", channels)}
    for stage, (planes, blocks) in enumerate(STAGES, start=1):
        inner, outer = round(planes * width), 4 * round(planes * width)
        for block in range(blocks):
            shapes |= _bottleneck(f"layer{stage}.{block}", channels, inner, outer, has_shortcut=block == 0)
            channels = outer
    return shapes


def _bottleneck(name: str, inputs: int, inner: int, outer: int, *, has_shortcut: bool) -> Shapes:
    """Return the tensors of one block: 1 x 1, 3 x 3 and 1 x 1 convolutions with their norms, and the shortcut's."""
    shapes: Shapes = {f"{name}.conv1.weight": (inner, inputs, 1, 1), **_norm(f"{name}.bn1", inner)}
    shapes |= {f"{name}.conv2.weight": (inner, inner, 3, 3), **_norm(f"{name}.bn2", inner)}
    shapes |= {f"{name}.conv3.weight": (outer, inner, 1, 1), **_norm(f"{name}.bn3", outer)}
    if has_shortcut:
        shapes |= {f"{name}.downsample.0.weight": (outer, inputs, 1, 1), **_norm(f"{name}.downsample.1", outer)}
    return shapes


def _norm(name: str, channels: int) -> Shapes:
    """Return the tensors of a batch norm."""
    slots = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{slot}": (channels,) for slot in slots}, f"{name}.{COUNTER}": ()}
