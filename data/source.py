"""Where data lie and how they are read, in one word: what DATA is in commands, suites and Python.

    /datasets/imagenet                       a folder; its layout is the protocol's, or seen from what it holds
    /datasets/pets?train=trainval&test=test  the same, with split names of its own
    FORM:PLACE                               one of FORMS, each with a reader of its own

Options follow a question mark: `train=NAME`, `test=NAME` name the splits, `validation=NAME` the part of the training
images that a setting is chosen on, `classes=FILE` lists the classes to keep, `limit=N` takes N images of each split,
for a trial run: see limit.py.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode

from twinbench.data.errors import DataError
from twinbench.protocols.house import resolved, unknown

if TYPE_CHECKING:
    from twinbench.data.labelled import LabelledImages

FOLDER = "folder"
SPLITS = ("train", "test")
VALIDATION = "validation"
LIMIT = "limit"
COMMON = (*SPLITS, VALIDATION, "classes", LIMIT)  # options that every form takes
MOST_IMAGES = 1_000_000_000  # of a limit


@dataclass(frozen=True)
class Form:
    """A way that images with labels are kept, other than a folder in a known layout."""

    example: str
    holds: str  # in a sentence
    reader: str  # "module:function" below twinbench, (Source, "train" or "test") -> LabelledImages
    options: tuple[str, ...] = ()  # besides COMMON
    pool: str = ""  # "module:function", (Source) -> LabelledImages to pretrain on; empty: the training split
    is_path: bool = True  # a place on this machine, relative to a suite's folder; else a name
    is_many: bool = False  # several such places with commas between, unless one file or folder is called so
    paths: tuple[str, ...] = ()  # options that are places on this machine, besides `classes`
    absolute: str = ""  # "module:function", (folder, place) -> the place with its paths from that folder on
    library: str = ""  # the package that its reader needs, which a login node may not have

    def read(self, source: "Source", split: str) -> "LabelledImages":
        """Return one split."""
        reader: Callable[[Source, str], LabelledImages] = resolved(self.reader)
        return reader(source, split)

    def read_pool(self, source: "Source") -> "LabelledImages":
        """Return the images to pretrain on, whose labels are not looked at."""
        if not self.pool:
            return self.read(source, "train")
        reader: Callable[[Source], LabelledImages] = resolved(self.pool)
        return reader(source)


# The registry: a new form is a module with such a reader, and one entry here.
FORMS: dict[str, Form] = {
    "tar": Form(
        example="tar:/datasets/shards",
        holds="a .tar, a folder of them, or a pattern, train-{0000..0146}.tar: class folders, or WebDataset's samples",
        reader="data.archives.archives:read_archives",
        pool="data.archives.archives:read_archive_pool",
        options=("label",),
    ),
    "zip": Form(
        example="zip:/datasets/pets.zip",
        holds="a .zip, a folder of them, or a pattern, with what a tar may hold",
        reader="data.archives.archives:read_archives",
        pool="data.archives.archives:read_archive_pool",
        options=("label",),
    ),
    "list": Form(
        "list:/datasets/pets/train.txt,/datasets/pets/val.txt",
        "lists of images with their labels: text, CSV or TSV; one with a column of splits, or one for each split",
        "data.lists.listed:read_listed",
        options=("path", "label", "split", "separator", "blank", "root"),
        is_many=True,
        paths=("root",),
    ),
    "coco": Form(
        "coco:/datasets/coco",
        "COCO's JSON, read as several labels an image: a folder, or the files of both splits",
        "data.lists.coco_labels:read_coco_labels",
        options=("images",),
        is_many=True,
        paths=("images",),
    ),
    "torchvision": Form(
        "torchvision:DTD=/datasets/torchvision?train=train+val",
        "a data set as torchvision has downloaded it, with torchvision's names and root",
        "data.libraries.torchvision_sets:read_torchvision",
        options=("partition", "annotation_level", "size", "small", "split", "year"),
        is_path=False,
        absolute="data.libraries.places_of_libraries:torchvision_place",
        library="torchvision",
    ),
    "hf": Form(
        "hf:ORG/NAME?image=image&label=label",
        "a copy of the datasets library: from its cache, a folder of save_to_disk, or a folder of Parquet files",
        "data.libraries.hugging_face:read_hugging_face",
        options=("config", "image", "label", "revision"),
        is_path=False,
        absolute="data.libraries.places_of_libraries:hugging_face_place",
        library="datasets",
    ),
}


@dataclass(frozen=True)
class Source:
    """One place with data. `str` gives it back as it is typed."""

    place: str
    form: str = FOLDER
    options: dict[str, str] = field(default_factory=dict)
    limit: int = 0  # the most images that are taken of a split, see limit.py; 0: all. No reader's concern

    @classmethod
    def of(cls, data: "str | os.PathLike[str] | Source", base: Path | None = None) -> "Source":
        """Return what `data` means; DataError for an unknown form or option.

        A folder or file that is there under the whole text is meant, whatever its name looks like. With a `base`, a
        suite's folder, relative places start there, and the source's are absolute.
        """
        if isinstance(data, Source):
            return data
        whole = data if base is None else base / Path(data).expanduser()
        if isinstance(data, os.PathLike) or os.path.exists(whole):
            return cls(os.fspath(data))._below(base)
        text, mark, query = data.partition("?")
        form, colon, place = text.partition(":")
        if not colon or "/" in form:
            form, place = FOLDER, text
        if not place:
            raise DataError(f"DATA {data!r}: names no place; expected a folder or FORM:PLACE, such as {_examples()}")
        if form != FOLDER and form not in FORMS:
            raise DataError(f"DATA {data}: {unknown('form of data', form, FORMS)}; or is it a folder? give ./{data}")
        options = _options(data, form, query) if mark else {}
        return cls(place, form, options, int(options.pop(LIMIT, 0)))._below(base)

    @property
    def is_folder(self) -> bool:
        """Say whether this is a folder with a layout."""
        return self.form == FOLDER

    @property
    def path(self) -> Path:
        """The place, as a path."""
        return Path(self.place)

    def folder(self, who: str) -> Path:
        """Return the folder; DataError where the data are something else, which `who` does not read."""
        if not self.is_folder:
            raise DataError(f"{self}: {who} reads folders only; expected the data set's root folder; unpack it")
        return self.path

    def named(self, split: str) -> str:
        """Return the user's name for a split (`train` or `test`); empty where there is none."""
        return self.options.get(split, "")

    def absolute(self) -> "Source":
        """Return this source with places that do not depend on the working folder."""
        return self._below(Path.cwd())

    def _below(self, base: Path | None) -> "Source":
        """Return this source with relative places made absolute, as starting at `base`."""
        if base is None:
            return self
        form = None if self.is_folder else FORMS[self.form]
        options = dict(self.options)
        for name in ("classes", *(form.paths if form else ())):
            if name in options:
                options[name] = _joined(base, options[name])
        place = self.place
        if form is None or form.is_path:
            place = ",".join(_joined(base, part) for part in self._parts(base))
        elif form.absolute:
            place = resolved(form.absolute)(base, place)
        return Source(place, self.form, options, self.limit)

    @property
    def places(self) -> tuple[Path, ...]:
        """The files or folders that the place names: one, or several with commas between where the form has such."""
        return tuple(Path(part).expanduser() for part in self._parts(Path()))

    def _parts(self, base: Path) -> list[str]:
        """Return the places as they are written, seen from `base`."""
        many = not self.is_folder and FORMS[self.form].is_many
        if not many or os.path.exists(base / Path(self.place).expanduser()):
            return [self.place]
        return [part.strip() for part in self.place.split(",")]

    def __str__(self) -> str:
        """Return the source as DATA is typed."""
        lead = "" if self.is_folder else f"{self.form}:"
        options = {**self.options, LIMIT: self.limit} if self.limit else self.options
        query = f"?{urlencode(options, safe='/+,:[]', quote_via=quote)}" if options else ""
        return f"{lead}{self.place}{query}"

    def refuse(self, names: Iterable[str], who: str) -> None:
        """Raise DataError for an option that `who` does not look at: it would be taken for granted."""
        for name in names:
            if name in self.options:
                raise DataError(
                    f"DATA {self}: {who} does not look at {name}; expected it without; leave the option out"
                )

    def __hash__(self) -> int:
        """Hash it by its text."""
        return hash(str(self))


def _joined(base: Path, place: str) -> str:
    """Return an absolute path; a relative one starts at `base`."""
    return os.path.abspath(base / Path(place).expanduser())


def _options(data: str, form: str, query: str) -> dict[str, str]:
    """Return the options after the question mark."""
    known = COMMON if form == FOLDER else (*COMMON, *FORMS[form].options)
    options: dict[str, str] = {}
    for name, value in parse_qsl(query.replace("+", "%2B"), keep_blank_values=True):  # train+val has no blank
        if name not in known:
            raise DataError(f"DATA {data}: {unknown('option', name, known)}")
        if not value or name in options:
            raise DataError(f"DATA {data}: option {name} is {'empty' if not value else 'given twice'}; give one value")
        if name == LIMIT and not (value.isdecimal() and len(value) <= 10 and 0 < int(value) <= MOST_IMAGES):
            raise DataError(
                f"DATA {data}: limit={value}; expected a number of images from 1 to {MOST_IMAGES}, such as ?limit=100"
            )
        options[name] = value
    if not options:
        raise DataError(f"DATA {data}: nothing after the ?; expected options such as ?train=trainval&test=test")
    return options


def _examples() -> str:
    return ", ".join(form.example for form in FORMS.values()) or "/datasets/imagenet"
