"""Images by list: `list:FILE` and `list:TRAIN,TEST`, text or a table, with one or several labels an image.

| DATA                                  | the training images | the test images                               |
|---------------------------------------|---------------------|-----------------------------------------------|
| `list:train.txt,val.txt`              | the first list      | the second                                    |
| `list:all.csv`, with a column `split` | rows of `train`     | rows of `val` or `test`, if it has only one   |
| `list:train.txt`                      | the list            | val.txt or test.txt beside it, if only one is |

`?train=VALUE&test=VALUE` say which rows of the column are meant; `train+val` are both. Lines are explained in
`rows.py`, columns in `tables.py`, labels in `label_texts.py`. Names start from the list's folder, or from one near it
in which the images are found, or from `?root=DIR`.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from twinbench.data.classes import OTHERS, kept_classes
from twinbench.data.errors import DataError
from twinbench.data.labelled import LabelledImages
from twinbench.data.lists.label_texts import Scheme, scheme_of
from twinbench.data.lists.placed import placed, tidy
from twinbench.data.lists.rows import Rows, read_plain
from twinbench.data.lists.suggest import suggested
from twinbench.data.lists.tables import delimiter_of, read_table
from twinbench.data.source import SPLITS, Source

TRAIN = ("train", "training", "trn")
TESTS = (("val", "valid", "validation", "dev"), ("test", "testing", "tst"))  # two splits: both there is no answer
OTHER_SPLITS = "lines of other splits"
REPEATED = "lines that name an image once more, with the same label"
IMAGES = "images"  # what the folder beside a list is often called


def read_listed(source: Source, split: str) -> LabelledImages:
    """Return one split in the order of its list. The classes are those of the training list."""
    files = _given(source)
    rows = _read(source, files[0])
    in_one = len(files) == 1 and bool(rows.splits)
    train, left_out = _of_split(source, rows, "train") if in_one else (rows, {})
    scheme = scheme_of(train, source.options.get("separator", ""))
    if split == "train":
        rows = train
    elif in_one:
        rows, left_out = _of_split(source, rows, "test")
    else:
        files = files if len(files) == 2 else (*files, _beside(files[0]))
        rows = _read(source, files[1])
    if not in_one and (odd := {*SPLITS, "split"} & source.options.keys()):
        raise DataError(
            f"{source}: ?{min(odd)}= is about a column of splits in one list of all; give one such, or leave it"
        )
    if split == "test":
        rows, left_out = _of_kept_classes(source, rows, scheme, left_out)
    rows, repeated = _once(rows)
    if repeated:
        left_out = left_out | {REPEATED: repeated}
    targets = scheme.targets(rows)
    images = placed(rows.file, rows.names, _roots(source, rows.file), "root")
    return LabelledImages(images, targets, scheme.classes, images.root, files, left_out)


def _given(source: Source) -> tuple[Path, ...]:
    """Return the one or two lists that the user names; DataError where one is missing."""
    files = source.places
    if len(files) > 2:
        raise DataError(f"{source}: {len(files)} lists; expected one, or one of training and one of test images")
    for file in files:
        if file.is_dir():
            raise DataError(f"{file}: a folder; expected a list of images; {suggested(file) or 'give a list in it'}")
        if not file.is_file():
            raise DataError(f"{file}: no such list; expected a file with an image and its label a line; check the path")
    return files


def _beside(file: Path) -> Path:
    """Return the list of test images that lies beside one of training images; DataError unless just one does."""
    found = siblings(file)
    if len(found) == 1:
        return found[0]
    state = f"both {found[0].name} and {found[1].name} beside it" if found else "no list of test images beside it"
    raise DataError(f"{file}: no column of splits in it, and {state}; expected one; give both lists: list:{file},TEST")


def siblings(file: Path) -> list[Path]:
    """Return the lists beside a training list that are called like it, with another split's name for `train`."""
    match = re.search(r"training|train", file.name, re.IGNORECASE)
    if not match:
        return []
    found: list[Path] = []
    for word in (word for words in TESTS for word in words):
        spelled = word.capitalize() if match[0][0].isupper() else word
        beside = file.with_name(file.name[: match.start()] + spelled + file.name[match.end() :])
        if beside.is_file():
            found.append(beside)
    return found


