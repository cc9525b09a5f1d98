import statistics

import pytest

from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.report import statistics as ours
from twinbench.report.files import Absent, Found, Located
from twinbench.report.result import Result
from twinbench.report.table import TableError, build

SVM = PROTOCOLS["voc07-svm"]


def located(tmp_path, method="m", value=50.0, seed=0, protocol=SVM, **changes):
    fields = {
        "protocol": protocol.name,
        "version": protocol.version,
        "fingerprint": protocol.fingerprint,
        "method": method,
        "seed": seed,
        "metrics": {protocol.metric: value},
        "headline": protocol.metric,
        "backbone_sha256": method * 8,
        "data": "voc07",
        "data_sha256": "d" * 64,
    } | changes
    return Located(tmp_path / fields["method"] / f"seed{seed}" / "result.json", Result(**fields))


def table_of(*results, absent=()):
    return build(Found(tuple(results), tuple(absent)))


def test_the_spread_is_the_sample_standard_deviation():
    values = [85.0, 85.4, 86.3]
    assert ours.mean(values) == pytest.approx(statistics.mean(values))
    assert ours.sample_std(values) == pytest.approx(statistics.stdev(values))
    assert ours.sample_std([85.0]) is None


def test_places_are_shared_by_what_prints_alike():
    assert ours.places([50.0, 60.04, 60.01, 40.0]) == [3, 1, 1, 4]


def test_a_cell_says_mean_spread_and_trials(tmp_path):
    table = table_of(*(located(tmp_path, value=value, seed=seed) for seed, value in enumerate((50.0, 51.0, 52.0))))
    (column,) = table.columns
    cell = table.cell("m", column)
    assert (cell.number, cell.spread) == ("51.0", "±1.0 (3)")


def test_one_trial_says_so(tmp_path):
    table = table_of(located(tmp_path))
    assert table.cell("m", table.columns[0]).spread == "(n=1)"


def test_best_and_second_of_a_column(tmp_path):
    table = table_of(*(located(tmp_path, method, value) for method, value in (("a", 40.0), ("b", 60.0), ("c", 50.0))))
    assert [table.cell(method, table.columns[0]).place for method in "abc"] == [3, 1, 2]


def test_a_number_without_a_rival_is_not_the_best(tmp_path):
    table = table_of(located(tmp_path))
    assert table.cell("m", table.columns[0]).place == 0


def test_two_fingerprints_never_share_a_column(tmp_path):
    changed = SVM.with_settings({"folds": "5"})
    table = table_of(
        located(tmp_path, "a"),
        located(tmp_path, "b", protocol=changed, overrides={"folds": "5"}),
    )
    assert [column.fingerprint for column in table.columns] == [SVM.fingerprint, changed.fingerprint]
    assert [table.header(column) for column in table.columns] == [
        ("voc07-svm", "mAP", f"v1 {SVM.fingerprint[:6]}"),
        ("voc07-svm", "mAP", f"v1 {changed.fingerprint[:6]}"),
    ]
    assert table.cell("a", table.columns[1]).missing == "not run"
    assert table.footnotes == (("a", "settings changed: folds=5"),)
    assert table.marks(table.cell("b", table.columns[1])) == ("a",)


def test_two_versions_never_share_a_column(tmp_path):
    table = table_of(located(tmp_path, "a", version=1), located(tmp_path, "b", version=2))
    assert [column.version for column in table.columns] == [1, 2]


def test_the_name_alone_is_the_header_of_the_named_recipe(tmp_path):
    table = table_of(located(tmp_path))
    assert table.header(table.columns[0]) == ("voc07-svm", "mAP", "")


def test_a_recipe_unknown_to_this_twinbench_is_marked(tmp_path):
    table = table_of(located(tmp_path, fingerprint="0" * 12))
    assert table.header(table.columns[0])[2] == "v1 000000"
    assert "another edition of voc07-svm" in table.footnotes[0][1]


def test_demo_protocols_lose_their_prefix_only_among_themselves(tmp_path):
    demo = PROTOCOLS["demo-voc07-svm"]
    alone = table_of(located(tmp_path, protocol=demo))
    assert alone.header(alone.columns[0])[0] == "voc07-svm"
    assert "Demo protocols" in alone.key
    mixed = table_of(located(tmp_path, protocol=demo), located(tmp_path))
    assert [mixed.header(column)[0] for column in mixed.columns] == ["voc07-svm", "demo-voc07-svm"]


