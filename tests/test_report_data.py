"""Which numbers may stand in one column and one cell: recipe, data and backbone decide, and nothing else."""

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace

import pytest

import twinbench
from twinbench.protocols.catalogue import PROTOCOLS, find_protocol
from twinbench.report import csvfile, html, jsonfile, latex, markdown, paper, text
from twinbench.report.beside import Options
from twinbench.report.compare import pair, verdicts
from twinbench.report.files import Absent, Found, Located, find
from twinbench.report.gate import failures, parse_gates
from twinbench.report.marks import NO_DATA
from twinbench.report.result import Result, ResultError, read_results
from twinbench.report.rows import table as rows
from twinbench.report.table import build
from twinbench.report.trial import Trial, TrialBackbone, TrialData

SVM, KNN = PROTOCOLS["voc07-svm"], PROTOCOLS["imagenet-knn"]
RGB = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "order": "rgb", "scale": 1.0}
BGR = RGB | {"order": "bgr"}
HERE = {"data": "voc07", "data_sha256": "aa11" * 16}
THERE = {"data": "voc07", "data_sha256": "bb22" * 16}
OLD = {"data": "", "data_sha256": "", "architecture": "", "convention": {}, "precision": "", "schema": 1}


def result(method="m", value=50.0, seed=0, protocol=SVM, **changes):
    fields = {
        "protocol": protocol.name,
        "version": protocol.version,
        "fingerprint": protocol.fingerprint,
        "method": method,
        "seed": seed,
        "metrics": {protocol.metric: value},
        "headline": protocol.metric,
        "backbone_sha256": method * 8,
        "architecture": "resnet50",
        "convention": RGB,
        "precision": "fp32",
        **HERE,
    }
    return Result(**(fields | changes))


def table_of(tmp_path, *results, absent=(), **options):
    located = [Located(tmp_path / f"{number}.json", entry) for number, entry in enumerate(results)]
    return build(Found(tuple(located), tuple(absent)), Options(**options))


def headers(table):
    return [table.header(column) for column in table.columns]


def test_two_data_sets_never_share_a_column(tmp_path):
    table = table_of(tmp_path, result("a", 60.0), result("b", 50.0, **THERE))
    assert headers(table) == [("voc07-svm", "mAP", "voc07 aa11aa"), ("voc07-svm", "mAP", "voc07 bb22bb")]
    here, there = table.columns
    assert table.cell("a", here).number == "60.0"
    assert table.cell("a", there).missing == "not run"
    assert table.cell("b", there).number == "50.0"
    assert {table.cell("a", here).place, table.cell("b", there).place} == {0}  # alone: neither is best


def test_one_method_on_two_data_sets_is_not_averaged(tmp_path):
    """A suite whose `data:` was pointed elsewhere, and a seed measured after that."""
    table = table_of(tmp_path, result(value=60.0), result(value=50.0, seed=1, **THERE))
    assert [table.cell("m", column).shown for column in table.columns] == ["60.0 (n=1)", "50.0 (n=1)"]


def test_the_same_seed_on_two_data_sets_is_no_trial_twice(tmp_path):
    assert len(table_of(tmp_path, result(), result(**THERE)).columns) == 2


def test_one_data_set_needs_no_word_in_the_header(tmp_path):
    table = table_of(tmp_path, result(), result("b"), result(protocol=KNN, **THERE))
    assert headers(table) == [("voc07-svm", "mAP", ""), ("imagenet-knn", KNN.metric, "")]
    assert table.footnotes == ()


def test_the_name_of_the_data_alone_makes_no_column(tmp_path):
    """The same files under a label of one's own are the same files."""
    table = table_of(tmp_path, result("a"), result("b", data="my-voc"))
    assert [column.data for column in table.columns] == ["voc07"]


def test_a_changed_recipe_and_other_data_are_both_said(tmp_path):
    changed = SVM.with_settings({"folds": "5"})
    table = table_of(tmp_path, result(), result("b", protocol=changed, overrides={"folds": "5"}, **THERE))
    assert {header[2] for header in headers(table)} == {
        f"v1 {SVM.fingerprint[:6]}, voc07 aa11aa",
        f"v1 {changed.fingerprint[:6]}, voc07 bb22bb",
    }


def test_data_that_was_not_recorded_has_a_column_of_its_own(tmp_path):
    table = table_of(tmp_path, result("a"), result("b", **OLD))
    assert [header[2] for header in headers(table)] == ["voc07 aa11aa", "data not recorded"]
    _, old = table.columns
    assert dict(table.footnotes) == {"a": NO_DATA}
    assert table.marks(table.cell("b", old)) == ("a",)


