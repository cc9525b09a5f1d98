import dataclasses

import pytest

from twinbench.protocols.catalogue import PROTOCOLS, find_protocol
from twinbench.protocols.schema import ImageTransform, ProbeRecipe, ProtocolError, fingerprint, registry

PAPER = [entry for entry in PROTOCOLS.values() if not entry.name.startswith("demo-")]
IDS = [entry.name for entry in PAPER]


def other(value):
    """Return a value of the same type that differs."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return (*value, 7)
    if isinstance(value, ImageTransform):
        return dataclasses.replace(value, crop=value.crop + 1)
    return value + 1 if isinstance(value, int | float) else f"{value}-changed"


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=list(PROTOCOLS))
def test_every_field_of_a_recipe_moves_the_fingerprint(protocol):
    for field in dataclasses.fields(protocol.recipe):
        recipe = dataclasses.replace(protocol.recipe, **{field.name: other(getattr(protocol.recipe, field.name))})
        assert dataclasses.replace(protocol, recipe=recipe).fingerprint != protocol.fingerprint, field.name


def test_what_is_only_shown_does_not_move_the_fingerprint():
    protocol = PROTOCOLS["coco-mrcnn-c4-1x"]
    shown = dataclasses.replace(protocol, task="other words", source="", trials=9, published_as="", also=())
    assert shown.fingerprint == protocol.fingerprint


@dataclasses.dataclass(frozen=True)
class Forward:
    a: int
    b: float


@dataclasses.dataclass(frozen=True)
class Backward:
    b: float
    a: int


def test_a_fingerprint_does_not_depend_on_the_order_of_fields():
    Backward.__name__ = "Forward"
    assert fingerprint(("x",), Forward(1, 2.0)) == fingerprint(("x",), Backward(2.0, 1))


def test_fingerprints_are_all_different():
    fingerprints = [entry.fingerprint for entry in PROTOCOLS.values()]
    assert len(set(fingerprints)) == len(fingerprints)


@pytest.mark.parametrize("paper", PAPER, ids=IDS)
def test_a_demo_protocol_is_the_papers_one_in_small(paper):
    """What decides the kind of measurement is the paper's; only sizes, lengths and rates that follow them differ."""
    demo = PROTOCOLS[f"demo-{paper.name}"]
    assert type(demo.recipe) is type(paper.recipe)
    assert demo.metric.partition("-k")[0] == paper.metric.partition("-k")[0]  # fewer images per class, fewer neighbors
    same = ("version", "room", "data", "also", "selected_on")
    assert [getattr(demo, name) for name in same] == [getattr(paper, name) for name in same]
    scaled = {"transform", "pooling", "costs", "neighbors", "epochs", "milestones", "batch_size", "lr"}
    scaled |= {"warmup_iterations", "steps", "iterations", "min_size_train", "min_size_test", "max_size"}
    scaled |= {"anchor_sizes", "rpn_pre_nms_test", "rpn_post_nms_test", "rois_per_image", "roi_resolution"}
    scaled |= {"feature", "shots", "samples", "precise_bn_iterations", "lr_head", "lr_backbone", "norm_groups"}
    for rate in ("lr_head", "lr_backbone") if isinstance(demo.recipe, ProbeRecipe) else ():
        per_image = getattr(paper.recipe, rate) / paper.recipe.batch_size
        assert getattr(demo.recipe, rate) / demo.recipe.batch_size == pytest.approx(per_image, rel=1e-12)
    for field in dataclasses.fields(paper.recipe):
        if field.name not in scaled:
            assert getattr(demo.recipe, field.name) == getattr(paper.recipe, field.name), field.name


@pytest.mark.parametrize("paper", PAPER, ids=IDS)
def test_a_papers_protocol_says_where_it_comes_from(paper):
    assert paper.source and paper.task and paper.selected_on and paper.trials >= 1 and paper.width == 1.0


