"""Settings that no run can mean are refused in one line, wherever a protocol takes settings."""

import dataclasses
import typing

import pytest

import twinbench
from twinbench.protocols.catalogue import PROTOCOLS, find_protocol
from twinbench.protocols.house import SettingError, UserError, with_settings
from twinbench.protocols.kinds.base import ImageTransform
from twinbench.protocols.kinds.registry import KINDS
from twinbench.protocols.pretraining import RECIPES, PretrainRecipe
from twinbench.protocols.ranges import ranges_of

SVM, LOW_SHOT, ONE_VS_REST = "demo-voc07-svm", "demo-voc07-svm-lowshot", "demo-inat18-svm"
LINEAR, STEPS, KNN = "demo-imagenet-linear", "demo-inat18-linear", "demo-imagenet-knn"
TUNED = "demo-imagenet-1pct"
DETECTION, FPN = "demo-voc0712-frcnn-c4", "demo-coco-mrcnn-fpn-1x"

BAD = {  # (protocol, field): values out of its range
    (SVM, "positive_weight"): ["-1", "0", "nan", "inf"],
    (SVM, "normalize_epsilon"): ["nan", "-1", "inf"],
    (SVM, "max_iterations"): ["0", "-1"],
    (SVM, "tolerance"): ["0", "-1", "nan"],
    (SVM, "costs"): ["", "0", "nan", "-1", "inf", "1,1", "1,1.0", "0.1,nan"],
    (SVM, "folds"): ["1", "-1"],
    (SVM, "transform.crop"): ["0", "-32", "100000"],
    (SVM, "transform.resize"): ["-1", "100000"],
    (LOW_SHOT, "shots"): ["16,16", "0", "1,0", "-1"],
    (LOW_SHOT, "samples"): ["0", "-1"],
    (KNN, "neighbors"): ["", "0", "20,20", "-20,20"],
    (KNN, "temperature"): ["0", "-1", "nan", "inf"],
    (KNN, "transform.crop"): ["0", "4097"],
    (LINEAR, "transform.crop"): ["0", "-32", "100000"],
    (LINEAR, "epochs"): ["0", "-1"],
    (LINEAR, "batch_size"): ["0", "-5"],
    (LINEAR, "momentum"): ["-1", "1", "2", "nan"],
    (LINEAR, "head_init_std"): ["-1", "nan"],
    (LINEAR, "lr_head"): ["-1", "nan", "inf"],
    (TUNED, "lr_backbone"): ["nan", "-1"],
    (LINEAR, "weight_decay"): ["-1", "nan"],
    (TUNED, "accumulate"): ["0", "-1"],
    (ONE_VS_REST, "cost"): ["0", "-1", "nan"],
    (STEPS, "gamma"): ["nan", "0", "-1"],
    (STEPS, "milestones"): ["-1", "0", "5,2", "2,2"],
    (DETECTION, "freeze_at"): ["-1", "6"],
    (DETECTION, "batch_size"): ["0"],
    (DETECTION, "lr"): ["-1", "nan"],
    (DETECTION, "warmup_iterations"): ["-1"],
    (DETECTION, "warmup_factor"): ["-1", "nan"],
    (DETECTION, "steps"): ["0", "80,20", "80,80"],
    (DETECTION, "iterations"): ["0", "-1"],
    (DETECTION, "momentum"): ["1", "nan"],
    (DETECTION, "weight_decay"): ["-1", "nan"],
    (DETECTION, "min_size_train"): ["", "0", "64,100000"],
    (DETECTION, "min_size_test"): ["0", "100000"],
    (DETECTION, "max_size"): ["0"],
    (DETECTION, "anchor_sizes"): ["", "0", "16,-32"],
    (DETECTION, "rpn_pre_nms_test"): ["0"],
    (DETECTION, "rpn_post_nms_test"): ["0"],
    (DETECTION, "rpn_loss_weight"): ["-1", "nan"],
    (DETECTION, "rois_per_image"): ["0"],
    (DETECTION, "roi_resolution"): ["0"],
    (DETECTION, "precise_bn_iterations"): ["-1"],
}
ONE_BY_ONE = [(*place, value) for place, values in BAD.items() for value in values]

TOGETHER = [  # protocol, settings that contradict it or each other, the one that is named and what of it is said
    (SVM, {"folds": "0"}, "costs=0.01,0.1,1.0,10.0,100.0: expected one cost where folds=0"),
    (LOW_SHOT, {"shots": ""}, "shots=: expected different whole numbers of images per class"),
    (TUNED, {"precision": "bf16"}, "precision=bf16: expected fp32 or tf32 where the backbone is trained"),
    (LINEAR, {"nesterov": "true", "momentum": "0"}, "nesterov=True: expected false where momentum=0"),
    (FPN, {"extra_norm": "true"}, "extra_norm=True: expected false where architecture=mrcnn-fpn"),
]