def test_results_of_an_older_twinbench_alone_make_the_table_of_before_with_a_footnote(tmp_path):
    table = table_of(tmp_path, result("a", 60.0, **OLD), result("b", 50.0, **OLD), result("b", 52.0, 1, **OLD))
    assert headers(table) == [("voc07-svm", "mAP", "")]
    (column,) = table.columns
    assert table.cell("b", column).shown == "51.0 ±1.4 (2)"
    assert [table.cell(method, column).place for method in "ab"] == [1, 2]
    assert dict(table.footnotes) == {"a": NO_DATA}


def test_an_old_file_on_disk_is_read_and_tabled(tmp_path):
    path = result().write(tmp_path / "old")
    new = ("architecture", "convention", "data", "data_sha256", "precision")
    fields = {name: value for name, value in json.loads(path.read_text()).items() if name not in new}
    path.write_text(json.dumps(fields | {"schema": 1}))
    table = build(find([tmp_path]))
    assert table.cell("m", table.columns[0]).number == "50.0"
    assert NO_DATA in text.render(table).replace("\n", " ")


def test_an_imported_result_joins_the_data_that_its_protocol_was_measured_on(tmp_path):
    theirs = {"imported": "VISSL", "backbone_sha256": "", "architecture": "", "convention": {}}
    table = table_of(tmp_path, result("a"), result("b", data="", data_sha256="", **theirs))
    (column,) = table.columns
    assert table.cell("b", column).number == "50.0"
    assert "on its data, is the importer's word" in table.footnotes[0][1]


def test_an_imported_result_chooses_between_no_two_data_sets(tmp_path):
    theirs = {"imported": "VISSL", "data": "", "data_sha256": ""}
    table = table_of(tmp_path, result("a"), result("b", **THERE), result("c", **theirs))
    assert [header[2] for header in headers(table)] == ["voc07 aa11aa", "voc07 bb22bb", "data not recorded"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"backbone_sha256": "x" * 64}, f"tensors {'m' * 8} in .*0.json and {'x' * 12} in .*1.json"),
        ({"architecture": "timm:vit"}, "architecture resnet50 in .*0.json and timm:vit in .*1.json"),
        ({"convention": BGR}, "input convention rgb, scale 1.0, .* in .*0.json and bgr, scale 1.0, .* in .*1.json"),
    ],
    ids=["tensors", "architecture", "convention"],
)
@pytest.mark.parametrize("where", [{"seed": 1}, {"protocol": KNN}], ids=["one cell", "one row"])
def test_two_backbones_of_one_label_are_an_error_that_names_both_files(tmp_path, change, told, where):
    """The same tensors under two conventions were averaged in one cell."""
    with pytest.raises(ResultError) as caught:
        table_of(tmp_path, result(), result(**where, **change))
    message = str(caught.value)
    assert message.startswith("method 'm' stands for two backbones: ")
    assert message.endswith("; give each its own --method label")
    with pytest.raises(ResultError, match=told):
        table_of(tmp_path, result(), result(**where, **change))


def test_a_backbone_that_was_not_recorded_contradicts_none(tmp_path):
    table = table_of(tmp_path, result(), result(protocol=KNN, **OLD))
    assert len(table.columns) == 2


def test_a_pair_stands_behind_its_recipe_under_its_own_name(tmp_path):
    """RECIPE@DATA is no name in the catalogue; the recipe before the @ is."""
    pets = {"protocol": "imagenet-knn@pets", "data": "pets", "data_sha256": "c" * 64}
    metrics = dict.fromkeys([KNN.metric, *KNN.also], 40.0)
    own = result(protocol=KNN, metrics=metrics)
    linear = result(protocol=PROTOCOLS["imagenet-linear"])
    table = table_of(tmp_path, replace(own, **pets), linear, own)
    names = [column.protocol for column in table.columns if column.metric in ("top1", KNN.metric)]
    assert names == sorted(names, key=["imagenet-linear", "imagenet-knn", "imagenet-knn@pets"].index)
    assert headers(table_of(tmp_path, replace(own, **pets)))[0] == ("imagenet-knn@pets", KNN.metric, "")
    assert table.footnotes == ()
    assert "imagenet-knn@pets" in html.render(table)


def test_published_numbers_stand_beside_no_pair(tmp_path):
    pets = result("a", protocol=SVM, data="pets", data_sha256="c" * 64)
    assert table_of(tmp_path, replace(pets, protocol="voc07-svm@pets"), published=True).methods == ("a",)
    assert len(table_of(tmp_path, pets, published=True).methods) > 1


