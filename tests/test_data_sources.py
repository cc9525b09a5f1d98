"""The same images through every form of data: equal labels, equal features bit for bit, one and the same number.

Each form below is written as its own tools write it. The folder stands on the other side of every comparison.
"""

import io
import multiprocessing
import os
import shutil
import signal
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import twinbench
from twinbench.convert.opening import open_backbone
from twinbench.data.checking.checks import check
from twinbench.data.labelled import LabelledImages
from twinbench.data.layouts import read_labelled
from twinbench.data.source import FORMS, Source
from twinbench.protocols.kinds.base import Features, ImageTransform
from twinbench.report.result import Result, read_result
from twinbench.suite.graph import build_jobs
from twinbench.suite.suite import read_suite
from twinbench.transfer.features import extract
from twinbench.transfer.probe import Probe

CLASSES = ("cat", "dog", "red panda")
SPLITS = {"train": 24, "test": 12}  # images
PROTOCOL = "demo-imagenet-knn@tiny"
POOLED = Features(ImageTransform(resize=40, crop=32, shape="center-crop"), "gap", "fp32")


def each(root: Path, split: str) -> list[tuple[Path, int]]:
    """Return the images of a split with their labels, in the folder's order."""
    return [(path, place) for place, name in enumerate(CLASSES) for path in sorted((root / split / name).iterdir())]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise in a colour of its class: PNG, JPEG and grey PNG by turns, of uneven sizes."""
    root, draw = tmp_path_factory.mktemp("one") / "folder", np.random.default_rng(0)
    for split, count in SPLITS.items():
        for number in range(count):
            label, ending = number % len(CLASSES), (".png", ".jpg", ".png")[number // 3 % 3]
            pixels = draw.integers(0, 160, (40 + number, 50, 3), dtype=np.uint8)
            pixels[:, :, label] += 60
            picture = Image.fromarray(pixels).convert("L" if number // 3 % 3 == 2 else "RGB")
            path = root / split / CLASSES[label] / f"{number:03}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
    return root


def as_list(root: Path, out: Path) -> str:
    """Two CSV files; the images stay where they are."""
    for split in SPLITS:
        rows = [f"{path.relative_to(root)},{CLASSES[label]}" for path, label in each(root, split)]
        (out / f"{split}.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    return f"list:{out}/train.csv,{out}/test.csv?root={root}"


def as_tar(root: Path, out: Path) -> str:
    """The folder, packed as `tar` packs it."""
    with tarfile.open(out / "tiny.tar", "w") as archive:
        archive.add(root, "tiny")
    return f"tar:{out}/tiny.tar"


def as_zip(root: Path, out: Path) -> str:
    """The folder, packed and compressed."""
    with zipfile.ZipFile(out / "tiny.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.rglob("*.*g")):
            archive.write(path, path.relative_to(root))
    return f"zip:{out}/tiny.zip"


def as_webdataset(root: Path, out: Path) -> str:
    """Two shards a split: a number in key.cls, the names beside the shards."""
    for split in SPLITS:
        images = each(root, split)
        for shard, part in enumerate((images[:7], images[7:])):
            with tarfile.open(out / f"{split}-{shard:04}.tar", "w") as archive:
                for path, label in part:
                    add(archive, f"{label}_{path.name}", path.read_bytes())
                    add(archive, f"{label}_{path.stem}.cls", str(label).encode())
    (out / "classnames.txt").write_text("\n".join(CLASSES))
    return f"tar:{out}"


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def as_torchvision(root: Path, out: Path) -> str:
    """Country211, which torchvision unpacks into folders of classes."""
    for split in SPLITS:
        shutil.copytree(root / split, out / "country211" / split)
    return f"torchvision:Country211={out}"


def as_hf(root: Path, out: Path) -> str:
    """A data set of the datasets library, saved to disk with its images encoded as they were."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})
    splits = {}
    for split in SPLITS:
        rows = [{"image": {"bytes": path.read_bytes(), "path": path.name}, "label": k} for path, k in each(root, split)]
        splits[split] = datasets.Dataset.from_list(rows, features=features)
    datasets.DatasetDict(splits).save_to_disk(out / "tiny")
    return f"hf:{out}/tiny"


WRITERS: dict[str, Callable[[Path, Path], str]] = {
    "list": as_list,
    "tar": as_tar,
    "zip": as_zip,
    "webdataset": as_webdataset,
    "torchvision": as_torchvision,
    "hf": as_hf,
}
FORM_OF = {"webdataset": "tar"}
ELSEWHERE = {"coco"}  # several labels an image: test_data_sources_several.py
HERE = [name for name in WRITERS if FORM_OF.get(name, name) in FORMS]


