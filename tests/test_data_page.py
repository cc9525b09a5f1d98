"""The page "Your data": its examples run, it names every form and option, and its errors are what is said."""

import contextlib
import itertools
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

import twinbench
from twinbench.data.source import COMMON, FORMS
from twinbench.data.usage import sources_help
from twinbench.report.result import read_result

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "your-data.md").read_text()


def block(language: str) -> str:
    """Return the only block of a language on the page."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the page's lines ran: those of `twinbench` in this process, the others in a shell."""
    folder = tmp_path_factory.mktemp("page")
    with contextlib.chdir(folder):
        for is_ours, lines in itertools.groupby(block("sh").splitlines(), lambda line: line.startswith("twinbench ")):
            if not is_ours:
                subprocess.run(["sh", "-ec", "\n".join(lines)], check=True)
                continue
            for line in lines:
                assert twinbench.main(shlex.split(line)[1:]) == 0, line
    return folder


def test_the_examples_give_equal_numbers(folder: Path) -> None:
    found = [read_result(folder / "results" / name / "result.json").metrics for name in ("folder", "list", "tar")]
    assert found[1:] == found[:1] * 2


def test_the_example_in_python_gives_them_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    exec(block("python"), {})
    found, expected = (read_result(folder / "results" / name / "result.json") for name in ("python", "tar"))
    assert found.metrics == expected.metrics


@pytest.mark.parametrize("form", FORMS)
def test_every_form_and_option_is_on_the_page(form: str) -> None:
    missing = [name for name in (*COMMON, *FORMS[form].options) if not re.search(rf"[?&`]{name}=|`{name}`", PAGE)]
    assert f"`{form}:" in PAGE
    assert missing == []


@pytest.mark.parametrize("command", [("data",), ("data", "check"), ("transfer",), ("pretrain",)], ids=" ".join)
def test_help_names_every_form(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        twinbench.main([*command, "--help"])
    assert sources_help() in capsys.readouterr().out


@pytest.mark.parametrize("form", FORMS)
def test_an_example_of_a_form_is_read_as_that_form(form: str) -> None:
    from twinbench.data.source import Source

    assert Source.of(FORMS[form].example).form == form


def a_class_less(root: Path) -> str:
    shutil.rmtree(root / "imagenet/val/n00000003")
    return str(root / "imagenet")


def all_of_one_colour(root: Path) -> str:
    for path in (root / "imagenet/val").rglob("*.JPEG"):
        Image.new("RGB", (9, 9), (70, 70, 70)).save(path)
    return str(root / "imagenet")


def ones_and_zeros(root: Path) -> str:
    for path in (root / "VOCdevkit/VOC2007/ImageSets/Main").glob("*_trainval.txt"):
        path.write_text(path.read_text().replace("-1", " 0"))
    return str(root / "VOCdevkit")


def a_class_everywhere(root: Path) -> str:
    images = sorted((root / "imagenet/train").rglob("*.JPEG"))
    for name, some in (("train.csv", images[::2]), ("val.csv", images[1::2])):
        (root / name).write_text("path,cat,dog\n" + "".join(f"{path},1,{k % 2}\n" for k, path in enumerate(some)))
    return f"list:{root}/train.csv"


def an_archive(root: Path) -> str:
    (root / "pets.tar").touch()
    return str(root / "pets.tar")


KNN = "demo-imagenet-knn@mine"


@pytest.mark.parametrize(
    ("protocol", "data", "said"),
    [
        ("demo-voc07-svm@mine", ones_and_zeros, "no image is marked -1"),
        ("demo-voc07-svm@mine", a_class_everywhere, "0 negative and 0 ignored train images"),
        (KNN, a_class_less, " is in one only"),
        (
            "imagenet-knn",
            lambda root: str(root / "imagenet"),
            "10 classes in the train split, but imagenet-knn has 1000",
        ),
        (KNN, lambda root: str(root / "VOCdevkit"), "multi-label data, but "),
        (KNN, all_of_one_colour, " is one colour all over"),
        (KNN, lambda _: "foo:bar", "unknown form of data 'foo'"),
        (KNN, an_archive, "give it as tar:"),
        ("demo-coco-mrcnn-c4-1x", lambda root: f"list:{root}/places", "expected boxes in a folder, or coco:"),
    ],
)
def test_an_error_is_the_pages(
    protocol: str, data, said: str, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in PAGE
    root = Path(shutil.copytree(scenes, tmp_path / "scenes"))
    room = "detection" if "rcnn" in protocol else "transfer"
    words = [room, protocol, "random", data(root), str(tmp_path / "out"), "--device", "cpu"]
    assert twinbench.main(words) == 2
    assert said in capsys.readouterr().err
