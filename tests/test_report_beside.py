from collections import Counter

import pytest

import twinbench
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.published import BARLOW_TWINS, orphans, published, published_for
from twinbench.report import latex, markdown, text
from twinbench.report.beside import OptionError, Options
from twinbench.report.files import Found, Located
from twinbench.report.gate import GateError, failures, parse_gates
from twinbench.report.result import Result
from twinbench.report.table import build


def located(path, method, name, values, **changes):
    protocol = PROTOCOLS[name]
    if settings := changes.pop("settings", {}):
        protocol = protocol.with_settings(settings)
    return [
        Located(
            path / method / name / f"seed{seed}" / "result.json",
            Result(
                protocol=name,
                version=protocol.version,
                fingerprint=protocol.fingerprint,
                method=method,
                seed=seed,
                metrics={protocol.metric: value},
                headline=protocol.metric,
                backbone_sha256=method,
                overrides=dict(protocol.overrides),
                **{"data": "complete", "data_sha256": "d" * 64, **changes},
            ),
        )
        for seed, value in enumerate(values)
    ]


def table_of(*groups, **options):
    return build(Found(tuple(entry for group in groups for entry in group)), Options(**options))


def test_the_papers_numbers_are_shipped():
    """Tables 1 to 6 of the paper, as many numbers as it prints for ResNet-50, and a few of them by value."""
    of_the_paper = [entry for entry in published() if entry.paper == BARLOW_TWINS]
    rows = {(entry.task, entry.metric, entry.method): entry.value for entry in of_the_paper}
    assert rows["imagenet_linear", "top1", "Barlow Twins"] == 73.2
    assert rows["imagenet_semi_1pct", "top5", "Barlow Twins"] == 79.2
    assert rows["voc07_svm", "mAP", "Barlow Twins"] == 86.2
    assert rows["voc0712_det_c4", "AP75", "Barlow Twins"] == 63.4
    assert rows["coco_det_c4_1x", "mask-AP", "Barlow Twins"] == 34.3
    tables = Counter(entry.where for entry in of_the_paper)
    assert tables == {
        **{"Table 1": 14, "Table 2": 22, "Table 3": 21, "Table 4": 5 * 9, "Table 5": 14, "Table 6": 8},
        "Figure 2, caption": 3,
    }


def test_every_published_number_is_a_percent_with_a_source():
    for entry in published():
        assert 0 < entry.value < 100 and entry.paper and entry.where and entry.metric, entry


def test_every_protocol_finds_its_published_numbers():
    """A protocol's published numbers carry a metric that it is known by; none is filed where no protocol looks."""
    for protocol in PROTOCOLS.values():
        if protocol.published_as:
            found = {entry.metric for entry in published_for(protocol)}
            assert found & {protocol.metric, *protocol.also}, protocol.name
    assert not orphans()


def test_numbers_of_a_recipe_of_its_own_are_not_anothers():
    """VICReg ran Places205 and iNat18 by its own text; PCL and MMSelfSup their own low-shot SVMs."""
    rows = {(entry.task, entry.paper, entry.method) for entry in published()}
    assert ("inat18_linear_vicreg", "arXiv:2105.04906", "VICReg") in rows
    assert ("places205_linear_vicreg", "arXiv:2105.04906", "VICReg") in rows
    assert ("inat18_linear", "arXiv:2105.04906", "Barlow Twins") in rows  # taken over from its own paper
    for task in ("inat18_linear", "places205_linear"):
        assert not any(row[0] == task and row[2] == "VICReg" for row in rows)
    low_shot = {paper: task for task, paper, _ in rows if "lowshot" in task}
    assert low_shot == {
        "salesforce/PCL": "voc07_svm_lowshot_pcl",
        "open-mmlab/OpenSelfSup": "voc07_svm_lowshot_mmselfsup",
        "open-mmlab/mmselfsup": "voc07_svm_lowshot_mmselfsup",
    }


def test_a_changed_recipe_has_no_published_numbers():
    changed = PROTOCOLS["voc07-svm"].with_settings({"folds": "5"})
    assert published_for(PROTOCOLS["voc07-svm"])
    assert not published_for(changed)


