import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from PIL import Image

import twinbench
from twinbench.report import csvfile, html, jsonfile, latex, markdown, text
from twinbench.report.beside import Options
from twinbench.report.table import read

HOSTILE = '<script>alert("x")</script> | **b** \x1b[31mred\nline =1+1'


@pytest.fixture
def results(write, tmp_path):
    write(tmp_path, "barlow", "voc07-svm", [86.0, 86.2, 86.4])
    write(tmp_path, "random", "voc07-svm", [50.0], converged=False)
    write(tmp_path, "barlow", "imagenet-linear", [73.2], curves={"top1 by epoch": [[1, 50], [2, 70]]})
    return tmp_path


def test_text_shows_each_number_with_its_spread(results):
    lines = text.render(read([results])).splitlines()
    barlow = next(line for line in lines if line.startswith("barlow"))
    random = next(line for line in lines if line.startswith("random"))
    assert "*86.2 ±0.2 (3)" in barlow
    assert "73.2 (n=1)" in barlow
    assert "50.0 (n=1) [a]" in random
    assert "not run" in random
    assert any(line.startswith("[a] a chosen solver stopped") for line in lines)


@pytest.mark.parametrize("width", [40, 60, 100, 200])
def test_text_folds_to_the_width_and_loses_no_column(write, tmp_path, width):
    names = ["voc07-svm", "imagenet-linear", "imagenet-knn", "voc0712-frcnn-c4", "coco-mrcnn-c4-1x"]
    for index, name in enumerate(names):
        write(tmp_path, "barlow", name, [10.0 + index, 11.0 + index])
    lines = text.render(read([tmp_path]), width).splitlines()
    assert max(map(len, lines)) <= width
    numbers = re.findall(r"(\d+\.\d) ±", "\n".join(lines))
    assert numbers == ["10.5", "11.5", "12.5", "13.5", "14.5"]


def test_markdown_is_a_table_with_best_and_second(results):
    lines = markdown.render(read([results])).splitlines()
    assert lines[0] == "| method | voc07-svm<br>mAP | imagenet-linear<br>top1 |"
    assert lines[2] == "| barlow | **86.2** ±0.2 (3) | 73.2 (n=1) |"
    assert lines[3] == "| random | <ins>50.0</ins> (n=1) <sup>a</sup> | not run |"


def test_csv_holds_full_precision_and_reads_back(results):
    rows = list(csv.DictReader(io.StringIO(csvfile.render(read([results])))))
    first = next(row for row in rows if row["method"] == "barlow" and row["protocol"] == "voc07-svm")
    assert float(first["mean"]) == pytest.approx(86.2)
    assert float(first["std"]) == pytest.approx(0.2)
    assert first["n"] == "3"
    assert first["values"] == "86.0 86.2 86.4"
    missing = next(row for row in rows if row["method"] == "random" and row["protocol"] == "imagenet-linear")
    assert (missing["mean"], missing["missing"]) == ("", "not run")


def test_seeds_that_change_nothing_are_one_trial_in_every_format(write, tmp_path):
    """The SVM is deterministic: three seeds measure one number three times, and are no sample of anything."""
    write(tmp_path, "barlow", "voc07-svm", [86.2, 86.2, 86.2])
    write(tmp_path, "random", "voc07-svm", [50.0, 50.1, 50.2])
    table = read([tmp_path])
    why = "all seeds gave the same number to the last digit: they count as one trial"
    plain = text.render(table)
    assert "86.2 (n=1) [a]" in plain
    assert "50.1 ±0.1 (3)" in plain
    assert f"[a] {why}" in plain.replace("\n", " ")
    shown = markdown.render(table)
    assert "| barlow | **86.2** (n=1) <sup>a</sup> |" in shown
    assert f"<sup>a</sup> {markdown.escape(why)}" in shown
    shown = latex.render(table)
    assert r"\textbf{86.2} {\footnotesize (n=1)}\textsuperscript{a}" in shown
    assert why in shown
    (barlow, random) = csv.DictReader(io.StringIO(csvfile.render(table)))
    assert (barlow["n"], barlow["std"], barlow["values"], barlow["notes"]) == ("1", "", "86.2 86.2 86.2", why)
    assert random["n"] == "3"
    assert float(random["std"]) == pytest.approx(0.1)
    found = json.loads(jsonfile.render(table))
    (cell,) = found["rows"][0]["cells"]
    assert (cell["n"], cell["std"], cell["values"], cell["marks"]) == (1, None, [86.2] * 3, ["a"])
    assert len(cell["trials"]) == 3
    assert found["footnotes"] == {"a": why}
    page = "".join(Reader(html.render(table)).texts)
    assert "86.2 (n=1)a" in page
    assert why in page
    assert "barlow on voc07-svm, mAP: 86.2 (n=1)" in page


