"""Classifiers that outlive their trial: `head.pth` beside its result, and what a test needs of one.

The file holds the head alone where the backbone stayed frozen, else the whole network; of many heads side by side the
one that was chosen, and which of them it is. What it is of stands in it: the four parts of the trial's identity, and
the classes in the order of the outputs. Nothing else is needed but the backbone, since the recipe that built it is
found by its name and proven by its fingerprint.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from twinbench.convert import files
from twinbench.convert.backbone import Backbone
from twinbench.convert.finding import prove
from twinbench.convert.released import released_classifier
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.house import UserError
from twinbench.protocols.kinds.base import ImageTransform, Precision
from twinbench.protocols.kinds.finetuning import TrainedRecipe
from twinbench.protocols.kinds.heads import Head as ManyHead
from twinbench.protocols.kinds.heads import HeadsRecipe
from twinbench.protocols.kinds.tested import RELEASED, HeadTestRecipe, head_label
from twinbench.protocols.schema import ProtocolError
from twinbench.report.asked import Asked
from twinbench.report.result import Result
from twinbench.report.trial import Trial
from twinbench.transfer.classifier import Classifier
from twinbench.transfer.heads_model import ManyHeads

log = logging.getLogger(__name__)
FILE, RESULT = "head.pth", "result.json"
DIGITS = 12  # of a sha256 in a message


class HeadError(UserError):
    """A head that is not there, or not the one that a protocol tests."""


@dataclass(frozen=True)
class Head:
    """A classifier to be tested; `build` puts it on the backbone: normalised images (N, 3, H, W) to scores (N, K)."""

    label: str  # as a recipe names it: NAME:FINGERPRINT, or `released`
    sha256: str  # of its tensors
    outputs: int
    build: Callable[[Backbone], nn.Module]
    classes: tuple[str, ...] = ()  # of its outputs, in their order; empty: not told
    data_sha256: str = ""  # of the data that it was trained on; empty: not told
    backbone: str = ""  # the identity of the one that it was trained on; empty: not told
    seed: int = 0
    precision: Precision = "fp32"  # of the backbone
    transform: ImageTransform | None = None  # of the test images in its own trial

    @property
    def details(self) -> dict[str, Any]:
        """What a result says of the head that it is of."""
        return {"head": self.label, "head_sha256": self.sha256, "head_outputs": self.outputs}


def keep_head(
    trial: Trial, classes: tuple[str, ...], state: Mapping[str, Tensor], head: Mapping[str, Any] | None = None
) -> None:
    """Write the tensors that a trial has trained beside its result, with what was chosen of many: `head`'s fields."""
    protocol = trial.protocol
    held = {
        "format": 1,
        "protocol": protocol.name,
        "fingerprint": protocol.fingerprint,
        "overrides": dict(protocol.overrides),
        "seed": trial.seed,
        "backbone": trial.backbone.identity,
        "data": trial.data.name,
        "data_sha256": trial.data.sha256,
        "classes": list(classes),
        "state": {name: values.detach().cpu() for name, values in state.items()},
    }
    if head is not None:
        held["head"] = dict(head)
    files.save(held, trial.out / FILE)


def read_head(place: Path) -> Head:
    """Return the head of the finished trial in the folder `place`; HeadError where none was kept."""
    path = place / FILE
    if not (place / RESULT).is_file():
        raise HeadError(f"{place}: no {RESULT} in it; expected the folder of a finished trial; finish it first")
    if not path.is_file():
        raise HeadError(
            f"{path}: no such file; expected the head of that trial: probes and fine-tuning keep one beside their "
            f"result since November 2026; remove {RESULT} and run the trial again"
        )
    held: Any = files.load(path)
    try:
        return _head(path, held)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise HeadError(f"{path}: no head of twinbench ({error!r:.80}); run the trial again") from None


def _head(path: Path, held: Mapping[str, Any]) -> Head:
    """Return the head that a file holds, its recipe found by name and proven."""
    name, fingerprint = str(held["protocol"]), str(held["fingerprint"])
    try:
        protocol = find_protocol(name, "transfer").with_settings(held["overrides"])
    except ProtocolError as error:
        raise HeadError(
            f"{path}: the head of a protocol that is not known: {error}; name its file: --protocols"
        ) from None
    if protocol.fingerprint != fingerprint:
        raise HeadError(
            f"{path}: trained by another recipe of {name} ({fingerprint}) than today's ({protocol.fingerprint}); train "
            "it again"
        )
    recipe = cast("TrainedRecipe | HeadsRecipe", protocol.recipe)
    state = cast("dict[str, Tensor]", held["state"])
    classes = tuple(map(str, held["classes"]))
    alone = recipe.alone(ManyHead(**held["head"])) if isinstance(recipe, HeadsRecipe) else None

    def build(backbone: Backbone) -> nn.Module:
        trunk = backbone.build()
        if alone:
            network = ManyHeads(trunk, len(classes), alone, seed=0)
            scores, trained = nn.Sequential(network, nn.Flatten(0, 1)), network.head.heads[0]  # (N, 1, K): one head
        else:
            scores = network = Classifier(trunk, len(classes), cast("TrainedRecipe", recipe), seed=0)
            trained = network.trained
        try:
            trained.load_state_dict(state)
        except RuntimeError as error:
            raise HeadError(
                f"{path}: does not fit {backbone.architecture} ({error!s:.200}); run the trial again"
            ) from None
        return scores.eval()

    return Head(
        head_label(name, fingerprint),
        prove.identity(state),
        len(classes),
        build,
        classes,
        held["data_sha256"],
        held["backbone"],
        held["seed"],
        recipe.precision,
        recipe.transform,
    )


