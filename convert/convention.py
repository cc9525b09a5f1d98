"""The input convention of a backbone: what its first convolution expects of an image."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from twinbench.protocols.house import UserError, unknown

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB in [0, 1]; the torchvision convention
IMAGENET_STD = (0.229, 0.224, 0.225)


class ConventionError(UserError):
    """What is no input convention."""


@dataclass(frozen=True)
class InputConvention:
    """An image is made `scale` times its [0, 1] values, put in `order`, and becomes (image - mean) / std.

    `mean` and `std` are in units of the scaled image and in the order of its channels.
    """

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    order: Literal["rgb", "bgr"] = "rgb"
    scale: float = 1.0  # or 255

    def as_dict(self) -> dict[str, Any]:
        """Return plain lists, numbers and texts, as they are stored in a file's metadata.

        The numbers are floats whatever they were given as: a backbone's identity hashes their text.
        """
        return {
            "mean": [float(value) for value in self.mean],
            "std": [float(value) for value in self.std],
            "order": self.order,
            "scale": float(self.scale),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "InputConvention":
        """Read what `as_dict` wrote. Raises ValueError for anything else."""
        mean, std = _three(fields.get("mean")), _three(fields.get("std"))
        order, scale = fields.get("order"), fields.get("scale")
        if mean is None or std is None or min(std) <= 0 or order not in ("rgb", "bgr") or scale not in (1.0, 255.0):
            raise ValueError("no input convention")
        return cls(mean, std, order, float(scale))

    def __str__(self) -> str:
        """Say it in words: `RGB in [0, 1], mean 0.485 0.456 0.406, std 0.229 0.224 0.225`."""
        mean = " ".join(f"{value:g}" for value in self.mean)
        std = " ".join(f"{value:g}" for value in self.std)
        return f"{self.order.upper()} in [0, {self.scale:g}], mean {mean}, std {std}"


def _written_out(text: str) -> InputConvention:
    """Return the convention of `MEAN/STD`, three numbers each: `0.5,0.5,0.5/0.25,0.25,0.25`, of RGB in [0, 1]."""
    if "/" not in text:
        raise ConventionError(f"{unknown('input convention', text, CONVENTIONS)}; or MEAN/STD: 0.5,0.5,0.5/0.5,0.5,0.5")
    try:
        mean, std = ([float(number) for number in part.split(",")] for part in text.split("/"))
        return InputConvention.from_dict({"mean": mean, "std": std, "order": "rgb", "scale": 1.0})
    except ValueError:
        raise ConventionError(
            f"input convention {text!r}: expected MEAN/STD, three numbers each, std above 0: 0.5,0.5,0.5/0.5,0.5,0.5"
        ) from None


def _three(values: Any) -> tuple[float, float, float] | None:
    """Return three finite numbers as a tuple, or None."""
    if not isinstance(values, list | tuple) or len(values) != 3:
        return None
    if not all(type(value) in (int, float) and math.isfinite(value) for value in values):
        return None
    return float(values[0]), float(values[1]), float(values[2])


IMAGENET = InputConvention()
IMAGENET_BGR = InputConvention((0.406, 0.456, 0.485), (0.225, 0.224, 0.229), "bgr")
UNIT = InputConvention((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # [0, 1] as it is: SimCLR of Google
HALF = InputConvention((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # [-1, 1]: Inception's, of Google's ViTs and SigLIP
CLIP = InputConvention(  # openai/CLIP clip.py: _transform
    (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
)
CONVENTIONS = {"imagenet": IMAGENET, "imagenet-bgr": IMAGENET_BGR, "unit": UNIT, "half": HALF, "clip": CLIP}


def as_convention(given: InputConvention | Mapping[str, Any] | str | None) -> InputConvention:
    """Return a convention as Python code gives it: one of CONVENTIONS by name, some of its fields, or none: ImageNet's.

    Fields that are not given are ImageNet's. ConventionError for what is no convention.
    """
    if given is None:
        return IMAGENET
    if isinstance(given, InputConvention):
        return given
    if isinstance(given, str):
        return CONVENTIONS[given] if given in CONVENTIONS else _written_out(given)
    known = IMAGENET.as_dict()
    for name in given:
        if name not in known:
            raise ConventionError(unknown("field of an input convention", name, known))
    try:
        return InputConvention.from_dict({**known, **given})
    except ValueError:
        raise ConventionError(
            f"input convention {dict(given)}: expected mean and std of three numbers, order rgb or bgr, scale 1 or 255"
        ) from None
