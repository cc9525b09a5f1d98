import dataclasses

import pytest

from twinbench.protocols import demo
from twinbench.protocols.catalogue import PROTOCOLS, find_protocol
from twinbench.protocols.datasets import DATA_SETS, SCENES, DataSet
from twinbench.protocols.house import SettingError
from twinbench.protocols.kinds.base import ImageTransform
from twinbench.protocols.kinds.registry import KINDS
from twinbench.protocols.schema import ProtocolError, fingerprint, registry

PAPER = [entry for entry in PROTOCOLS.values() if not entry.name.startswith("demo-")]
IDS = [entry.name for entry in PAPER]
# Of many heads one for ResNets stands for all, and of those on a transformer's tokens a grid and an attentive probe.
IN_SMALL = {"imagenet-linear-dinov2-heldout", "imagenet-linear-dinov3-heldout", "imagenet-attentive-capi"}
ON_TOKENS = {entry.name for entry in PAPER if entry.recipe.kind == "heads"} - IN_SMALL
TRANSFORMERS = {"imagenet-finetune-deit", "imagenet-finetune-mae", "imagenet-finetune-mae-large"}
WITHOUT = ON_TOKENS | TRANSFORMERS | set(demo.ALIKE)
# Of a test of a head the demo's tests the demo's head.
SHRUNK = [entry for entry in PAPER if f"demo-{entry.name}" in PROTOCOLS and not entry.recipe.tests_only]
SHRUNK = [entry for entry in SHRUNK if entry.data_set in SCENES]


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
    shown = dataclasses.replace(protocol, title="other words", source="", trials=9, published_as="", also=())
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


def test_protocols_of_one_fingerprint_are_one_recipe_on_different_data():
    by_fingerprint: dict[str, list] = {}
    for entry in PROTOCOLS.values():
        by_fingerprint.setdefault(entry.fingerprint, []).append(entry)
    for entries in by_fingerprint.values():
        assert all(entry.recipe == entries[0].recipe for entry in entries)
        assert len({entry.data_set for entry in entries}) == len(entries)


def test_the_data_set_does_not_move_the_fingerprint():
    assert PROTOCOLS["imagenet-1pct"].fingerprint == PROTOCOLS["imagenet-10pct"].fingerprint


def test_every_papers_protocol_has_a_demo_but_what_the_scenes_have_no_labels_for():
    without = {paper.name for paper in PAPER if f"demo-{paper.name}" not in PROTOCOLS}
    parts = {f"coco-mrcnn-fpn-{percent}pct" for percent in (1, 2, 5, 10)}
    on_one_set = {"finetune12-byol", "calibration-linear"}  # whose demo is
    families = {paper.name for paper in PAPER if paper.sets} - on_one_set
    boxes = {"coco-krcnn-fpn-2x", "lvis-mrcnn-fpn-1x", "cityscapes-mrcnn-fpn-24k"}
    neighbors = {f"imagenet-knn-{source}" for source in ("dinov2", "lightly", "mmselfsup", "msf")}
    boxes |= {"vissl-linear-resized", "ade20k-linear-dinov2", "ade20k-linear-dinov3", "voc12-linear-neco"}
    boxes |= {"ade20k-hummingbird", "ade20k-knn-capi", "ade20k-logreg-capi"}
    boxes |= {"nyuv2-linear-dinov3", "voc12-hummingbird-1m", "voc12-hummingbird-100k"}
    assert without == families | parts | boxes | neighbors | WITHOUT


@pytest.mark.parametrize("name", demo.ALIKE)
def test_a_paper_protocol_without_a_demo_has_the_one_of_another_in_small(name):
    small = [demo._scaled(PROTOCOLS[each]).recipe for each in (name, name.removesuffix("-gap"))]
    assert small[0] == small[1]


@pytest.mark.parametrize("paper", SHRUNK, ids=[paper.name for paper in SHRUNK])
def test_a_demo_protocol_is_the_papers_one_in_small(paper):
    """What decides the kind of measurement is the paper's; only sizes, lengths and rates that follow them differ."""
    small = PROTOCOLS[f"demo-{paper.name}"]
    assert type(small.recipe) is type(paper.recipe)
    assert small.metric.partition("-k")[0] == paper.metric.partition("-k")[0]  # fewer images per class, fewer neighbors
    assert small.data_set.name == f"scenes-{paper.data_set.name}"
    same = ("version", "room", "also", "selected_on")
    assert [getattr(small, name) for name in same] == [getattr(paper, name) for name in same]
    scaled = {"transform", "pooling", "costs", "neighbors", "epochs", "milestones", "batch_size", "lr"}
    scaled |= {"warmup_iterations", "steps", "iterations", "min_size_train", "min_size_test", "max_size"}
    scaled |= {"anchor_sizes", "rpn_pre_nms_test", "rpn_post_nms_test", "rois_per_image", "roi_resolution"}
    scaled |= {"feature", "shots", "samples", "precise_bn_iterations", "lr_head", "lr_backbone", "norm_groups"}
    scaled |= {"precision", "rpn_post_nms_train", "kernels", "strides", "paddings"}
    scaled |= {"heads_on", "epoch_steps", "side", "blocks", "memory_size"}
    scaled |= {"head_channels", "aux_channels", "long_side", "short_side", "crop", "test_crop", "test_stride"}
    for rate in {"lr_head", "lr_backbone"} & {field.name for field in dataclasses.fields(small.recipe)}:
        per_image = getattr(paper.recipe, rate) / paper.recipe.batch_size
        assert getattr(small.recipe, rate) / small.recipe.batch_size == pytest.approx(per_image, rel=1e-12)
    for field in dataclasses.fields(paper.recipe):
        if field.name not in scaled:
            assert getattr(small.recipe, field.name) == getattr(paper.recipe, field.name), field.name