def test_a_protocol_of_ones_own_stands_last_without_a_remark(tmp_path):
    own = replace(result(), protocol="my-svm", fingerprint="0" * 12)
    table = table_of(tmp_path, own, result(protocol=KNN), published=True)
    assert table.columns[-1].protocol == "my-svm"
    assert table.header(table.columns[-1]) == ("my-svm", "mAP", "")
    assert "my-svm" in html.render(table)


def test_a_trial_on_own_data_is_whole_whatever_its_counts(tmp_path):
    pets = find_protocol("imagenet-knn@pets")
    backbone = TrialBackbone("m" * 64, "resnet50", RGB)
    trial = Trial(pets, "m", 0, backbone, TrialData("pets", "c" * 64), "cpu", tmp_path)
    trial.finish({KNN.metric: 40.0}, {"train": 7, "test": 3})
    table = build(find([tmp_path]))
    assert headers(table) == [("imagenet-knn@pets", KNN.metric, "")]
    assert table.footnotes == ()
    assert table.cell("m", table.columns[0]).comparable


OWN = """
data_sets: {pets: {tasks: single-label}}
protocols: {pets-knn: {recipe: imagenet-knn, set: {neighbors: [5, 10]}, data: pets, metric: top1-k10, source: ours}}
"""


def test_a_protocol_of_an_own_file_is_known_to_the_table(tmp_path):
    """In a process of its own: protocols of files stay known to the end of one."""
    (tmp_path / "own.yaml").write_text(OWN)
    own = ["--protocols", str(tmp_path / "own.yaml")]
    page = f"""
import sys, twinbench
from pathlib import Path
from twinbench.protocols.catalogue import find_protocol, load_own
from twinbench.report.trial import Trial, TrialBackbone, TrialData
load_own(["{tmp_path}/own.yaml"])
backbone = TrialBackbone("m" * 64, "resnet50", {{"mean": [0.0], "std": [1.0], "order": "rgb", "scale": 1.0}})
trial = Trial(find_protocol("pets-knn"), "m", 0, backbone, TrialData("pets", "c" * 64), "cpu", Path("{tmp_path}/r"))
trial.finish({{"top1-k10": 40.0, "top1-k5": 39.0}}, {{"train": 7, "test": 3}})
"""
    subprocess.run([sys.executable, "-c", page], check=True)
    report = [sys.executable, "-m", "twinbench", "report", str(tmp_path / "r"), "--format", "html"]
    known = subprocess.run([*report, *own], capture_output=True, text=True, check=True).stdout
    unknown = subprocess.run(report, capture_output=True, text=True, check=True).stdout
    assert '<th scope="row">neighbors</th><td>5,10</td>' in known
    assert '<th scope="row">neighbors</th>' not in unknown
    assert "pets-knn" in unknown


def test_a_lost_trial_is_of_the_data_that_is_recorded(tmp_path):
    lost = [Absent("b", "voc07-svm", "1", "failed: out of memory")]
    table = table_of(tmp_path, result("a"), result("b", **OLD), absent=lost)
    new, old = table.columns
    assert table.cell("b", new).missing == "failed"
    assert table.cell("b", old).number == "50.0"


def test_a_lost_trial_of_a_pair_has_the_pairs_column(tmp_path):
    table = table_of(tmp_path, result("a"), absent=[Absent("a", "imagenet-knn@pets", "0", "not finished")])
    assert table.columns[-1].protocol == "imagenet-knn@pets"
    assert table.columns[-1].metric == KNN.metric


def test_another_architecture_is_marked_by_its_name(tmp_path):
    table = table_of(tmp_path, result("a", architecture="resnet50-w0.25"), result("b", architecture="timm:vit"))
    assert [note for _, note in table.footnotes] == ["the backbone is timm:vit"]


def test_random_weights_of_a_named_model_are_said(tmp_path):
    random = {"architecture": "timm:vit", "details": {"source": "timm:vit=random"}}
    (note,) = (note for _, note in table_of(tmp_path, result(**random)).footnotes)
    assert note == "the backbone is timm:vit=random"


def test_an_old_result_names_its_backbone_in_its_details(tmp_path):
    table = table_of(tmp_path, result(**OLD | {"details": {"backbone": "timm:vit"}}))
    assert table.footnotes[0][1] == "the backbone is timm:vit"


def test_any_number_of_images_is_whole_where_none_is_expected(tmp_path):
    table = table_of(tmp_path, result(images={"train": 7, "test": 3}, images_expected={}))
    assert table.cell("m", table.columns[0]).comparable


