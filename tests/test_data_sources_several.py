"""Several labels an image: VOC's folder, a list, COCO's JSON, WebDataset and the datasets library say the same."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import twinbench
from twinbench.data.checking.checks import check
from twinbench.data.layouts import read_labelled
from twinbench.data.source import FORMS, Source
from twinbench.report.result import Result, read_result

CLASSES = ("cat", "dog", "panda")
SPLITS = {"trainval": 24, "test": 12}  # images
PROTOCOL = "demo-voc07-svm-gap@tiny"


def shown(number: int) -> list[int]:
    """Return the classes in image `number`: one or two of three."""
    return sorted({number % 3, number // 3 % 3})


def numbers(split: str) -> range:
    first = list(SPLITS).index(split) * 100
    return range(first, first + SPLITS[split])


@pytest.fixture(scope="module")
def devkit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VOC's folder: a list of 1 and -1 for each class. Each class has a colour, under noise."""
    root, draw = tmp_path_factory.mktemp("voc"), np.random.default_rng(0)
    lists, images = root / "VOC2007/ImageSets/Main", root / "VOC2007/JPEGImages"
    for place in (lists, images):
        place.mkdir(parents=True)
    for split in SPLITS:
        for number in numbers(split):
            pixels = draw.integers(0, 160, (48, 50, 3), dtype=np.uint8)
            pixels[:, :, shown(number)] += 60
            Image.fromarray(pixels).save(images / f"{number:06}.jpg")
        (lists / f"{split}.txt").write_text("".join(f"{number:06}\n" for number in numbers(split)))
        for place, name in enumerate(CLASSES):
            lines = [f"{number:06} {1 if place in shown(number) else -1}\n" for number in numbers(split)]
            (lists / f"{name}_{split}.txt").write_text("".join(lines))
    return root


def image(devkit: Path, number: int) -> Path:
    return devkit / f"VOC2007/JPEGImages/{number:06}.jpg"


def as_columns(devkit: Path, out: Path) -> str:
    """A column a class, as in CheXpert's lists."""
    for split in SPLITS:
        lines = [",".join(["path", *CLASSES])]
        for number in numbers(split):
            marks = [str(int(place in shown(number))) for place in range(len(CLASSES))]
            lines.append(",".join([str(image(devkit, number)), *marks]))
        (out / f"{split}.csv").write_text("\n".join(lines))
    return f"list:{out}/trainval.csv,{out}/test.csv"


def as_labels(devkit: Path, out: Path) -> str:
    """One column with all labels of an image."""
    for split in SPLITS:
        lines = ["path,labels"]
        for number in numbers(split):
            lines.append(f"{image(devkit, number)},{'|'.join(CLASSES[place] for place in shown(number))}")
        (out / f"{split}.csv").write_text("\n".join(lines))
    return f"list:{out}/trainval.csv,{out}/test.csv"


def as_coco(devkit: Path, out: Path) -> str:
    """Boxes of any size; ids with gaps."""
    for split in SPLITS:
        found = [(number, place) for number in numbers(split) for place in shown(number)]
        content = {
            "images": [
                {"id": number, "file_name": f"{number:06}.jpg", "width": 50, "height": 48} for number in numbers(split)
            ],
            "categories": [{"id": 7 * place + 3, "name": name} for place, name in enumerate(CLASSES)],
            "annotations": [
                {"id": row, "image_id": number, "category_id": 7 * place + 3, "bbox": [0, 0, 9, 9], "iscrowd": 0}
                for row, (number, place) in enumerate(found)
            ],
        }
        (out / f"{split}.json").write_text(json.dumps(content))
    return f"coco:{out}/trainval.json,{out}/test.json?images={devkit}/VOC2007/JPEGImages"


def as_webdataset(devkit: Path, out: Path) -> str:
    """A list of labels in the .json beside an image."""
    for split in SPLITS:
        with tarfile.open(out / f"{'train' if split == 'trainval' else split}.tar", "w") as archive:
            for number in numbers(split):
                labels = json.dumps({"labels": [CLASSES[place] for place in shown(number)]}).encode()
                for name, content in ((".jpg", image(devkit, number).read_bytes()), (".json", labels)):
                    member = tarfile.TarInfo(f"{number:06}{name}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return f"tar:{out}"


def as_hf(devkit: Path, out: Path) -> str:
    """A sequence of labels by their numbers."""
    datasets = pytest.importorskip("datasets")
    several = datasets.Sequence(datasets.ClassLabel(names=list(CLASSES)))
    features = datasets.Features({"image": datasets.Image(), "labels": several})
    splits = {}
    for split, name in (("trainval", "train"), ("test", "test")):
        rows = []
        for number in numbers(split):
            encoded = {"bytes": image(devkit, number).read_bytes(), "path": f"{number:06}.jpg"}
            rows.append({"image": encoded, "labels": shown(number)})
        splits[name] = datasets.Dataset.from_list(rows, features=features)
    datasets.DatasetDict(splits).save_to_disk(out / "tiny")
    return f"hf:{out}/tiny"


WRITERS: dict[str, tuple[str, Callable[[Path, Path], str]]] = {
    "columns": ("list", as_columns),
    "labels": ("list", as_labels),
    "coco": ("coco", as_coco),
    "webdataset": ("tar", as_webdataset),
    "hf": ("hf", as_hf),
}
HERE = [name for name, (form, _) in WRITERS.items() if form in FORMS]


@pytest.fixture(scope="module", params=HERE)
def data(request: pytest.FixtureRequest, devkit: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """DATA of each form in turn."""
    return WRITERS[request.param][1](devkit, tmp_path_factory.mktemp(request.param))


def measured(data: str, out: Path) -> Result:
    words = ["transfer", PROTOCOL, "random", data, str(out), "--workers", "0", "--device", "cpu"]
    assert twinbench.main(words) == 0
    return read_result(out / "result.json")


@pytest.fixture(scope="module")
def number(devkit: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """What the folder gives."""
    return measured(str(devkit), tmp_path_factory.mktemp("folder"))


@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_are_the_folders(data: str, devkit: Path, split: str) -> None:
    found, expected = (read_labelled("", Source.of(each), split) for each in (data, str(devkit)))
    assert found.classes == expected.classes
    np.testing.assert_array_equal(found.targets, expected.targets)


def test_the_number_is_the_folders(data: str, number: Result, tmp_path: Path) -> None:
    """Of every class, to the last digit."""
    found = measured(data, tmp_path)
    assert (found.metrics, found.details["ap"]) == (number.metrics, number.details["ap"])


def test_a_check_passes_what_ran(data: str) -> None:
    assert check("", data, processes=1).problems == ()


def test_a_single_label_recipe_refuses_it(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["transfer", "demo-imagenet-knn@tiny", "random", data, str(tmp_path), "--workers", "0"]
    assert twinbench.main(words) == 2
    assert ": multi-label data, but demo-imagenet-knn@tiny runs on single-label data; " in capsys.readouterr().err