@pytest.mark.parametrize("paper", PAPER, ids=IDS)
def test_a_papers_protocol_says_where_it_comes_from(paper):
    assert paper.source
    assert paper.title
    assert paper.selected_on
    assert paper.trials >= 1
    assert paper.width == 1.0


GAP, RES5 = (PROTOCOLS[name].recipe.transform for name in ("voc07-svm-gap", "voc07-svm"))
READINGS = {  # what one source says of (field) -> (first, second protocol), where two are read of one benchmark
    ("imagenet-1pct", "imagenet-1pct-steps"): {
        "lr_backbone": (0.005, 0.002),
        "schedule": ("cosine", "steps"),
        "milestones": ((), (12, 16)),
        "gamma": (1.0, 0.2),
    },
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
    ("voc07-svm-lowshot", "voc07-svm-lowshot-mmselfsup"): {
        "transform": (PROTOCOLS["voc07-svm-lowshot"].recipe.transform, dataclasses.replace(RES5, backend="opencv")),
        "costs": (PROTOCOLS["voc07-svm"].recipe.costs, (1.0, 10.0, 100.0, *(2.0**-n for n in range(4, 20)))),
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


def test_an_unknown_protocol_names_the_nearest_and_how_many_there_are():
    known = f"{len(PROTOCOLS)} are known; see: twinbench protocols"
    with pytest.raises(ProtocolError, match=f"unknown protocol 'voc07-swm'. Did you mean 'voc07-svm'.*{known}"):
        find_protocol("voc07-swm")
    with pytest.raises(ProtocolError, match="unknown detection protocol 'voc0712-frcn-c4'") as caught:
        find_protocol("voc0712-frcn-c4", room="detection")
    assert "imagenet" not in str(caught.value)


def test_a_protocol_of_another_room_names_its_command():
    with pytest.raises(ProtocolError, match="voc07-svm is a transfer protocol; run it with: twinbench transfer voc07-"):
        find_protocol("voc07-svm", room="detection")


@pytest.mark.parametrize("room", ["transfer", "dense", "detection"])
@pytest.mark.parametrize("name", ["voc07-svm", "voc12-linear-vicregl", "coco-mrcnn-c4-1x", "barlow-twins"])
def test_each_room_names_the_command_of_anothers_protocol(name, room):
    own = PROTOCOLS[name].room if name in PROTOCOLS else "pretrain"
    if own == room:
        assert find_protocol(name, room).name == name
        return
    with pytest.raises(ProtocolError, match=f"run it with: twinbench {own} "):
        find_protocol(name, room)


def test_a_slip_in_the_name_of_another_rooms_protocol_names_its_command():
    with pytest.raises(ProtocolError, match="Did you mean 'coco-mrcnn-c4-1x'. That is run with: twinbench detection"):
        find_protocol("coco-mrcn-c4-1x", "transfer")


def test_a_pair_is_the_recipe_on_other_data():
    pair = find_protocol("imagenet-knn@pets")
    assert pair.name == "imagenet-knn@pets"
    assert pair.fingerprint == PROTOCOLS["imagenet-knn"].fingerprint
    assert pair.data_set == DataSet("pets", ("single-label",))
    assert pair.published_as == ""


def test_a_pair_with_a_known_data_set_has_its_counts():
    pair = find_protocol("imagenet-knn@places205")
    assert pair.data_set is DATA_SETS["places205"]
    assert (pair.classes, pair.images) == (205, (2_448_873, 20_500))


def test_a_pair_with_the_protocols_own_data_is_the_protocol():
    assert find_protocol("imagenet-knn@imagenet") is PROTOCOLS["imagenet-knn"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("voc07-svm@imagenet", "a recipe of kind svm runs on multi-label data, but imagenet is single-label"),
        ("coco-mrcnn-c4-1x@voc0712", "kind detector runs on masks data, but voc0712 is boxes"),
        ("imagenet-knn@", "expected a data set's name after @"),
        ("imagenet-knn@a/b", "expected a data set's name after @"),
        ("imagenet-kn@pets", "unknown protocol 'imagenet-kn'. Did you mean 'imagenet-knn'"),
    ],
)
def test_a_pair_that_cannot_be_is_refused(name, said):
    with pytest.raises(ProtocolError) as caught:
        find_protocol(name)
    assert said in str(caught.value)


def test_every_kind_is_known_by_its_name_and_used():
    assert all(KINDS[name].kind == name for name in KINDS)
    assert {protocol.recipe.kind for protocol in PROTOCOLS.values()} == set(KINDS)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=list(PROTOCOLS))
def test_a_protocols_headline_is_measured_by_its_recipe(protocol):
    protocol.recipe.require_metric(protocol.metric)
    assert set(protocol.also) <= set(protocol.recipe.metrics())


@pytest.mark.parametrize(
    ("name", "settings"), [("imagenet-knn", {"neighbors": "10,5"}), ("voc07-svm-lowshot", {"shots": "1,2"})]
)
def test_settings_that_lose_the_headline_are_refused(name, settings):
    with pytest.raises(SettingError, match="expected (20|96) among them for "):
        PROTOCOLS[name].with_settings(settings)


def test_a_name_given_twice_is_our_mistake():
    with pytest.raises(ValueError, match="two entries are called voc07-svm"):
        registry([PROTOCOLS["voc07-svm"], PROTOCOLS["voc07-svm"]])
