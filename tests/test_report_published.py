"""The published numbers as their sources have them; each test is a row that was once told wrongly."""

from collections import Counter

import pytest

from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.published import UNMEASURED, orphans, published, published_for

MMSELFSUP = "open-mmlab/mmselfsup"


def of(paper, task):
    return [entry for entry in published() if (entry.paper, entry.task) == (paper, task)]


def test_byol_of_mmselfsup_is_what_its_page_says():
    """71.72 was of another pretraining, and is in the release before only."""
    rows = [entry for entry in of(MMSELFSUP, "imagenet_linear") if entry.method.startswith("byol")]
    assert [(entry.method, entry.value) for entry in rows] == [("byol resnet50_16xb256-coslr-200e [mmselfsup]", 71.8)]
    assert rows[0].note == "own recipe, linked there; at v0.11.0 71.88, and 71.72 for resnet50_8xb32-accum16"


# configs/selfsup/*/README.md at db861f3, columns Linear Eval (or AvgPool, where the page kept its old form)
LINEAR = {
    "barlowtwins barlowtwins_resnet50_8xb256-coslr-300e_in1k": 71.8,
    "byol resnet50_16xb256-coslr-200e": 71.8,
    "deepcluster sobel_resnet50_8xb64-steplr-200e": 46.92,
    "densecl resnet50_8xb32-coslr-200e": 63.5,
    "mocov2 resnet50_8xb32-coslr-200e": 67.5,
    "npid resnet50_8xb32-steplr-200e": 58.3,
    "odc resnet50_8xb64-steplr-440e": 53.42,
    "relative_loc resnet50_8xb64-steplr-70e": 40.4,
    "rotation_pred resnet50_8xb16-steplr-70e": 47.0,
    "simclr resnet50_8xb32-coslr-200e": 62.7,
    "simclr resnet50_16xb256-coslr-200e": 66.9,
    "simsiam resnet50_8xb32-coslr-100e": 68.3,
    "simsiam resnet50_8xb32-coslr-200e": 69.8,
    "swav resnet50_8xb32-mcrop-2-6-coslr-200e_in1k-224-96": 70.5,
}


def test_mmselfsups_linear_numbers_are_those_of_the_pages_they_cite():
    found = {entry.method.removesuffix(" [mmselfsup]"): entry.value for entry in of(MMSELFSUP, "imagenet_linear")}
    assert found == LINEAR


def test_vissls_linear_numbers_stand_in_no_protocols_column():
    assert of("facebookresearch/vissl", "imagenet_linear") == []
    assert len(of("facebookresearch/vissl", "imagenet_linear_vissl")) == 25
    assert "imagenet_linear_vissl" not in {entry.published_as for entry in PROTOCOLS.values()}
    assert "vissl" not in {entry.paper.partition("/")[2] for entry in published_for(PROTOCOLS["imagenet-linear"])}


@pytest.mark.parametrize("row", of("facebookresearch/vissl", "imagenet_linear_vissl"), ids=lambda row: row.method)
def test_vissls_linear_numbers_say_their_recipe(row):
    """MODEL_ZOO.md links the configuration of each method but MoCo v2 and Barlow Twins."""
    assert row.note.startswith("VISSL's own recipe")
    epochs = "100 epochs" if row.method.startswith("MoCo") else "28 epochs"
    assert epochs in row.note
    assert ("by which of VISSL's configurations" in row.unsaid) == row.method.startswith("Barlow Twins")


def test_mmselfsups_nearest_neighbours_say_their_resize():
    rows = of(MMSELFSUP, "imagenet_knn_mmselfsup")
    assert len(rows) == 52
    assert {entry.note for entry in rows} == {
        "own resize: by Pillow, as here, when first published (v0.8.0), by OpenCV in the code beside it since v1.0"
    }
    assert PROTOCOLS["imagenet-knn-mmselfsup"].recipe.transform.interpolation == "bilinear"


@pytest.mark.parametrize("paper", [MMSELFSUP, "UMBCvision/MSF", "lightly-ai/lightly", "billpsomas/efficient-probing"])
def test_nearest_neighbours_by_another_recipe_stand_in_no_column_of_dinos(paper):
    assert of(paper, "imagenet_knn20") == []


def test_a_page_that_is_gone_is_cited_where_it_still_stands():
    rows = [entry for entry in published() if "interclr" in entry.where and "svm" in entry.task]
    assert len(rows) == 9
    assert {entry.where for entry in rows} == {"configs/selfsup/interclr/README.md at v0.11.0 (684875d)"}
    assert {entry.note for entry in rows} == {"best layer feature5; gone at main"}


def test_a_task_that_nobody_measures_is_known_to_be_so():
    assert orphans() == set()
    assert {entry.task for entry in published()} >= UNMEASURED


def test_a_source_gives_a_method_one_number_of_a_kind_or_says_what_sets_the_others_apart():
    """Two numbers of one method in one source differ in where they stand or in what is noted."""
    keys = Counter((e.task, e.metric, e.method, e.paper, e.where, e.unsaid, e.note) for e in published())
    assert [key for key, count in keys.items() if count > 1] == []