def _read(source: Source, file: Path) -> Rows:
    """Return all lines of a list; DataError if there are none."""
    delimiter = delimiter_of(file, source)
    rows = read_table(file, delimiter, source) if delimiter else read_plain(file)
    if not rows.names:
        raise DataError(f"{file}: an empty list; expected an image and its label a line")
    return rows


def _of_split(source: Source, rows: Rows, split: str) -> tuple[Rows, dict[str, int]]:
    """Return the lines of a split, and how many others there are."""
    wanted = _wanted(source, rows, split)
    places = [place for place, value in enumerate(rows.splits) if value in wanted]
    others = len(rows.names) - len(places)
    return rows.select(places), {OTHER_SPLITS: others} if others else {}


def _wanted(source: Source, rows: Rows, split: str) -> set[str]:
    """Return the values of the column that mean a split; DataError unless it can be told."""
    counts = Counter(rows.splits)
    told = ", ".join(f"'{value}' ({count:,})" for value, count in counts.most_common(8))
    if given := source.named(split):
        values = {given} if given in counts else set(re.split(r"[+ ]", given))  # a + in an option reads as a blank
        if values <= counts.keys():
            return values
        raise DataError(f"{rows.file}: no split '{given}'; expected one of {told}; check ?{split}=")
    groups = (TRAIN,) if split == "train" else TESTS
    found = [[value for value in counts if value.lower() in names] for names in groups]
    found = [values for values in found if values]
    if len(found) == 1 and len(found[0]) == 1:
        return set(found[0])
    state = "several splits that could be" if found else "no split that is called as"
    raise DataError(f"{rows.file}: {state} the {split} images: {told}; expected one; say which it is: ?{split}=VALUE")


def _of_kept_classes(
    source: Source, rows: Rows, scheme: Scheme, left_out: dict[str, int]
) -> tuple[Rows, dict[str, int]]:
    """Return the test images with labels that training images have, where the user lists the classes to keep."""
    if "classes" not in source.options or scheme.separator or scheme.columns or not rows.labels:
        return rows, left_out
    kept = set(kept_classes(scheme.classes, source))
    places = [place for place, label in enumerate(rows.labels) if label in kept]
    others = len(rows.names) - len(places)
    return rows.select(places), left_out | ({OTHERS: others} if others else {})


def _once(rows: Rows) -> tuple[Rows, int]:
    """Return the lines without those that repeat one, and their number; DataError for an image with two labels."""
    names = tidy(rows.names)
    rows = replace(rows, names=names)
    first = dict(zip(reversed(names), range(len(names) - 1, -1, -1), strict=True))
    if len(first) == len(names):
        return rows, 0
    places: list[int] = []
    for place, name in enumerate(names):
        begun = first[name]
        if begun == place:
            places.append(place)
        elif rows.labels and rows.labels[begun] != rows.labels[place]:
            raise DataError(
                f"{rows.file}: {name} is there twice, labelled '{rows.labels[begun][:80]}' and"
                f" '{rows.labels[place][:80]}'; expected one line an image; several labels go in one: a|b"
            )
    return rows.select(places), len(names) - len(places)


def _roots(source: Source, file: Path) -> Sequence[Path]:
    """Return the folders that names may start from, the likeliest first.

    A list lies beside its images, beside a folder of its own name (Kaggle: train.csv, train/), in a folder meta/ or
    splits/ beside theirs (mmpretrain), or names its own folder, too (CheXpert).
    """
    if "root" in source.options:
        return [Path(source.options["root"]).expanduser()]
    folder = file.parent
    return [inner for near in (folder, folder.absolute().parent) for inner in (near, near / file.stem, near / IMAGES)]