def test_published_rows_stand_beside_measured_ones(tmp_path):
    table = table_of(
        located(tmp_path, "barlow-twins", "voc07-svm", [85.0, 85.2]),
        located(tmp_path, "random", "voc07-svm", [50.0]),
        published=True,
    )
    assert table.methods[:3] == ("barlow-twins", "Barlow Twins, published", "random")
    (column,) = table.columns
    cell = table.cell("Barlow Twins, published", column)
    assert cell.shown == "86.2"
    assert cell.place == 0
    notes = dict(table.footnotes)
    assert "arXiv:2103.03230, Table 3; not stated: number of runs" in notes[table.marks(cell)[0]]


def test_published_numbers_are_never_best_unless_asked(tmp_path):
    groups = located(tmp_path, "a", "voc07-svm", [60.0]), located(tmp_path, "b", "voc07-svm", [50.0])
    for asked in (False, True):
        table = table_of(*groups, published=True, rank_published=asked)
        best = {method for method in table.methods if table.cell(method, table.columns[0]).place == 1}
        assert best == ({"SwAV, published"} if asked else {"a"})


def test_measured_minus_published(tmp_path):
    table = table_of(
        located(tmp_path, "mine", "voc07-svm", [86.0, 87.0]),
        published=True,
        same={"mine": "Barlow Twins"},
    )
    (contrast,) = table.contrasts
    assert contrast.title.startswith("minus Barlow Twins, published")
    assert contrast.cells["mine", table.columns[0]].value == pytest.approx(86.5 - 86.2)


def test_sources_are_named_where_there_is_more_than_one(tmp_path):
    table = table_of(located(tmp_path, "m", "voc07-svm", [80.0]), published=True, source="")
    assert "Barlow Twins, arXiv:2105.04906" in table.methods
    assert "Barlow Twins, arXiv:2103.03230" in table.methods


def test_published_numbers_are_not_put_beside_other_recipes(tmp_path):
    group = located(tmp_path, "m", "voc07-svm", [80.0], settings={"folds": "5"})
    assert table_of(group, published=True).methods == ("m",)
    demo = located(tmp_path, "m", "demo-voc07-svm", [80.0])
    assert table_of(demo, published=True).methods == ("m",)


def test_a_baseline_with_nothing_comparable_is_said(tmp_path):
    table = table_of(
        located(tmp_path, "a", "voc07-svm", [80.0], images={"train": 1}, images_expected={"train": 5011}),
        located(tmp_path, "b", "voc07-svm", [70.0]),
        baseline="b",
    )
    (contrast,) = table.contrasts
    assert not contrast.cells
    assert contrast.how.startswith("nothing to subtract")
    for writer in (text.render, markdown.render, latex.render):
        assert "nothing to subtract" in writer(table)


def test_a_baseline_is_subtracted_from_the_others(tmp_path):
    table = table_of(
        located(tmp_path, "a", "voc07-svm", [60.0, 61.0, 62.0]),
        located(tmp_path, "b", "voc07-svm", [50.0, 51.5, 51.0]),
        located(tmp_path, "b", "imagenet-knn", [20.0]),
        baseline="b",
    )
    (contrast,) = table.contrasts
    assert list(contrast.cells) == [("a", table.columns[0])]
    assert contrast.cells["a", table.columns[0]].value == pytest.approx(61 - 152.5 / 3)
    assert contrast.rows(table) == ["a"]


def test_partial_data_is_not_subtracted(tmp_path):
    counts = {"images": {"test": 10}, "images_expected": {"test": 100}}
    table = table_of(
        located(tmp_path, "a", "voc07-svm", [60.0], **counts), located(tmp_path, "b", "voc07-svm", [50.0]), baseline="b"
    )
    assert not table.contrasts[0].cells


def test_average_ranks_count_the_tasks_that_all_finished(tmp_path):
    table = table_of(
        located(tmp_path, "a", "voc07-svm", [60.0]),
        located(tmp_path, "b", "voc07-svm", [50.0]),
        located(tmp_path, "a", "imagenet-knn", [20.0]),
        located(tmp_path, "b", "imagenet-knn", [30.0]),
        located(tmp_path, "a", "imagenet-linear", [70.0]),
        located(tmp_path, "b", "imagenet-linear", [70.0]),
        located(tmp_path, "a", "imagenet-1pct", [10.0]),
    )
    assert table.ranked_tasks == 3
    assert dict(table.ranks) == {"a": 1.5, "b": 1.5}
    assert not table_of(located(tmp_path, "a", "voc07-svm", [60.0]), located(tmp_path, "b", "voc07-svm", [1.0])).ranks