# README.md of open-hummingbird-eval 2.0.0: mIoU with 1024 * 10^2, 10^3 and 10^4 patches
HUMMINGBIRD = {
    "DINO ViT-S/16": (37.2, 43.1, 46.6),
    "DINO ViT-B/16": (44.9, 50.8, 55.7),
    "DINOv2 ViT-S/14": (70.2, 74.9, 77.0),
    "DINOv2 ViT-B/14": (69.1, 74.6, 76.9),
    "DINOv2 ViT-L/14": (64.6, 71.7, 74.8),
    "DINOv2 ViT-g/14": (62.3, 69.9, 73.6),
}


def test_hummingbirds_table_stands_by_size_beside_the_metric_that_it_counts():
    found: dict[str, list[float]] = {}
    for size in ("-100k", "-1m", ""):
        protocol = PROTOCOLS[f"voc12-hummingbird{size}"]
        for entry in published_for(protocol):
            assert entry.metric in protocol.also
            found.setdefault(entry.method, []).append(entry.value)
    assert {method: tuple(values) for method, values in found.items()} == HUMMINGBIRD


def test_capis_k_nn_stands_beside_its_grid():
    found = {entry.method: entry.value for entry in published_for(PROTOCOLS["ade20k-knn-capi"])}
    assert list(found.values()) == [35.2, 32.1, 29.7, 29.2]


# README.md of google-research/simclr at 383d414: fine-tuned on 1 % and on 10 %, linear
SIMCLR_V2 = {
    "ResNet-50": (57.9, 68.4, 71.7),
    "ResNet-50 SK": (64.5, 72.1, 74.6),
    "ResNet-50 2x": (66.3, 73.9, 75.6),
    "ResNet-50 2x SK": (70.6, 77.0, 77.7),
    "ResNet-101": (62.1, 71.4, 73.6),
    "ResNet-101 SK": (68.3, 75.1, 76.3),
    "ResNet-101 2x": (69.1, 75.8, 77.0),
    "ResNet-101 2x SK": (73.2, 78.8, 79.0),
    "ResNet-152": (64.0, 73.0, 74.5),
    "ResNet-152 SK": (70.0, 76.5, 77.2),
    "ResNet-152 2x": (70.2, 76.6, 77.4),
    "ResNet-152 2x SK": (74.2, 79.4, 79.4),
    "ResNet-152 3x SK": (74.9, 80.1, 79.8),
}


def test_simclrs_released_networks_have_the_three_numbers_of_its_readme():
    found: dict[str, list[float]] = {}
    for task in ("imagenet_semi_1pct", "imagenet_semi_10pct", "imagenet_linear"):
        for entry in of("google-research/simclr", task):
            if entry.method.startswith("SimCLRv2 "):
                found.setdefault(entry.method.removeprefix("SimCLRv2 "), []).append(entry.value)
    assert {method: tuple(values) for method, values in found.items()} == SIMCLR_V2
    first = {e.method: e.value for e in of("google-research/simclr", "imagenet_linear") if "v1" in e.note}
    assert first == {"SimCLR": 69.1, "SimCLR ResNet-50 2x": 74.2, "SimCLR ResNet-50 4x": 76.6}


def test_simclrs_fine_tuned_numbers_say_that_their_recipe_is_another():
    rows = of("google-research/simclr", "imagenet_semi_1pct") + of("google-research/simclr", "imagenet_semi_10pct")
    assert len(rows) == 2 * len(SIMCLR_V2)
    assert all("first layer of the projection head" in entry.note for entry in rows)


def test_dinov3s_two_numbers_stand_by_its_own_scripts():
    """Its model card has only numbers that no protocol here measures."""
    found = [
        (entry.task, entry.metric, entry.value) for entry in published() if entry.paper == "facebookresearch/dinov3"
    ]
    assert found == [("imagenet_knn_dinov2", "top1-k20", 82.0), ("imagenet_linear_dinov3", "top1", 83.5)]


# results/*.csv of pytorch-image-models at aa4b5850, top-1: ImageNet's val, V2, ReaL, A, R, Sketch
TIMM = {
    "resnet18.tv_in1k": (69.752, 57.35, 77.291, 1.12, 33.023, 20.238),
    "resnet152.tv_in1k": (78.33, 67.04, 84.815, 6.053, 41.34, 28.55),
    "resnet50.fb_swsl_ig1b_ft_in1k": (81.146, 71.67, 86.805, 29.76, 68.38, 49.516),
}


@pytest.mark.parametrize("method", TIMM)
def test_timms_classifiers_have_their_row_of_each_table(method):
    sets = ("imagenet", "imagenet-v2", "imagenet-real", "imagenet-a", "imagenet-r", "imagenet-sketch")
    rows = {
        entry.task.removeprefix("robust_released_"): entry.value
        for entry in published()
        if entry.method == method and entry.metric == "top1"
    }
    assert tuple(rows[name] for name in sets) == TIMM[method]