def test_partial_data_is_marked_and_takes_no_place(tmp_path):
    counts = {"images": {"train": 20, "test": 10}, "images_expected": {"train": 100, "test": 10}}
    table = table_of(located(tmp_path, "a", 90.0, **counts), located(tmp_path, "b", 50.0), located(tmp_path, "c", 40.0))
    assert [table.cell(method, table.columns[0]).place for method in "abc"] == [0, 1, 2]
    assert table.footnotes == (("a", "partial data: 20 of 100 train images"),)


def test_another_list_than_simclrs_is_marked_and_takes_no_place(tmp_path):
    other, own = ({"details": {"list_is_simclrs": same}} for same in (False, True))
    results = (located(tmp_path, "a", 90.0, **other), located(tmp_path, "b", 50.0, **own), located(tmp_path, "c", 40.0))
    table = table_of(*results)
    assert [table.cell(method, table.columns[0]).place for method in "abc"] == [0, 1, 2]
    assert table.footnotes == (("a", "trained on another list of images than SimCLR's"),)


def test_samples_from_a_file_and_classes_left_out_are_marked(tmp_path):
    details = {"a": {"samples": "from a file"}, "b": {"classes_left_out": ["x", "y"], "ap": {"z": 50.0}}}
    table = table_of(
        *(located(tmp_path, method, details=found) for method, found in details.items()),
        *(located(tmp_path, source, details={"samples": source}) for source in ("drawn from the seed", "published")),
    )
    assert table.footnotes == (
        ("a", "low-shot samples from a file, neither published nor drawn from the seed"),
        ("b", "mAP averages 1 of 3 classes; the others have too few images"),
    )


def test_a_solver_that_did_not_converge_is_marked(tmp_path):
    table = table_of(located(tmp_path, converged=False))
    assert "iteration limit" in table.footnotes[0][1]


def test_equal_footnotes_are_written_once(tmp_path):
    table = table_of(*(located(tmp_path, method, converged=False) for method in "ab"))
    assert len(table.footnotes) == 1
    assert all(table.marks(table.cell(method, table.columns[0])) == ("a",) for method in "ab")


def test_coco_has_a_column_for_boxes_and_one_for_masks(tmp_path):
    coco = PROTOCOLS["coco-mrcnn-c4-1x"]
    table = table_of(located(tmp_path, protocol=coco, metrics={"box-AP": 39.2, "mask-AP": 34.3, "box-AP50": 59.0}))
    assert [(column.metric, table.cell("m", column).number) for column in table.columns] == [
        ("box-AP", "39.2"),
        ("mask-AP", "34.3"),
    ]


def test_columns_stand_in_the_order_of_the_catalogue(tmp_path):
    names = ["coco-mrcnn-c4-1x", "imagenet-linear", "voc07-svm"]
    table = table_of(*(located(tmp_path, protocol=PROTOCOLS[name]) for name in names))
    assert [column.protocol for column in table.columns] == ["voc07-svm", "imagenet-linear", "coco-mrcnn-c4-1x"]


def test_one_trial_twice_is_an_error_that_names_both_files(tmp_path):
    first, second = located(tmp_path), located(tmp_path / "copy")
    with pytest.raises(TableError, match=f"there twice: {first.path} and {second.path}"):
        table_of(first, second)


def test_one_label_for_two_backbones_is_an_error_that_names_both_files(tmp_path):
    first, second = located(tmp_path), located(tmp_path, seed=1, backbone_sha256="different")
    with pytest.raises(TableError, match=f"stands for two backbones.*{first.path} .*{second.path}.*--method"):
        table_of(first, second)


def test_a_missing_cell_says_why(tmp_path):
    table = table_of(
        located(tmp_path, "a"),
        absent=[
            Absent("b", "voc07-svm", "0", "failed: out of memory"),
            Absent("a", "voc07-svm", "1", "not finished"),
            Absent("a", "imagenet-knn", "0", "not finished"),
        ],
    )
    svm, knn = table.columns
    assert knn.protocol == "imagenet-knn"
    assert table.cell("b", svm).missing == "failed"
    assert table.cell("a", knn).missing == "not finished"
    assert table.cell("b", knn).missing == "not run"
    texts = dict(table.footnotes)
    assert [texts[mark] for mark in table.marks(table.cell("b", svm))] == ["seed 0: failed: out of memory"]
    assert [texts[mark] for mark in table.marks(table.cell("a", svm))] == ["seed 1: not finished"]
    assert table.cell("a", svm).number == "50.0"
