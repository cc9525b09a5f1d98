"""The paper's tables and its ablations: what fills them, and what never shares a column."""

import re
from pathlib import Path

import pytest
import yaml

import twinbench
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.published import ABLATIONS, published_for
from twinbench.report import ablations, paper
from twinbench.report.beside import Options
from twinbench.report.files import Found, find

DOCS = Path(__file__).parents[1] / "docs"
ONE = "Table 1: linear classification on ImageNet"
TWO = "Table 2: ImageNet with 1 % and 10 % of the labels"
LOSS = "Table 5: the loss, 300 epochs"
ASYMMETRY = "Table 6: asymmetry, 300 epochs"
BATCHES = "Figure 2: the batch size, 300 epochs"
PROJECTOR = "Figure 4: the size of the projector, 300 epochs"


def tables(root, **options):
    return dict(paper.tables(find([root]), Options(**options)))


def rows(table):
    """Return method -> (top1, top5) as they are printed."""
    return {method: tuple(table.cell(method, column).shown for column in table.columns) for method in table.methods}


def test_the_papers_tables_stand_without_any_result():
    found = dict(paper.tables(Found(()), Options()))
    table = found["Table 4: detection and instance segmentation"]
    numbers = [
        (column.metric, table.cell("Barlow Twins, published", column).number)
        for column in table.columns
        if column.protocol == "coco-mrcnn-c4-1x"
    ]
    assert numbers == [
        ("box-AP", "39.2"),
        ("box-AP50", "59.0"),
        ("box-AP75", "42.5"),
        ("mask-AP", "34.3"),
        ("mask-AP50", "56.0"),
        ("mask-AP75", "36.5"),
    ]
    assert set(table.methods) == set(table.published)


def test_the_papers_tables_fill_as_results_arrive(write, tmp_path):
    write(tmp_path, "barlow-twins", "imagenet-linear", [{"top1": 73.4, "top5": 91.2}])
    found = dict(paper.tables(find([tmp_path]), Options()))
    first = found["Table 1: linear classification on ImageNet"]
    assert [first.cell("barlow-twins", column).number for column in first.columns] == ["73.4", "91.2"]
    assert first.methods[:2] == ("barlow-twins", "Barlow Twins, published")
    assert first.contrasts[0].shown("barlow-twins", first.columns[0]) == "+0.2"
    write(tmp_path, "barlow-twins", "imagenet-1pct", [54.0])
    found = dict(paper.tables(find([tmp_path]), Options()))
    second = found["Table 2: ImageNet with 1 % and 10 % of the labels"]
    missing = [second.cell("barlow-twins", column).missing for column in second.columns[1:]]
    assert missing == ["not run", "not recorded", "not run"]  # 10 % top1, 1 % top5, 10 % top5


def test_the_command_prints_the_skeleton_in_each_format(capsys):
    for form in ("text", "markdown", "latex", "csv", "json", "html"):
        assert twinbench.main(["report", "--paper", "--format", form]) == 0
        assert "86.2" in capsys.readouterr().out
    assert twinbench.main(["report"]) == 2
    assert "no RESULTS given; expected" in capsys.readouterr().err


def test_a_title_is_latex_where_the_tables_are(capsys):
    """A bare % hid the rest of Table 2's title."""
    assert twinbench.main(["report", "--paper", "--format", "latex"]) == 0
    assert "\nTable 2: ImageNet with 1 \\% and 10 \\% of the labels\n" in capsys.readouterr().out


# The paper's Tables 5 and 6, top-1 and top-5
PRINTED = {
    LOSS: {
        "Baseline": (71.4, 90.2),
        "Only invariance (on-diag)": (57.3, 80.5),
        "Only redundancy reduction (off-diag)": (0.1, 0.5),
        "Normalization along feature dim": (69.8, 88.8),
        "No BN in MLP": (71.2, 89.7),
        "No BN in MLP + no normalization": (53.4, 76.7),
        "Cross-entropy with temperature": (63.3, 85.7),
    },
    ASYMMETRY: {
        "Baseline": (71.4, 90.2),
        "(a) stop-gradient": (70.5, 89.0),
        "(b) predictor": (70.2, 89.0),
        "(c) stop-gradient + predictor": (61.3, 83.5),
    },
}


@pytest.mark.parametrize("title", PRINTED)
def test_the_skeleton_has_each_number_of_an_ablation_below_the_method_it_belongs_to(title):
    table = dict(paper.tables(Found(()), Options()))[title]
    shown = list(rows(table).items())
    own, printed = shown[::2], shown[1::2]
    assert all(numbers == ("not run", "not run") for _, numbers in own)
    found = {name.removesuffix(", published"): tuple(map(float, numbers)) for name, numbers in printed}
    assert found == PRINTED[title]
    assert list(table.own_published.values()) == [method for method, _ in own]


