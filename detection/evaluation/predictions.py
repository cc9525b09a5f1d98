"""What a trained detector finds on the test images, kept on disk image by image: a killed evaluation goes on.

    OUT/predictions/rank0.jsonl   a line that says whose they are, then a line an image, as each process finds them
    OUT/predictions.json          all of them in the form of COCO's results, once every image is done

An image is done by whichever process has a whole line of it, so that their number may change in between.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Instances
from pycocotools import mask as run_lengths
from torch import nn

from twinbench.data.objects.packed import Records
from twinbench.detection.training.mapping import image_mapper
from twinbench.detection.training.step import diverged_in_the_end, told_diverged
from twinbench.detection.training.stream import test_loader
from twinbench.protocols.house import UserError, replacing
from twinbench.runtime.distributed import from_main, meet
from twinbench.runtime.process import Process
from twinbench.runtime.progress import JsonLog, bar
from twinbench.runtime.shared import is_there

# Of one image: category_id (the class's number from 0), bbox (corners, in pixels), score; segmentation, keypoints.
Detections = list[dict[str, Any]]
FILE = "predictions.json"


class PredictionError(UserError):
    """Predictions that are not there although every process has ended its share."""


class Predictions(Sequence[Detections]):
    """The detections on every test image, in the order of the images, read from disk when they are asked for."""

    def __init__(self, folder: Path, owner: dict[str, Any], images: int) -> None:
        """Find what the processes have written in `folder` for `owner`; an image whose line is torn is not done."""
        self.images = images
        self._at: dict[int, tuple[Path, int, int]] = {}  # image -> file, first byte, bytes
        for path in sorted(folder.glob("rank*.jsonl")):
            for index, start, length in _lines(path, owner):
                if index < images:
                    self._at[index] = (path, start, length)

    @property
    def missing(self) -> list[int]:
        """The images that nobody has done yet."""
        return [index for index in range(self.images) if index not in self._at]

    def __len__(self) -> int:
        """Return the number of test images."""
        return self.images

    def __getitem__(self, index: Any) -> Any:
        """Return the detections of one image (no slices)."""
        path, start, length = self._at[index]
        with path.open("rb") as file:
            file.seek(start)
            return json.loads(file.read(length))["detections"]

    def __iter__(self) -> Iterator[Detections]:
        """Yield the detections of each image."""
        with ExitStack() as stack:
            files = {path: stack.enter_context(path.open("rb")) for path in {path for path, _, _ in self._at.values()}}
            for index in range(self.images):
                path, start, length = self._at[index]
                files[path].seek(start)
                yield json.loads(files[path].read(length))["detections"]


def predict_all(
    config: CfgNode,
    model: nn.Module,
    records: Records,
    folder: Path,
    owner: dict[str, Any],
    process: Process,
    workers: int,
) -> Predictions:
    """Return the predictions of `model` on all `records`, of which the processes share out those not done yet.

    `owner` says whose predictions they are; those of others in `folder` are left aside and written over.
    """
    missing = from_main(process, lambda: Predictions(folder, owner, len(records)).missing)
    share = missing[process.rank :: process.world]
    path = folder / f"rank{process.rank}.jsonl"
    if share and not _is_of(path, owner):
        path.unlink(missing_ok=True)
        JsonLog(path).write(owner=owner)
    log = JsonLog(path)
    for index, found in _found(config, model, records, share, process, workers):
        log.write(index=index, detections=found)
    meet(process)
    return _all_of(folder, owner, records, process)


def _found(
    config: CfgNode, model: nn.Module, records: Records, share: list[int], process: Process, workers: int
) -> Iterator[tuple[int, Detections]]:
    """Yield each image of this process's share with what the model finds on it."""
    loader = test_loader(records.where(np.array(share, int)), image_mapper(config, train=False), workers)
    shown = bar(loader, what="evaluate", total=len(share), unit="img") if process.is_main else loader
    model.eval()
    with torch.inference_mode():
        for index, batch in zip(share, shown, strict=True):
            with told_diverged(diverged_in_the_end):
                (found,) = model(batch)
            yield index, detections_of(found["instances"].to("cpu"))


