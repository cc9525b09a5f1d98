"""Which of a classifier's outputs are the classes of a data set that it is tested on."""

from collections.abc import Sequence

import numpy as np

from twinbench.protocols.house import UserError, optional

IMAGENET = 1000  # classes


class ClassMapError(UserError):
    """Classes that a classifier does not know."""


def outputs_of(classes: Sequence[str], known: Sequence[str], outputs: int) -> np.ndarray:
    """Return for each of the `classes` of a data set the output that stands for it, (C,).

    `known` are the classes of the outputs in their order; empty: of a released classifier, whose order is that of the
    sorted names. 1. A class that is known by its name is that one. 2. Numbers that are no names count the outputs from
    0 (ImageNetV2). 3. As many classes as outputs are those, sorted. 4. ImageNet's 1000 are known from timm.
    ClassMapError where none of it holds.
    """
    names = known
    if not names and len(classes) != outputs and outputs == IMAGENET and not all(map(str.isdecimal, classes)):
        names = _imagenets()
    places = {name: output for output, name in enumerate(names)}
    if all(name in places for name in classes):
        return np.array([places[name] for name in classes], np.int64)
    if all(name.isdecimal() and int(name) < outputs for name in classes):
        return np.array([int(name) for name in classes], np.int64)
    if not names and len(classes) == outputs:
        return np.argsort(np.argsort(np.array(classes), kind="stable"), kind="stable")
    odd = next(name for name in classes if name not in places)
    of = f", such as {names[0]}" if names else ", of which no names are known"
    raise ClassMapError(
        f"class {odd} of {len(classes)} is none of the classifier's {outputs}{of}; expected classes that it was "
        "trained on; is it a classifier of these data? To leave classes out: DATA?classes=FILE"
    )


def _imagenets() -> tuple[str, ...]:
    """Return the WordNet names of ImageNet's classes in order, as timm has them."""
    data = optional("timm.data", "models", "the order of ImageNet's classes", ClassMapError)
    return tuple(data.ImageNetInfo().label_names())