def test_an_ablation_that_was_measured_is_compared_under_its_suites_name(write, tmp_path):
    write(tmp_path, "no-bn", "imagenet-linear", [{"top1": 71.5, "top5": 89.6}])
    found = tables(tmp_path)
    assert rows(found[LOSS])["no-bn"] == ("71.5 (n=1)", "89.6 (n=1)")
    (contrast,) = found[LOSS].contrasts
    assert [contrast.shown("no-bn", column) for column in found[LOSS].columns] == ["+0.3", "-0.1"]
    assert not {ASYMMETRY, BATCHES, PROJECTOR}.intersection(found)


def test_a_method_called_otherwise_is_the_ablation_that_same_says(write, tmp_path, capsys):
    write(tmp_path, "mine", "imagenet-linear", [{"top1": 70.0, "top5": 89.0}])
    found = tables(tmp_path, same={"mine": "(b) predictor"})
    assert list(rows(found[ASYMMETRY]))[4:6] == ["mine", "(b) predictor, published"]
    command = ["report", str(tmp_path), "--paper", "--same"]
    assert twinbench.main([*command, "mine=(b) predictor"]) == 0
    assert twinbench.main([*command, "mine=(d) predictor"]) == 2
    assert "unknown published method '(d) predictor'. Did you mean '(b) predictor'" in capsys.readouterr().err


def test_published_numbers_of_300_epochs_stand_in_no_column_of_1000(write, tmp_path):
    everything = published_for(PROTOCOLS["imagenet-linear"], "")
    assert ABLATIONS not in {entry.task for entry in everything}
    write(tmp_path, "predictor", "imagenet-linear", [{"top1": 70.0, "top5": 89.0}])
    found = tables(tmp_path, source="")
    assert "(b) predictor, published" in found[ASYMMETRY].methods
    assert not any("predictor," in method for method in found[ONE].methods)
    assert "Barlow Twins, published" not in found[ASYMMETRY].methods


def test_an_ablation_stands_in_tables_1_to_4_only_where_it_ran(write, tmp_path):
    write(tmp_path, "no-bn", "imagenet-linear", [{"top1": 71.5, "top5": 89.6}])
    write(tmp_path, "mine", "imagenet-linear", [{"top1": 73.0, "top5": 91.0}])
    found = tables(tmp_path, baseline="no-bn")
    assert found[ONE].measured == ["mine", "no-bn"]
    assert found[TWO].measured == ["mine"]


def test_a_baseline_alone_is_anybodys(write, tmp_path):
    write(tmp_path, "baseline", "voc07-svm", [80.0])
    found = tables(tmp_path)
    assert len(found) == len(paper.TABLES)
    assert found[ONE].measured == ["baseline"]


def test_figures_that_print_nothing_are_the_measured_rows_in_their_order(write, tmp_path):
    write(tmp_path, "projector-16384", "imagenet-linear", [{"top1": 71.8, "top5": 90.4}])
    write(tmp_path, "projector-512", "imagenet-linear", [{"top1": 66.0, "top5": 87.0}])
    table = tables(tmp_path)[PROJECTOR]
    assert [top1 for top1, _ in rows(table).values()] == ["66.0 (n=1)", "not run", "not run", "71.8 (n=1)"]
    assert table.published == frozenset()


def test_batch_sizes_have_the_captions_numbers_and_the_authors():
    table = dict(paper.tables(Found(()), Options()))[BATCHES]
    found = {method: float(top1) for method, (top1, _) in rows(table).items() if method in table.published}
    assert found == {
        "Barlow Twins, batch size 128, facebookresearch/barlowtwins": 69.7,
        "Barlow Twins, batch size 256, facebookresearch/barlowtwins": 70.7,
        "Barlow Twins, batch size 512, facebookresearch/barlowtwins": 71.4,
        "Barlow Twins, batch size 1024, facebookresearch/barlowtwins": 71.7,
        "Barlow Twins, batch size 2048, facebookresearch/barlowtwins": 71.4,
        "Barlow Twins, batch size 4096, facebookresearch/barlowtwins": 70.7,
        "Barlow Twins, batch size 1024, arXiv:2103.03230": 71.7,
        "BYOL, batch size 4096, arXiv:2103.03230": 72.5,
        "SimCLR, batch size 4096, arXiv:2103.03230": 67.1,
    }


def test_the_ablations_rows_are_the_methods_of_the_suite_that_the_page_shows():
    blocks = re.findall(r"```yaml\n(.*?)```", (DOCS / "paper.md").read_text(), re.DOTALL)
    (suite,) = [found for text in blocks if (found := yaml.safe_load(text))["name"] == "ablations"]
    asked = {method for entry in ablations.TABLES for method in entry.rows}
    others = {method for method in suite["methods"] if method.startswith("objective-")}
    assert set(suite["methods"]) - others == asked