def compiled(tmp_path, fragment):
    """Compile a LaTeX fragment in a document and return the log."""
    if not shutil.which("pdflatex"):
        assert not os.environ.get("CI"), "CI must install texlive-latex-base and texlive-latex-recommended"
        pytest.skip("no pdflatex on this machine")
    head = r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs}\begin{document}"
    (tmp_path / "paper.tex").write_text(f"{head}\n{fragment}\n\\end{{document}}\n")
    command = ["pdflatex", "-draftmode", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert run.returncode == 0, run.stdout[-2000:]
    return run.stdout


def test_latex_has_rules_best_and_second(results):
    lines = latex.render(read([results])).splitlines()
    assert [line for line in lines if "rule" in line] == [r"\toprule", r"\midrule", r"\bottomrule"]
    barlow = next(line for line in lines if line.startswith("{}barlow"))
    assert barlow == r"{}barlow & \textbf{86.2} {\footnotesize $\pm$0.2 (3)} & 73.2 {\footnotesize (n=1)} \\"
    random = next(line for line in lines if line.startswith("{}random"))
    assert r"\underline{50.0}" in random
    assert r"\textsuperscript{a} & \emph{not run}" in random


def test_latex_compiles_whatever_a_method_is_called(write, tmp_path):
    names = ["plain", r"\input{/etc/passwd} $x^2$ %", "[option] ~ # & _ {", "*star", 'é "ß" 中 ð ± | < >', HOSTILE]
    for number, name in enumerate(names):
        write(tmp_path, name, "voc07-svm", [50.0 + number, 51.0 + number], converged=number > 2)
    fragment = latex.render(read([tmp_path], Options(published=True, baseline="plain")))
    compiled(tmp_path, fragment)
    assert r"\textbackslash{}input\{" in fragment


def test_json_holds_what_the_others_show(results):
    found = json.loads(jsonfile.render(read([results], Options(baseline="random"))))
    barlow, random = found["rows"]
    assert (barlow["method"], barlow["cells"][0]["values"]) == ("barlow", [86.0, 86.2, 86.4])
    assert barlow["cells"][0]["std"] == pytest.approx(0.2)
    assert barlow["cells"][0]["place"] == 1
    assert random["cells"][1] == {
        "mean": None,
        "std": None,
        "n": 0,
        "values": [],
        "place": None,
        "missing": "not run",
        "marks": [],
        "trials": [],
    }
    assert found["differences"][0]["cells"][0]["value"] == pytest.approx(36.2)
    assert list(found["footnotes"]) == ["a"]


class Reader(HTMLParser):
    """Collects the texts and the tags of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


def test_text_in_results_is_never_obeyed(write, tmp_path):
    write(tmp_path, HOSTILE, "voc07-svm", [50.0], command=HOSTILE, versions={HOSTILE: HOSTILE}, selected_on=HOSTILE)
    write(tmp_path, "=cmd|calc", "voc07-svm", [40.0])
    table = read([tmp_path])
    plain = text.render(table)
    assert "\x1b" not in plain
    assert sum(line.count("<script>") for line in plain.splitlines()) == 1
    assert "<script>" not in markdown.render(table)
    assert len(markdown.render(table).splitlines()) == 6
    assert all(not row[0].startswith("=") for row in csv.reader(io.StringIO(csvfile.render(table))))
    page = Reader(html.render(table, title=HOSTILE))
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not any("alert" in text and "function" in text for text in page.texts)
    assert any(HOSTILE in text for text in page.texts)


def test_an_error_that_quotes_a_result_stays_one_plain_line(write, tmp_path, capsys):
    write(tmp_path / "a", HOSTILE, "voc07-svm", [50.0])
    write(tmp_path / "b", HOSTILE, "voc07-svm", [50.0])
    assert twinbench.main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "is there twice" in error
    assert "\x1b" not in error
    assert error.count("\n") == 1


def test_the_page_is_whole_and_loads_nothing(results):
    page = html.render(read([results]), title="Two methods")
    reader = Reader(page)
    assert "86.2" in page
    assert "73.2" in page
    assert "not run" in page
    assert "Two methods" in page
    addresses = [value for _, attrs in reader.tags for key, value in attrs.items() if key in ("src", "href")]
    assert addresses
    assert all(address.startswith(("#", "data:")) for address in addresses)
    ids = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert {address[1:] for address in addresses if address.startswith("#")} <= set(ids)
    assert len(ids) == len(set(ids))
    assert ("polyline", "line s0") in [(tag, attrs.get("class")) for tag, attrs in reader.tags]


def test_pictures_are_carried_along_and_never_read_from_elsewhere(write, tmp_path):
    write(tmp_path, "m", "coco-mrcnn-c4-1x", [30.0], pictures=["boxes.png", "../secret.png", "missing.png"])
    folder = next(tmp_path.rglob("result.json")).parent
    for path in (folder / "boxes.png", folder.parent / "secret.png"):
        Image.new("RGB", (960, 480)).save(path)
    images = [attrs for tag, attrs in Reader(html.render(read([tmp_path]))).tags if tag == "img"]
    assert len(images) == 1
    assert images[0]["src"].startswith("data:image/jpeg;base64,")
    assert (images[0]["width"], images[0]["height"]) == ("640", "320")


def test_a_sheet_of_images_in_rows_keeps_its_width(write, tmp_path):
    write(tmp_path, "m", "voc12-linear-vicregl", [30.0], pictures=["predictions.png"])
    Image.new("RGB", (750, 1300)).save(next(tmp_path.rglob("result.json")).parent / "predictions.png")
    (image,) = [attrs for tag, attrs in Reader(html.render(read([tmp_path]))).tags if tag == "img"]
    assert (image["width"], image["height"]) == ("640", "1109")


def test_the_command_writes_each_format_and_replaces_files_whole(results, capsys):
    for form in ("text", "markdown", "latex", "csv", "json", "html"):
        out = results / f"out.{form}"
        assert twinbench.main(["report", str(results), "--format", form, "--out", str(out)]) == 0
        assert "86.2" in out.read_text()
    assert capsys.readouterr().out == ""
    assert twinbench.main(["report", str(results)]) == 0
    assert "86.2" in capsys.readouterr().out


def test_an_out_that_cannot_be_written_is_one_line(results, tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    assert twinbench.main(["report", str(results), "--out", str(tmp_path / "folder")]) == 2
    error = capsys.readouterr().err
    assert "cannot be written" in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.glob(".*")) == []  # nothing half-written is left


def test_a_wrong_path_is_one_line_and_code_2(tmp_path, capsys):
    assert twinbench.main(["report", str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["protocols", "--json"], ["report", "RESULTS", "--format", "html"]])
def test_tables_and_plans_need_neither_torch_nor_detectron2(results, arguments):
    hook = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'torchvision', 'detectron2', 'sklearn', 'submitit'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "import twinbench\n"
        f"sys.exit(twinbench.main({[str(results) if word == 'RESULTS' else word for word in arguments]!r}))\n"
    )
    run = subprocess.run([sys.executable, "-c", hook], capture_output=True, text=True, check=False)
    assert run.returncode == 0
    assert run.stderr == ""
    assert json.loads(run.stdout) if arguments[0] == "protocols" else "86.2" in run.stdout