def _released(spec: str, layout: str | None, side: int) -> Head:
    """Return the classifier that comes with the backbone that `spec` names, of images of `side` pixels."""
    found = released_classifier(spec, layout)

    def build(backbone: Backbone) -> nn.Module:
        trunk = backbone.build()
        linear = nn.Linear(found.weight.shape[1], found.weight.shape[0])
        with torch.no_grad():
            linear.weight.copy_(found.weight)
            linear.bias.copy_(found.bias)
            features = trunk(torch.zeros(1, 3, side, side)).shape[1]
        if features != linear.in_features:
            raise HeadError(
                f"{spec}: a classifier of {linear.in_features} features, but {backbone.architecture} gives {features}; "
                "expected one on what the trunk gives; test a head that is trained on it instead: robust-linear"
            )
        return nn.Sequential(trunk, linear).eval()

    return Head(RELEASED, found.sha256, len(found.weight), build)


def open_head(asked: Asked, place: Path | None, backbone: Backbone) -> Head | None:
    """Return the head that a trial tests, None where it tests none; HeadError unless it is the one asked for."""
    protocol = asked.protocol
    if not isinstance(protocol.recipe, HeadTestRecipe):
        if place:
            raise HeadError(f"--head {place}: {protocol.name} trains a head of its own; leave it out")
        return None
    recipe = protocol.recipe
    if recipe.head == RELEASED:
        if place:
            raise HeadError(
                f"--head {place}: {protocol.name} tests the classifier that a network comes with; leave it out"
            )
        if not isinstance(asked.backbone, str | Path):
            raise HeadError(
                f"{protocol.name}: a module has no released classifier; expected a file or a library's name"
            )
        return _released(str(asked.backbone), asked.layout, recipe.transform.crop)
    if place is None:
        raise HeadError(
            f"{protocol.name}: tests the head of {recipe.trained_by}; expected the folder of its finished trial on "
            "this backbone; name it with --head"
        )
    head = read_head(place)
    _require_asked(head, place, asked, recipe, backbone)
    return head


def _require_asked(head: Head, place: Path, asked: Asked, recipe: HeadTestRecipe, backbone: Backbone) -> None:
    """Raise HeadError unless a head is of the recipe, the backbone and the seed that the trial is of."""
    name = asked.protocol.name
    if head.label != recipe.head:
        raise HeadError(
            f"{place}: the head of {head.label}, but {name} tests {recipe.head}; give that one's trial, or go on with "
            f"a row that is marked: --set head={head.label}"
        )
    if head.backbone != backbone.identity:
        raise HeadError(
            f"{place}: a head on another backbone ({head.backbone[:DIGITS]} instead of {backbone.identity[:DIGITS]}); "
            f"expected one that was trained on {backbone.source}; give its trial"
        )
    if head.seed != asked.seed:
        raise HeadError(
            f"{place}: a head of seed {head.seed}; expected seed {asked.seed}, as this trial's; say --seed {head.seed}"
        )
    _warn_of_other_images(head, place, name, recipe.transform)


def _warn_of_other_images(head: Head, place: Path, name: str, shown: ImageTransform) -> None:
    """Tell where the images of a test are made otherwise than those that the head was tested on in its own trial."""
    if head.transform and head.transform.crop != shown.crop:
        log.warning(
            "%s: its own test images had %d pixels a side, those of %s have %d",
            place,
            head.transform.crop,
            name,
            shown.crop,
        )
    if head.transform and head.transform.interpolation != shown.interpolation:
        log.warning(
            "%s: its own test images were resized %s, those of %s %s; as they were: --set transform.interpolation=%s",
            place,
            head.transform.interpolation,
            name,
            shown.interpolation,
            head.transform.interpolation,
        )


def require_same_head(result: Result, head: Head, out: Path) -> None:
    """Raise HeadError if a finished result is of other tensors: the four identities do not see a head trained anew."""
    theirs = str(result.details.get("head_sha256", ""))
    if theirs != head.sha256:
        raise HeadError(
            f"{out / RESULT}: of another head ({theirs[:DIGITS] or 'not recorded'} instead of {head.sha256[:DIGITS]}); "
            "choose another OUT or remove it"
        )