GOOD = [
    (SVM, {"positive_weight": "0.5", "normalize_epsilon": "0", "max_iterations": "1", "tolerance": "1e-9"}),
    (SVM, {"folds": "2", "costs": "10,0.1"}),
    (SVM, {"folds": "0", "costs": "1"}),
    (SVM, {"transform.resize": "0", "transform.crop": "1"}),
    (SVM, {"transform.resize": "4096", "transform.crop": "4096"}),
    (LOW_SHOT, {"shots": "16,2", "samples": "1", "costs": "0.5"}),
    (ONE_VS_REST, {"cost": "0.25"}),
    (KNN, {"neighbors": "20,1", "temperature": "0.1"}),
    (LINEAR, {"epochs": "1", "batch_size": "1", "momentum": "0", "lr_head": "0", "head_init_std": "0"}),
    (LINEAR, {"nesterov": "true", "weight_decay": "0"}),
    (TUNED, {"accumulate": "4", "lr_backbone": "0"}),
    (STEPS, {"epochs": "3", "milestones": "1,2", "gamma": "0.5"}),
    (STEPS, {"epochs": "1", "milestones": ""}),
    (STEPS, {"epochs": "1"}),  # drops that a shortened run does not come to
    (STEPS, {"epochs": "1", "schedule": "cosine"}),
    (DETECTION, {"iterations": "1", "precise_bn_iterations": "0", "freeze_at": "0", "warmup_iterations": "0"}),
    (DETECTION, {"steps": "", "anchor_sizes": "8", "min_size_train": "64,32"}),
]


@pytest.mark.parametrize(("protocol", "field", "value"), ONE_BY_ONE)
def test_a_value_out_of_range_is_named_with_what_was_expected(protocol, field, value):
    with pytest.raises(SettingError) as caught:
        find_protocol(protocol).with_settings({field: value})
    shown, expected, words = str(caught.value).partition(": expected ")
    allowed = {name: found for name, _, found in ranges_of(find_protocol(protocol).recipe)}
    assert words == allowed[field].words
    assert shown.startswith(f"setting {field}=")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("protocol", "settings", "said"), TOGETHER)
def test_settings_that_do_not_go_together(protocol, settings, said):
    with pytest.raises(SettingError) as caught:
        find_protocol(protocol).with_settings(settings)
    assert str(caught.value).startswith(f"setting {said}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("protocol", "settings"), GOOD)
def test_a_value_at_the_edge_passes(protocol, settings):
    assert dict(find_protocol(protocol).with_settings(settings).overrides) == settings


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=list(PROTOCOLS))
def test_every_protocol_as_shipped_is_in_range(protocol):
    protocol.recipe.check()


@pytest.mark.parametrize("recipe", [*KINDS.values(), ImageTransform, PretrainRecipe], ids=lambda kind: kind.__name__)
def test_every_number_of_a_recipe_has_a_range(recipe):
    """A field added later must say what it may be; what is no number has its type alone."""
    numbers = {int, float, tuple[int, ...], tuple[float, ...]}
    known = {field.name for field in dataclasses.fields(recipe)} - CHECKED_BY_HAND
    hints = typing.get_type_hints(recipe, include_extras=True)
    bare = {name for name in known if hints[name] in numbers}
    assert bare == set()


CHECKED_BY_HAND = {"version", "projector", "blur_sigma"}  # PretrainRecipe.__post_init__


@pytest.mark.parametrize(
    ("protocol", "setting"), [(SVM, "shots"), (SVM, "samples"), (LOW_SHOT, "folds"), (ONE_VS_REST, "folds")]
)
def test_a_kind_has_no_settings_of_another(protocol, setting):
    with pytest.raises(SettingError, match=f"unknown setting '{setting}'"):
        find_protocol(protocol).with_settings({setting: "1"})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width", "nan"),
        ("lr_weights", "nan"),
        ("lr_biases", "-1"),
        ("weight_decay", "-1"),
        ("momentum", "1"),
        ("trust", "nan"),
        ("warmup_epochs", "-1"),
        ("lambd", "nan"),
        ("brightness", "-0.1"),
        ("contrast", "nan"),
        ("saturation", "-1"),
        ("hue", "0.6"),
        ("blur", "-1,0"),
        ("solarize", "0,nan"),
    ],
)
def test_pretraining_keeps_to_ranges_too(field, value):
    with pytest.raises(UserError, match=f"setting {field}=.*: expected "):
        with_settings(RECIPES["demo"], {field: value})


def test_the_command_ends_with_one_line_before_any_work(tmp_path, capsys):
    out = tmp_path / "out"
    words = ["transfer", LINEAR, "random", str(tmp_path), str(out), "--device", "cpu", "--set", "epochs=0"]
    assert twinbench.main(words) == 2
    error = capsys.readouterr().err
    assert error.endswith("setting epochs=0: expected a whole number of at least 1\n")
    assert error.count("\n") == 1
    assert not out.exists()


def test_a_setting_that_loses_the_headline_is_told_with_the_protocol_and_the_setting():
    message = r"^coco-mrcnn-c4-1x with architecture=frcnn-c4 gives no box-AP, the protocol's headline; it gives AP75, "
    with pytest.raises(SettingError, match=message):
        find_protocol("coco-mrcnn-c4-1x").with_settings({"architecture": "frcnn-c4"})