def test_a_method_that_is_not_there_is_named_with_the_others(tmp_path):
    group = located(tmp_path, "barlow", "voc07-svm", [60.0])
    with pytest.raises(OptionError, match="--baseline barlo: unknown method 'barlo'. Did you mean 'barlow'"):
        table_of(group, baseline="barlo")
    with pytest.raises(OptionError, match="--same mine=...: unknown method 'mine'"):
        table_of(group, published=True, same={"mine": "x"})


def test_thresholds(tmp_path):
    counts = {"images": {"test": 10}, "images_expected": {"test": 100}}
    table = table_of(
        located(tmp_path, "a", "voc07-svm", [60.0, 61.0]),
        located(tmp_path, "b", "voc07-svm", [50.0]),
        located(tmp_path, "c", "voc07-svm", [90.0], **counts),
    )
    assert failures(table, parse_gates(["a/voc07-svm=60.5"])) == []
    assert failures(table, parse_gates(["a/voc07-svm:mAP=60.51"])) == [
        "a/voc07-svm:mAP: a reaches 60.50, expected 60.51",
    ]
    everybody = failures(table, parse_gates(["voc07-svm=55"]))
    assert [line.split(":")[1].split()[0] for line in everybody] == ["b", "c"]
    assert "no number on complete data" in everybody[1]
    assert "expected at least 1" in failures(table, parse_gates(["a/imagenet-knn=1"]))[0]


@pytest.mark.parametrize("text", ["voc07-svm", "=85", "voc07-svm=high", "voc07-svm=nan"])
def test_a_threshold_that_says_nothing(text):
    with pytest.raises(GateError, match="expected .METHOD/.PROTOCOL"):
        parse_gates([text])


def test_the_command_fails_below_a_threshold(tmp_path, capsys):
    for entry in located(tmp_path, "a", "voc07-svm", [60.0]):
        entry.result.write(entry.path.parent)
    command = ["report", str(tmp_path), "--published", "--same", "a=Barlow Twins", "--format", "json"]
    assert twinbench.main([*command, "--fail-below", "voc07-svm=59"]) == 0
    assert twinbench.main([*command, "--fail-below", "voc07-svm=85.0"]) == 1
    assert "a reaches 60.00, expected 85" in capsys.readouterr().err
    assert twinbench.main([*command, "--fail-below", "voc08-svm=85.0"]) == 2
    assert twinbench.main(["report", str(tmp_path), "--same", "a"]) == 2
    assert "expected METHOD=NAME" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--published --source mocco", "--source mocco: unknown paper, place or method 'mocco'. Known: arXiv:"),
        ("--published --same a=Barlo", "--same a=Barlo: unknown published method 'Barlo'. Did you mean 'Barlow Twins'"),
        ("--paper --same a=Barlo", "--same a=Barlo: unknown published method 'Barlo'. Did you mean 'Barlow Twins'"),
        ("--same a=SwAV", "--same a=SwAV: names a published row, and none is shown; add --published"),
        ("--source moco", "--source moco: is of published rows, and none is shown; add --published"),
        ("--rank-published", "--rank-published: is of published rows, and none is shown; add --published"),
    ],
)
def test_what_matches_no_published_number_is_a_mistake(words, said, tmp_path, capsys):
    for entry in located(tmp_path, "a", "voc07-svm", [60.0]):
        entry.result.write(entry.path.parent)
    assert twinbench.main(["report", str(tmp_path), *words.split()]) == 2
    assert said in capsys.readouterr().err


def test_a_source_where_nothing_is_published_is_a_mistake(tmp_path, capsys):
    for entry in located(tmp_path, "a", "demo-voc07-svm", [60.0]):
        entry.result.write(entry.path.parent)
    assert twinbench.main(["report", str(tmp_path), "--published"]) == 0
    assert twinbench.main(["report", str(tmp_path), "--published", "--source", "moco"]) == 2
    assert "no number is published for the columns of this table" in capsys.readouterr().err
    assert twinbench.main(["report", str(tmp_path), "--published", "--same", "a=Barlow Twins"]) == 2
    assert "--same a=Barlow Twins: no number is published in arXiv:2103.03230 for" in capsys.readouterr().err