def detections_of(found: Instances) -> Detections:
    """Return what is found on one image as plain values: corners of boxes, run lengths of masks.

    Keypoints are pixels' indices as in COCO's files: the centre of a pixel is half a pixel less than in the network.
    """
    boxes, scores, labels = found.pred_boxes.tensor.tolist(), found.scores.tolist(), found.pred_classes.tolist()
    detections: Detections = []
    for box, score, label in zip(boxes, scores, labels, strict=True):
        detections.append({"category_id": label, "bbox": box, "score": score})
    if found.has("pred_masks"):
        for detection, mask in zip(detections, found.pred_masks.numpy(), strict=True):
            detection["segmentation"] = mask_lengths(mask)
    if found.has("pred_keypoints"):
        points = found.pred_keypoints.clone()
        points[:, :, :2] -= 0.5
        for detection, those in zip(detections, points.flatten(1).tolist(), strict=True):
            detection["keypoints"] = those
    return detections


def mask_lengths(mask: np.ndarray) -> dict[str, Any]:
    """Return a mask (H, W) in COCO's compressed form."""
    coded: Any = run_lengths.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in coded["size"]], "counts": coded["counts"].decode()}


def wide(found: Detections) -> list[list[float]]:
    """Return left, top, width and height of each box, subtracted in the network's float32 as Detectron2 does."""
    boxes = np.array([detection["bbox"] for detection in found], np.float32).reshape(-1, 4)
    boxes[:, 2:] -= boxes[:, :2]
    return boxes.tolist()


def _all_of(folder: Path, owner: dict[str, Any], records: Records, process: Process) -> Predictions:
    """Return the predictions on all images once every process's file is seen by the main one."""
    for rank in range(process.world):
        is_there(folder / f"rank{rank}.jsonl", process)
    found = Predictions(folder, owner, len(records))
    if process.is_main and found.missing:
        raise PredictionError(
            f"{folder}: {len(found.missing)} of {len(records)} test images have no predictions, although every process "
            "has done its share; expected a disk that all nodes share; run again, and they are made"
        )
    return found


def write_results(
    path: Path, predictions: Sequence[Detections], records: Records, category_ids: Sequence[int] = ()
) -> None:
    """Write COCO's results: a list of detections with `image_id` as the data say it, and each class by its id.

    Without `category_ids`, one a class, these are 1, 2, ...
    """
    with replacing(path) as beside, beside.open("w") as file:
        file.write("[")
        lead = "\n"
        for index, found in enumerate(predictions):
            name = records[index]["image_id"]
            for detection, box in zip(found, wide(found), strict=True):
                line = {"image_id": name, **detection, "bbox": box}
                label = line["category_id"]
                line["category_id"] = category_ids[label] if category_ids else label + 1
                file.write(lead + json.dumps(line))
                lead = ",\n"
        file.write("\n]\n")


def _lines(path: Path, owner: dict[str, Any]) -> Iterator[tuple[int, int, int]]:
    """Yield image, first byte and number of bytes of each whole line of a file that is `owner`'s."""
    if not _is_of(path, owner):
        return
    start = 0
    with path.open("rb") as file:
        for line in file:
            index = _index(line)
            if index is not None:
                yield index, start, len(line)
            start += len(line)


def _index(line: bytes) -> int | None:
    """Return which image a line is of; None for a torn one, and for the first."""
    if not line.endswith(b"}\n") or not line.startswith(b'{"index": '):
        return None
    return int(line[10 : line.index(b",")])


def _is_of(path: Path, owner: dict[str, Any]) -> bool:
    """Say whether a file's first line says that its predictions are `owner`'s."""
    try:
        with path.open("rb") as file:
            first = json.loads(file.readline())
    except (FileNotFoundError, ValueError):  # ValueError: a torn line
        return False
    return isinstance(first, dict) and first.get("owner") == owner
