"""What a recipe's numbers may be: a range for each field and the few rules between fields.

The type of a setting is checked where it is read (house.py); here it is whether a run with it can mean anything.
Upper limits stand only where more cannot be meant and would exhaust the memory.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from twinbench.protocols.house import SettingError, setting_text, setting_values

PIXELS = 4096  # side of an image
Values = Mapping[str, Any]  # of a recipe, by the name that --set takes


@dataclass(frozen=True)
class Range:
    """The values that a field may have; `words` go on after "expected"."""

    holds: Callable[[Any], bool]
    words: str

    def of_each(self, words: str, *, different: bool = False, empty: bool = False) -> "Range":
        """Return the range of a tuple of such values, which is told by words of its own."""
        return Range(
            lambda values: (
                all(map(self.holds, values))
                and (empty or len(values) > 0)
                and (not different or len(set(values)) == len(values))
            ),
            words,
        )


@dataclass(frozen=True)
class Rule:
    """What a field must keep to beside others; it applies to the recipes that have the field."""

    field: str
    holds: Callable[[Values], bool]
    words: str


# A NaN is in none of these: it compares as false.
COUNT = Range(lambda value: value >= 1, "a whole number of at least 1")
COUNT_OR_NONE = Range(lambda value: value >= 0, "a whole number of at least 0")
FOLDS = Range(lambda value: value == 0 or value >= 2, "0 or a whole number of at least 2")
ABOVE_0 = Range(lambda value: 0 < value < inf, "a number above 0")
FROM_0 = Range(lambda value: 0 <= value < inf, "a number of at least 0")
MOMENTUM = Range(lambda value: 0 <= value < 1, "a number of at least 0 and below 1")
CHANCE = Range(lambda value: 0 <= value <= 1, "a number from 0 to 1")
STAGE = Range(lambda value: 0 <= value <= 5, "a whole number from 0 to 5: the stem is 1, res5 is 5")
SIDE = Range(lambda value: 1 <= value <= PIXELS, f"1 to {PIXELS} pixels")
SIDE_OR_NONE = Range(lambda value: 0 <= value <= PIXELS, f"0 (none) to {PIXELS} pixels")
RISING = Range(
    lambda values: all(before < after for before, after in zip((0, *values), values, strict=False)),
    "rising whole numbers above 0",
)

RANGES: dict[str, Range] = {
    # SvmRecipe
    "transform.resize": SIDE_OR_NONE,
    "transform.crop": SIDE,
    "costs": ABOVE_0.of_each("different numbers above 0, for example 0.1,1,10", different=True),
    "folds": FOLDS,
    "positive_weight": ABOVE_0,
    "tolerance": ABOVE_0,
    "max_iterations": COUNT,
    "normalize_epsilon": FROM_0,
    "shots": COUNT.of_each("different whole numbers of at least 1", different=True, empty=True),
    "samples": COUNT,
    # ProbeRecipe
    "epochs": COUNT,
    "batch_size": COUNT,
    "lr_head": FROM_0,
    "lr_backbone": FROM_0,
    "momentum": MOMENTUM,
    "weight_decay": FROM_0,
    "milestones": RISING,
    "gamma": ABOVE_0,
    "head_init_std": FROM_0,
    "accumulate": COUNT,
    "norm_groups": COUNT,
    # KnnRecipe
    "neighbors": COUNT.of_each("different whole numbers of at least 1, for example 10,20", different=True),
    "temperature": ABOVE_0,
    # DetectionRecipe
    "freeze_at": STAGE,
    "lr": FROM_0,
    "warmup_iterations": COUNT_OR_NONE,
    "warmup_factor": FROM_0,
    "steps": RISING,
    "iterations": COUNT,
    "min_size_train": SIDE.of_each(f"sizes of 1 to {PIXELS} pixels, for example 640,800"),
    "min_size_test": SIDE,
    "max_size": COUNT,
    "anchor_sizes": COUNT.of_each("sizes of at least 1 pixel, for example 32,64,128,256,512"),
    "rpn_pre_nms_test": COUNT,
    "rpn_post_nms_test": COUNT,
    "rpn_loss_weight": FROM_0,
    "rois_per_image": COUNT,
    "roi_resolution": COUNT,
    "precise_bn_iterations": COUNT_OR_NONE,
    # PretrainRecipe, beside what it checks itself
    "width": ABOVE_0,
    "lr_weights": FROM_0,
    "lr_biases": FROM_0,
    "trust": FROM_0,
    "warmup_epochs": COUNT_OR_NONE,
    "lambd": FROM_0,
    "brightness": FROM_0,
    "contrast": FROM_0,
    "saturation": FROM_0,
    "hue": Range(lambda value: 0 <= value <= 0.5, "a number from 0 to 0.5"),
    "blur": CHANCE.of_each("two numbers from 0 to 1"),
    "solarize": CHANCE.of_each("two numbers from 0 to 1"),
}

RULES = (
    Rule(
        "shots",
        lambda of: not of["shots"] or "-k" in of["metric"],
        "none: shots belong to the low-shot protocols, such as voc07-svm-lowshot",
    ),
    Rule(
        "shots",
        lambda of: len(of["shots"]) > 0 or "-k" not in of["metric"],
        "numbers of images per class; without them use a protocol on the whole training set, such as voc07-svm",
    ),
    Rule(
        "samples",
        lambda of: of["samples"] == 1 or len(of["shots"]) > 0,
        "1: more samples belong to the low-shot protocols, such as voc07-svm-lowshot",
    ),
    Rule(
        "folds",
        lambda of: of["folds"] == 0 or of["metric"] == "mAP",
        "0: low-shot and one-vs-rest protocols have no cross-validation",
    ),
    Rule(
        "costs",
        lambda of: len(of["costs"]) == 1 or of["folds"] > 0 or len(of["shots"]) > 0,
        "one cost where folds=0: there is nothing to choose it on",
    ),
    Rule("nesterov", lambda of: not of["nesterov"] or of["momentum"] > 0, "false where momentum=0"),
    Rule(
        "norm_groups",
        lambda of: of["norm_groups"] == 1 or of["train_backbone"],
        "1: the batch norm of a frozen backbone sees no batch",
    ),
    Rule("norm_groups", lambda of: of["batch_size"] % of["norm_groups"] == 0, "a divisor of batch_size"),
    Rule(
        "extra_norm",
        lambda of: not of["extra_norm"] or of["architecture"] != "mrcnn-fpn",
        "false where architecture=mrcnn-fpn: its heads have no res5",
    ),
)


def require_in_range(recipe: object, metric: str = "") -> None:
    """Raise SettingError for the first field of `recipe` that no run can mean; `metric` is its protocol's headline."""
    values = setting_values(recipe)
    for name, value in values.items():
        if name in RANGES and not RANGES[name].holds(value):
            raise SettingError(f"setting {name}={setting_text(value)}: expected {RANGES[name].words}")
    together = values | {"metric": metric}
    for rule in RULES:
        if rule.field in values and not rule.holds(together):
            raise SettingError(f"setting {rule.field}={setting_text(values[rule.field])}: expected {rule.words}")