GAP, RES5 = (PROTOCOLS[name].recipe.transform for name in ("voc07-svm-gap", "voc07-svm"))
READINGS = {  # what one source says of (field) -> (first, second protocol), where two are read of one benchmark
    ("imagenet-1pct", "imagenet-1pct-steps"): {
        "lr_backbone": (0.005, 0.002),
        "schedule": ("cosine", "steps"),
        "milestones": ((), (12, 16)),
        "gamma": (1.0, 0.2),
    },
    ("imagenet-1pct-steps", "imagenet-10pct-steps"): {"train_fraction": ("1%", "10%")},
    ("inat18-linear", "inat18-linear-2drops"): {
        "milestones": ((24, 48, 72), (28, 56)),
        "feature": ("gap", "res5-avg6"),
    },
    ("inat18-linear", "inat18-linear-vicreg"): {"lr_head": (0.01, 0.005), "weight_decay": (5e-4, 1e-4)},
    ("places205-linear", "places205-linear-2drops"): {"milestones": ((4, 8, 12), (5, 9))},
    ("places205-linear", "places205-linear-vicreg"): {
        "epochs": (14, 28),
        "lr_head": (0.01, 0.003),
        "weight_decay": (5e-4, 1e-4),
    },
    ("voc07-svm-gap", "voc07-svm-virtex"): {
        "transform": (GAP, dataclasses.replace(GAP, backend="albumentations")),
        "costs": (PROTOCOLS["voc07-svm"].recipe.costs, (0.01, 0.1, 1.0, 10.0)),
        "normalize_epsilon": (1e-5, 1e-12),
        "test_ap": ("envelope", "step"),
    },
    ("voc07-svm-gap", "voc07-svm-pcl"): {
        "costs": (PROTOCOLS["voc07-svm"].recipe.costs, (0.5,)),
        "folds": (3, 0),
        "ignored_at_test": ("dropped", "negative"),
    },
    ("voc07-svm-pcl", "voc07-svm-lowshot-pcl"): {
        "shots": ((), (1, 2, 4, 8, 16)),
        "samples": (1, 5),
        "sampling": ("by-class", "pooled"),
    },
    ("voc07-svm", "voc07-svm-mmselfsup"): {
        "transform": (RES5, dataclasses.replace(RES5, backend="opencv")),
        "costs": (PROTOCOLS["voc07-svm"].recipe.costs, (1.0, 10.0, 100.0, *(2.0**-n for n in range(4, 20)))),
    },
}


@pytest.mark.parametrize("pair", READINGS, ids="/".join)
def test_two_readings_of_a_benchmark_differ_in_what_their_sources_do(pair):
    first, second = (vars(PROTOCOLS[name].recipe) for name in pair)
    assert {name: (first[name], second[name]) for name in first if first[name] != second[name]} == READINGS[pair]


def test_settings_change_the_recipe_and_are_kept():
    named = PROTOCOLS["imagenet-linear"]
    changed = named.with_settings({"epochs": "50", "batch_size": 128})
    assert (changed.recipe.epochs, changed.recipe.batch_size) == (50, 128)
    assert changed.overrides == (("batch_size", "128"), ("epochs", "50"))
    assert changed.fingerprint != named.fingerprint
    assert named.with_settings({}) is named


def test_an_unknown_protocol_names_the_nearest_and_all_of_the_room():
    with pytest.raises(ProtocolError, match="unknown protocol 'voc07-swm'. Did you mean 'voc07-svm'.*imagenet-knn"):
        find_protocol("voc07-swm")
    with pytest.raises(ProtocolError, match="unknown detection protocol 'voc07-svm'") as caught:
        find_protocol("voc07-svm", room="detection")
    assert "imagenet" not in str(caught.value)


def test_a_name_given_twice_is_our_mistake():
    with pytest.raises(ValueError, match="two entries are called voc07-svm"):
        registry([PROTOCOLS["voc07-svm"], PROTOCOLS["voc07-svm"]])
