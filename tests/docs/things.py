"""Small things of the kinds that the pages speak of: class folders, lists, archives, depth, others' checkpoints."""

import csv
import json
import pickle
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file

from tests import test_convert_layouts as layouts
from tests.depth_scenes import write_depth

CLASSES, TRAIN, TEST = 5, 8, 4


def make(folder: Path, networks: dict[str, str]) -> None:
    """Write all of them into a folder that holds the demo's scenes and a trained backbone.

    `networks` has the files with networks of timm or torchvision, or checkpoints as other libraries save them.
    """
    pets(folder)
    parts(folder)
    chest(folder)
    photos(folder)
    write_depth(folder / "rooms")
    torch.manual_seed(0)
    for name, network in networks.items():
        path = folder / "weights" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_network(path, network)


def pets(folder: Path) -> None:
    """Images by class: a folder, lists, archives."""
    rows, scenes = [], folder / "scenes/imagenet"
    for split, source, count in (("train", "train", TRAIN), ("test", "val", TEST)):
        for images in sorted((scenes / source).iterdir())[:CLASSES]:
            into = folder / "pets" / split / images.name
            into.mkdir(parents=True)
            for image in sorted(images.iterdir())[:count]:
                shutil.copy(image, into)
                rows.append((f"{split}/{images.name}/{image.name}", images.name, split))
    for split in ("train", "test"):
        table(folder / f"pets/{split}.csv", ("path", "label"), [row[:2] for row in rows if row[2] == split])
        (folder / "shards").mkdir(exist_ok=True)
        with tarfile.open(folder / f"shards/{split}-0000.tar", "w") as archive:
            archive.add(folder / "pets" / split, split)
    table(folder / "pets/all.csv", ("path", "label", "split"), rows)
    table(folder / "pets.csv", ("path", "label", "split"), [(f"pets/{path}", *rest) for path, *rest in rows])
    shutil.make_archive(str(folder / "pets"), "zip", folder / "pets")
    with tarfile.open(folder / "pets.tar", "w") as archive:
        archive.add(folder / "pets", "pets", filter=lambda entry: None if entry.name.endswith(".csv") else entry)


def photos(folder: Path) -> None:
    """Images in folders that are called as ImageNet's classes are."""
    names = ("n02391049", "n07753592", "n07873807", "n07768694", "n02099601")
    for images, name in zip(sorted((folder / "pets/test").iterdir()), names, strict=True):
        shutil.copytree(images, folder / "photos" / name)


def table(path: Path, header: tuple[str, ...], rows: list[Any]) -> None:
    """Write a CSV."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def chest(folder: Path) -> None:
    """A list with a column a class, in which absent is an empty cell."""
    rows = []
    for split in ("train", "test"):
        for number, image in enumerate(sorted((folder / "pets" / split).glob("*/*"))):
            shown = ["1" if number % 3 == column else "" for column in range(3)]
            rows.append((image.relative_to(folder), split, *shown))
    table(folder / "chest.csv", ("path", "split", "Atelectasis", "Effusion", "Pneumothorax"), rows)


def parts(folder: Path) -> None:
    """Boxes and masks in two JSON files of COCO's form, images in a folder of another name."""
    (folder / "parts").mkdir()
    for name, split in (("train", "train2017"), ("test", "val2017")):
        found = json.loads((folder / f"scenes/coco/annotations/instances_{split}.json").read_text())
        images = sorted(found["images"], key=lambda image: image["id"])[:12]
        kept = {image["id"] for image in images}
        found |= {"images": images, "annotations": [a for a in found["annotations"] if a["image_id"] in kept]}
        (folder / f"parts/{name}.json").write_text(json.dumps(found))
        for image in images:
            for into in (folder / "parts/jpg", folder / "parts/coco" / split):
                into.mkdir(parents=True, exist_ok=True)
                shutil.copy(folder / f"scenes/coco/{split}/{image['file_name']}", into)
        (folder / "parts/coco/annotations").mkdir(exist_ok=True)
        shutil.copy(folder / f"parts/{name}.json", folder / f"parts/coco/annotations/instances_{split}.json")


def write_network(path: Path, network: str) -> None:
    """Write `timm:NAME`, or what another library saves, by its name in tests/test_convert_layouts.py (`dcp:` too)."""
    library, _, name = network.rpartition(":")
    state = timm_state(name) if library == "timm" else foreign(name)
    if library == "dcp":
        dcp.save(state, checkpoint_id=path)
    elif path.suffix == ".safetensors":
        save_file({key: values.contiguous() for key, values in state.items()}, path)
    elif path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(state))
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive, archive.open("student.pth.tar", "w") as file:
            torch.save(state, file)
    else:
        torch.save(state, path)


def timm_state(name: str) -> dict[str, Any]:
    """Return the tensors of one of timm's networks, none of which is as initialised."""
    state = timm.create_model(name).state_dict()
    return {key: moved(values) if values.is_floating_point() else values for key, values in state.items()}


def moved(values: torch.Tensor) -> torch.Tensor:
    """Return a tensor a little away from its initialisation, so little that features still tell images apart."""
    return values * (1 + 0.1 * torch.rand_like(values)) + 0.005 * torch.rand_like(values)


def foreign(name: str) -> Any:
    """Return what another library saves of a ResNet-50 of a sixteenth of the width."""
    if name == "byol":
        return layouts.byol_experiment(pytest.MonkeyPatch())  # this process ends soon
    if name == "caffe2":
        return {"blobs": layouts.caffe2(layouts.A)}
    if name == "detectron2":
        tensors = {key: values.numpy() for key, values in layouts.detectron2_names(layouts.A).items()}
        kept = {key: values for key, values in tensors.items() if "num_batches" not in key}
        return {"model": kept, "__author__": "MOCO", "matching_heuristics": True}
    if name == "own":
        return {"state_dict": layouts.under("net.trunk.", layouts.A) | layouts.head("my_head")}
    if name == "obow":
        return {"network": layouts.A | layouts.head("fc"), "epoch": 200}
    return layouts.SAVED[name][0]
