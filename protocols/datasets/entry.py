"""What is known of a data set: how it lies on disk, what a complete copy holds, and where all that stands."""

from dataclasses import dataclass
from typing import Literal

from twinbench.protocols.kinds.base import Task

# The reader in data/; empty: seen from the folder.
Layout = Literal[
    "imagenet",
    "voc",
    "coco",
    "coco-keypoints",
    "lvis",
    "cityscapes",
    "inat",
    "places",
    "voc-pixels",
    "voc-pixels-aug",
    "cityscapes-pixels",
    "ade20k-pixels",
    "coco-stuff-pixels",
    "coco-stuff27-pixels",
    "nyuv2-pixels",
    "nyuv2-depth",
    "pixels",
    "depth",
    "test-classes",
    "test-numbers",
    "imagenet-real",
    "corruptions",
    "",
]
Subset = Literal["100%", "10%", "5%", "2%", "1%"]  # of the training images, by a list

FOLDER = "FOLDER"  # in `About.form`, where the user's folder goes


@dataclass(frozen=True)
class File:
    """A file with a public address that a data set, or a part of it, comes as."""

    address: str
    digest: str = ""  # `md5:...` or `sha256:...` as the source, torchvision or TFDS publishes it; empty: nobody does
    folder: str = ""  # where it is saved and unpacked, below the data set's folder

    @property
    def name(self) -> str:
        """The last part of its address."""
        return self.address.rpartition("/")[2]


@dataclass(frozen=True)
class OtherCopy:
    """A copy that is about under the same name and is another data set, known by its counts."""

    images: tuple[int, int]  # training, test; 0: any number
    what: str


@dataclass(frozen=True)
class About:
    """What people want to know of a data set; nothing here moves a number."""

    title: str = ""
    source: str = ""  # who says the counts
    splits: tuple[tuple[str, int], ...] = ()  # images of each published split, by its name
    metric: str = ""  # what papers report on it
    suites: tuple[str, ...] = ()  # the collections that it is part of
    licence: str = ""  # empty where none has been read at its source
    home: str = ""  # where its authors describe it, or offer it today
    get: str = ""  # how to come by a copy, where `files` is not enough
    form: str = ""  # how DATA is typed for the usual copy, FOLDER for its folder; empty: the folder itself
    files: tuple[File, ...] = ()  # what `twinbench data fetch` fetches
    archives: tuple[tuple[str, str], ...] = ()  # name and digest of files that one has to sign for
    others: tuple[OtherCopy, ...] = ()
    note: str = ""  # what is to be known before a number on it is compared


@dataclass(frozen=True)
class DataSet:
    """A data set with its task.

    `classes` and `images` are of a complete copy, 0 where any number is complete.
    """

    name: str
    tasks: tuple[Task, ...]  # what its labels can be read as, the fullest first
    layout: Layout = ""
    place: str = ""  # the name of its folder in a suite's `data`; empty: its own name
    classes: int = 0
    images: tuple[int, int] = (0, 0)  # training, test
    subset: Subset = "100%"
    validation: str = ""  # official split among the training images that a penalty is chosen on; empty: none
    headline: str = ""  # what is reported on it of a recipe with several metrics; empty: top-1
    trains_on: str = ""  # of a set that only tests: the data set whose training images its head learns from
    about: About = About()

    @property
    def folder(self) -> str:
        """The key of its root folder in a suite's `data`."""
        return self.place or self.name

    @property
    def validation_share(self) -> float:
        """Which part of the training images chooses a penalty in BYOL's table 10; 0: it is not in it."""
        held = dict(self.about.splits).get("val", 0) if "BYOL" in self.about.suites else 0
        return held / self.images[0] if self.images[0] else 0.0

    @property
    def is_counted(self) -> bool:
        """Say whether it is known what a complete copy holds."""
        return bool(self.classes or any(self.images))


SINGLE: tuple[Task, ...] = ("single-label",)
MULTI: tuple[Task, ...] = ("multi-label",)
BOXES: tuple[Task, ...] = ("boxes",)
MASKS: tuple[Task, ...] = ("masks", "boxes")
KEYPOINTS: tuple[Task, ...] = ("keypoints", "boxes")
PIXELS: tuple[Task, ...] = ("pixels",)
DEPTH: tuple[Task, ...] = ("depth",)
