"""The corpus: results that this repository keeps with their logs, and the page that is made of them.

    python corpus/tool.py data DIR CIFAR10      the images that suite.yaml measures on, below DIR/data
    python corpus/tool.py collect DIR           finished trials below DIR/results into corpus/results, without paths
    python corpus/tool.py page                  docs/leaderboard.md, from corpus/results and nothing else

DIR holds a copy of suite.yaml. CIFAR10 is a folder with train/<class>/ and test/<class>/.
"""

import argparse
import re
import shutil
import sys
from pathlib import Path

import twinbench
from twinbench.protocols.house import UserError, replacing
from twinbench.report import markdown
from twinbench.report.table import read

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "leaderboard.md"
HEAD = HERE / "head.md"  # the page's text above its table
KEPT = ("result.json", "log.jsonl", "job.log")  # of a trial; no weights, features or pictures
PART = {"train": 500, "test": 100}  # images a class of CIFAR-10: a tenth
DIGITS_TRAINED = 1297  # of scikit-learn's 1,797; the last 500 test
INTERPRETER = re.compile(r"^\$ \S*/(python[\d.]*)", re.MULTILINE)  # of a job.log's command line
ROOTED = re.compile(r"(?<![\w.:/~-])/(?:[\w.+-]+/)+[\w.+-]*")  # a path from the root of somebody's machine


class CorpusError(UserError):
    """Trials that may not be kept as they are."""


def make_data(folder: Path, cifar10: Path) -> None:
    """Lay out a tenth of CIFAR-10 and scikit-learn's digits as class folders."""
    for split, count in PART.items():
        classes = sorted(path for path in (cifar10 / split).glob("*") if path.is_dir())
        if len(classes) != 10:
            raise CorpusError(f"{cifar10 / split}: {len(classes)} class folders; expected CIFAR-10's 10")
        for place in classes:
            target = folder / "data" / "cifar10-tenth" / split / place.name
            target.mkdir(parents=True, exist_ok=True)
            for image in sorted(place.iterdir())[:count]:
                shutil.copyfile(image, target / image.name)
    _make_digits(folder / "data" / "digits")


def _make_digits(folder: Path) -> None:
    """Write each digit as a PNG of 8 x 8 pixels."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        split = "train" if number < DIGITS_TRAINED else "test"
        target = folder / split / str(label)
        target.mkdir(parents=True, exist_ok=True)
        levels = (pixels * 255 / 16).round().astype("uint8")  # load_digits has 0 to 16
        Image.fromarray(levels).save(target / f"{number:04}.png")


def collect(folder: Path) -> list[Path]:
    """Copy the trials of a finished suite into the corpus and return their folders there.

    Paths below `folder` become relative, the code's own root `code`, the interpreter `python`; nothing else is changed.
    CorpusError for a number that is no measurement of a committed code, and where a path of the machine would be left.
    """
    kept: list[Path] = []
    for path in sorted((folder / "results").rglob("seed*/result.json")):
        (result,) = twinbench.read_results([path])
        if result.imported or result.code.get("dirty") != "False":
            raise CorpusError(f"{path}: expected a trial measured by twinbench at a commit, without local changes")
        target = RESULTS / path.parent.relative_to(folder / "results")
        names = {str(folder.resolve()): ".", result.code["root"]: "code"}
        for name in KEPT:
            if (source := path.parent / name).exists():
                text = _without_paths(source, names)
                with replacing(target / name) as beside:
                    beside.write_text(text)
        kept.append(target)
    if not kept:
        raise CorpusError(f"{folder / 'results'}: no finished trial; run: twinbench suite run {folder}/suite.yaml")
    return kept


def _without_paths(source: Path, names: dict[str, str]) -> str:
    """Return a file's text with the machine's paths replaced by `names`."""
    text = INTERPRETER.sub(r"$ \1", source.read_text())
    for path, name in names.items():
        text = text.replace(path, name)
    if found := ROOTED.search(text):
        raise CorpusError(
            f"{source}: would tell the path {found[0]}; run the suite with all it needs in its own folder"
        )
    return text


def page() -> str:
    """Return the page: its head, and the table of all that the corpus holds."""
    table = markdown.render(read([RESULTS]))
    cells = len(list(RESULTS.rglob("result.json")))
    return f"{HEAD.read_text()}\n## The table\n\n{cells} trials.\n\n{table}"


def main(argv: list[str]) -> int:
    """Run one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("data", "collect", "page"))
    parser.add_argument("places", nargs="*", type=Path)
    given = parser.parse_args(argv)
    wanted = {"data": 2, "collect": 1, "page": 0}[given.task]
    if len(given.places) != wanted:
        parser.error(f"{given.task} takes {wanted} folders; see --help")
    try:
        if given.task == "data":
            make_data(*given.places)
        elif given.task == "collect":
            print(*collect(given.places[0]), sep="\n")
        else:
            PAGE.write_text(page())
    except UserError as error:
        print(f"corpus: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