@pytest.fixture(scope="module", params=HERE)
def data(request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """DATA of each form in turn."""
    return WRITERS[request.param](folder, tmp_path_factory.mktemp(request.param))


def features_of(images: LabelledImages) -> np.ndarray:
    return extract(open_backbone("random", 0.125), images.paths, POOLED, workers=2)


def measured(data: str, out: Path, *more: str) -> Result:
    """Run a trial from the command line."""
    words = ["transfer", PROTOCOL, "random", data, str(out), "--set", "neighbors=3,20", "--workers", "0", *more]
    assert twinbench.main(words) == 0
    return read_result(out / "result.json")


@pytest.fixture(scope="module")
def number(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """What the folder gives."""
    return measured(str(folder), tmp_path_factory.mktemp("folder"))


def test_every_form_is_tested_here() -> None:
    """A new form needs a writer above: a form that is missing from FORMS, or from here, fails."""
    assert set(FORMS) == {FORM_OF.get(name, name) for name in WRITERS} | ELSEWHERE


@pytest.mark.parametrize("split", SPLITS)
def test_labels_are_the_folders(data: str, folder: Path, split: str) -> None:
    found, expected = (read_labelled("", Source.of(each), split) for each in (data, str(folder)))
    assert found.classes == expected.classes
    np.testing.assert_array_equal(found.targets, expected.targets)


@pytest.mark.parametrize("split", SPLITS)
def test_features_are_the_folders_bit_for_bit(data: str, folder: Path, split: str) -> None:
    """Read by two loader processes, which get each image pickled."""
    found, expected = (features_of(read_labelled("", Source.of(each), split)) for each in (data, str(folder)))
    np.testing.assert_array_equal(found, expected)


def test_the_number_from_python_is_the_folders(data: str, number: Result, tmp_path: Path) -> None:
    settings = {"neighbors": (3, 20)}
    found = twinbench.evaluate("random", PROTOCOL, data, tmp_path, settings=settings, workers=0)
    assert found.metrics == number.metrics


def test_the_number_from_the_command_line_is_the_folders(data: str, number: Result, tmp_path: Path) -> None:
    assert measured(data, tmp_path).metrics == number.metrics


def test_the_number_tells_something(number: Result) -> None:
    """Else a comparison of numbers would say nothing: chance is 33.3 %."""
    assert 34 < number.metrics["top1-k3"] < 100


def test_a_check_passes_what_ran(data: str) -> None:
    report = check("", data, processes=1)
    assert report.problems == ()
    assert (report.counts["train"], report.counts["classes"]) == (SPLITS["train"], len(CLASSES))


def test_finished_elsewhere_is_told_by_the_data_alone(data: str, tmp_path: Path) -> None:
    """The same command again takes the result that is there."""
    first = measured(data, tmp_path)
    assert measured(data, tmp_path) == first


def suite_in(home: Path, data: str) -> Path:
    """Write a suite that names its data as the user would beside it: relative to the file."""
    content = {
        "name": "tiny",
        "root": "out",
        "methods": {"random": {"checkpoint": "random"}},
        "protocols": {PROTOCOL: {"seeds": 1, "set": {"neighbors": "3,20"}}},
        "data": {"tiny": data.replace(f"{home}/", "").replace(str(home), ".")},
    }
    (home / "suite.yaml").write_text(yaml.safe_dump(content))
    return home / "suite.yaml"


@pytest.mark.parametrize("name", HERE)
def test_a_suite_with_relative_places_is_planned_run_and_done(
    name: str, folder: Path, number: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One form's job is started by the suite; those of the others, by the same words, in this process."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copytree(folder, home / "folder")
    file = suite_in(home, WRITERS[name](home / "folder", home))
    assert str(tmp_path) not in file.read_text()
    monkeypatch.chdir(elsewhere)
    assert twinbench.main(["suite", "plan", str(file), "--local"]) == 0
    job, _ = build_jobs(read_suite(file))
    started = ["suite", "run", str(file), "--local"] if name == "list" else [*job.argv, "--workers", "0"]
    assert twinbench.main(started) == 0
    assert job.standing().reason == ""
    assert read_result(job.product).metrics == number.metrics


@pytest.mark.parametrize("name", [name for name in HERE if name in ("list", "tar", "zip", "webdataset")])
def test_a_suite_calls_results_stale_when_labels_changed(name: str, folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(folder, home / "folder")
    file = suite_in(home, WRITERS[name](home / "folder", home))
    job, _ = build_jobs(read_suite(file))
    assert twinbench.main([*job.argv, "--workers", "0"]) == 0
    assert job.done()
    moved = next((home / "folder/train/cat").iterdir())
    moved.rename(home / "folder/train/dog" / f"moved-{moved.name}")
    WRITERS[name](home / "folder", home)
    job, _ = build_jobs(read_suite(file))
    assert set(job.standing().causes) == {"data"}


def test_a_suite_tells_data_that_cannot_be_read_before_it_starts(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder, tmp_path / "folder")
    shutil.rmtree(tmp_path / "folder/test/dog")
    file = suite_in(tmp_path, str(tmp_path / "folder"))
    assert twinbench.main(["suite", "plan", str(file), "--local"]) == 2
    assert "twinbench suite: data.tiny: " in capsys.readouterr().err


@pytest.mark.skipif("tar" not in FORMS, reason="archives have not landed")
def test_a_probe_killed_while_it_reads_a_tar_ends_with_the_folders_numbers(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL in the third of four epochs, loader processes and all; the same command goes on."""
    probe = ["demo-imagenet-linear@tiny", "random"]
    sizes = ["epochs=4", "batch_size=8", "transform.resize=32", "transform.crop=32"]
    more = [word for pair in sizes for word in ("--set", pair)] + ["--device", "cpu"]
    data = as_tar(folder, tmp_path)
    step = Probe._step

    def killed_in_the_third(self: Probe, *batch: torch.Tensor) -> torch.Tensor:
        if len(self.history) == 2 and self.step == 1:
            os.killpg(0, signal.SIGKILL)
        return step(self, *batch)

    def run() -> None:
        os.setsid()
        twinbench.main(["transfer", *probe, data, str(tmp_path / "killed"), *more, "--workers", "1"])

    with monkeypatch.context() as killed:
        killed.setattr(Probe, "_step", killed_in_the_third)
        process = multiprocessing.get_context("fork").Process(target=run)
        process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "killed" / "log.jsonl").read_text().count("\n") == 2
    assert not (tmp_path / "killed" / "result.json").exists()
    numbers = []
    for source, out in ((data, "killed"), (str(folder), "whole")):
        assert twinbench.main(["transfer", *probe, source, str(tmp_path / out), *more, "--workers", "0"]) == 0
        result = read_result(tmp_path / out / "result.json")
        numbers.append((result.metrics, result.curves))
    assert numbers[0] == numbers[1]