def test_every_format_says_which_data(tmp_path):
    table = table_of(tmp_path, result("a"), result("b", **THERE))
    first, *_ = csv.DictReader(io.StringIO(csvfile.render(table)))
    assert (first["data"], first["data_sha256"]) == ("voc07", HERE["data_sha256"])
    column, _ = json.loads(jsonfile.render(table))["columns"]
    assert column["data_sha256"] == HERE["data_sha256"]
    assert "voc07 bb22bb" in text.render(table)
    page = html.render(table)
    assert "on data voc07 aa11aa" in page  # its recipe
    assert "<dt>data</dt><dd>voc07 aa11aa11aa11</dd>" in page  # its trial
    assert "<dt>input convention</dt><dd>rgb, scale 1.0, mean 0.485 0.456 0.406, std" in page


def test_a_hostile_name_of_data_is_shown_and_not_obeyed(tmp_path):
    hostile = {"data": '<script>alert("x")</script>\x1b[31m\n=1+1', "data_sha256": "=cmd" * 16}
    table = table_of(tmp_path, result("a"), result("b", **hostile))
    assert "<script>alert" not in html.render(table)
    assert "\x1b" not in text.render(table)
    assert "\x1b" not in latex.render(table)
    assert "<script>" not in markdown.render(table)
    lines = list(csv.DictReader(io.StringIO(csvfile.render(table))))
    assert {line["data_sha256"] for line in lines} == {HERE["data_sha256"], f"'{'=cmd' * 16}"}


def test_the_papers_tables_take_whatever_data_there_is(tmp_path):
    located = Located(tmp_path / "0.json", result())
    found = dict(paper.tables(Found((located,)), Options()))
    table = found["Table 3: linear classification on other data sets"]
    assert [column.protocol for column in table.columns] == ["places205-linear", "voc07-svm", "inat18-linear"]
    assert table.cell("m", table.columns[1]).number == "50.0"


def test_a_threshold_holds_on_every_data_set(tmp_path):
    table = table_of(tmp_path, result(value=60.0), result(value=50.0, **THERE))
    assert failures(table, parse_gates(["m/voc07-svm=49"])) == []
    assert failures(table, parse_gates(["m/voc07-svm=55"])) == ["m/voc07-svm: m reaches 50.00, expected 55"]


def test_two_methods_are_compared_on_the_same_data_only(tmp_path, capsys):
    for method, data in (("a", HERE), ("b", THERE)):
        for seed in (0, 1):
            result(method, 50.0 + seed, seed, **data).write(tmp_path / method / f"seed{seed}")
    assert verdicts(pair(tmp_path / "a", tmp_path / "b")) == []
    assert twinbench.main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "no protocol in common that both finished on the same, whole data" in capsys.readouterr().err


def test_rows_are_flat_and_one_a_cell(tmp_path):
    changed = SVM.with_settings({"folds": "5"})
    results = [
        *(result("a", value, seed) for seed, value in ((1, 61.0), (0, 60.0))),
        result("b", 40.0, protocol=changed, overrides={"folds": "5"}),
    ]
    first, second = rows(results)
    assert first == {
        "method": "a",
        "protocol": "voc07-svm",
        "version": 1,
        "fingerprint": SVM.fingerprint,
        "data": "voc07",
        "data_sha256": HERE["data_sha256"],
        "metric": "mAP",
        "headline": True,
        "mean": 60.5,
        "std": pytest.approx(0.5**0.5),
        "n": 2,
        "place": None,  # nothing to be better than
        "seeds": "0 1",
        "values": "60.0 61.0",
        "comparable": True,
        "overrides": "",
        "notes": "",
        "architecture": "resnet50",
        "backbone_sha256": "a" * 8,
        "precision": "fp32",
        "imported": "",
    }
    assert second["overrides"] == "folds=5"
    assert second["notes"] == "settings changed: folds=5"
    assert second["std"] is None
    assert second.keys() == first.keys()


def test_rows_hold_nothing_but_scalars_and_texts(tmp_path):
    partial = {"images": {"test": 1}, "images_expected": {"test": 2}}
    found = rows([result("a"), result("b", protocol=KNN, **OLD), result("c", **partial)])
    values = [value for row in found for value in row.values()]
    assert {type(value) for value in values} <= {str, int, float, bool, type(None)}
    assert [row["comparable"] for row in found] == [True, True, False]


def test_rows_of_files_are_those_of_the_table(tmp_path):
    for seed in (0, 1):
        result(seed=seed, value=50.0 + seed).write(tmp_path / f"seed{seed}")
    (row,) = rows(read_results([tmp_path]))
    assert (row["mean"], row["n"]) == (50.5, 2)


def test_rows_of_results_that_contradict_each_other_are_refused():
    with pytest.raises(ResultError, match=r"stands for two backbones.*results\[0\] and .*results\[1\]"):
        rows([result(), result(seed=1, convention=BGR)])


def test_no_results_are_no_rows():
    assert rows([]) == []
