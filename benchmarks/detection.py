"""What detection costs beside Detectron2: exact resume and COCO's evaluation.

resume      CPU seconds of the same iterations by our trainer and by Detectron2's own loader and trainer, by turns, on
            slim detectors (C4, FPN) and small pictures, where whatever is done beside the network weighs most
evaluation  pycocotools and faster-coco-eval on the same made-up detections

Seconds per iteration of the recipes at full size need a GPU: `python -m benchmarks.gpu detection`.
"""

import contextlib
import io
import itertools
import statistics
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.data import build_detection_train_loader
from detectron2.engine import SimpleTrainer, hooks
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.utils.events import JSONWriter
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pycocotools.mask import frPyObjects
from torch import nn

from twinbench.convert.opening import open_backbone
from twinbench.data.objects.packed import Record
from twinbench.data.scenes.make import make_scenes
from twinbench.detection.chatter import chatter_to
from twinbench.detection.config.detector import detectron2_config
from twinbench.detection.datasets import open_data
from twinbench.detection.models.weights import build_detector
from twinbench.detection.training.mapping import image_mapper
from twinbench.detection.training.stream import batches
from twinbench.detection.training.train import Run, train
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.identity import Identity
from twinbench.protocols.kinds.detector import DetectionRecipe
from twinbench.protocols.schema import Protocol
from twinbench.runtime.process import Process

TIMED: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("demo-voc0712-frcnn-c4", "VOCdevkit", {}),
    ("demo-coco-mrcnn-fpn-1x", "coco", {"batch_size": 2, "min_size_train": "64", "rois_per_image": 16}),
)
ROUNDS, ITERATIONS = 5, 30
MOST_OVERHEAD = 1.1  # of Detectron2's CPU seconds
MOST_SECONDS_TO_RESUME = 10.0
COCO_TRAIN, OBJECTS, CLASSES = 118_287, 7, 80  # images of train2017; 860,001 objects: 7 an image
EVALUATED, DETECTIONS = 1000, 25  # images, and detections an image
FASTER = {"bbox": 2.0, "segm": 2.0}  # times pycocotools
MOST_APART = 1e-9


def main() -> int:
    """Print the figures; return 1 if a target is missed."""
    torch.set_num_threads(1)
    missed = [resume(), evaluation()]
    return int(any(missed))


# --- resume


def resume() -> bool:
    """Time our training against Detectron2's; return True if it misses a target."""
    ratios = [beside_detectron2(*timed) for timed in TIMED]

    began = time.process_time()
    order = batches(np.array([(640, 480)] * COCO_TRAIN), batch_size=2, seed=0, rank=0, world=8)
    next(itertools.islice(order, 89_999, None))
    again = time.process_time() - began
    print(f"resume: going on at iteration 90,000 of COCO: {again:.1f} CPU s (target {MOST_SECONDS_TO_RESUME:g})")
    return max(ratios) > MOST_OVERHEAD or again > MOST_SECONDS_TO_RESUME


def beside_detectron2(name: str, layout: str, settings: dict[str, object]) -> float:
    """Return the CPU seconds of our trainer as a multiple of those of Detectron2's."""
    protocol = find_protocol(name).with_settings(
        settings | {"iterations": ITERATIONS, "steps": ITERATIONS - 1, "precise_bn_iterations": 0}
    )
    spent: dict[str, list[float]] = {"ours": [], "detectron2": []}
    with tempfile.TemporaryDirectory() as path, chatter_to(Path(path) / "log.txt"):
        folder = Path(path)
        make_scenes(folder / "scenes", scale=0.1)
        records = open_data(protocol, folder / "scenes" / layout).train
        for turn, kind in enumerate(list(spent) * (ROUNDS + 1)):
            out = folder / str(turn)
            config, model = detector(protocol, "cpu", out)
            began = time.process_time()
            if kind == "ours":
                train(Run(config, Identity("", "", "", seed=0), Process(), out, workers=0), model, records)
            else:
                train_by_detectron2(config, model, records, out)
            spent[kind].append(time.process_time() - began)
    ours, theirs = (statistics.median(spent[kind][1:]) / ITERATIONS for kind in ("ours", "detectron2"))
    print(f"resume: {name}: {ours:.4f} CPU s an iteration, Detectron2's own trainer {theirs:.4f}: ", end="")
    print(f"{ours / theirs:.2f} of it (target {MOST_OVERHEAD:g})", flush=True)
    return ours / theirs


def detector(protocol: Protocol, device: str, out: Path) -> tuple[CfgNode, nn.Module]:
    """Return the configuration and the network of a protocol, from a random backbone."""
    assert isinstance(protocol.recipe, DetectionRecipe)
    backbone = open_backbone("random", protocol.width)
    config = detectron2_config(
        protocol.recipe,
        classes=protocol.data_set.classes,
        width=protocol.width,
        convention=backbone.convention,
        device=device,
    )
    return config, build_detector(config, backbone, out / "backbone.pth", seed=0)


def train_by_detectron2(config: CfgNode, model: nn.Module, records: list[Record], out: Path) -> None:
    """Train as Detectron2's plain training script does: its loader, its hooks, one checkpoint at the end."""
    optimizer, size = build_optimizer(config, model), config.SOLVER.IMS_PER_BATCH
    build: Any = build_detection_train_loader  # its signature is made by a decorator
    loader = build(records, mapper=image_mapper(config, train=True), total_batch_size=size, num_workers=0)
    trainer = SimpleTrainer(model.train(), loader, optimizer)
    checkpointer = DetectionCheckpointer(model, str(out), optimizer=optimizer)
    trainer.register_hooks(
        [
            hooks.LRScheduler(optimizer, build_lr_scheduler(config, optimizer)),
            hooks.PeriodicCheckpointer(checkpointer, config.SOLVER.CHECKPOINT_PERIOD),
            hooks.PeriodicWriter([JSONWriter(str(out / "metrics.json"))]),
        ]
    )
    trainer.train(0, config.SOLVER.MAX_ITER)


# --- evaluation


def evaluation() -> bool:
    """Time the two computations of COCO's AP; return True if the faster one is not, or differs."""
    if find_spec("faster_coco_eval") is None:
        print("evaluation: faster-coco-eval is not installed, not measured; run: make setup")
        return False
    from faster_coco_eval import COCOeval_faster

    truth, detections, missed = made_up_truth(), made_up_detections(), False
    for kind, target in FASTER.items():
        numbers, spent = [], []
        measures: tuple[Any, Any] = (COCOeval, COCOeval_faster)
        for measure in measures:
            with contextlib.redirect_stdout(io.StringIO()):
                data: Any = COCO()
                data.dataset = truth
                data.createIndex()
                unwanted = "segmentation" if kind == "bbox" else "bbox"
                found = data.loadRes([{k: v for k, v in one.items() if k != unwanted} for one in detections])
                began = time.process_time()
                table = measure(data, found, kind)
                table.evaluate()
                table.accumulate()
                spent.append(time.process_time() - began)
                table.summarize()
            numbers.append(np.array(table.stats[:12]))
        ratio, apart = spent[0] / spent[1], np.abs(numbers[0] - numbers[1]).max()
        print(
            f"evaluation: {kind}, {EVALUATED} images, {len(detections)} detections, AP {100 * numbers[0][0]:.1f}: ",
            end="",
        )
        print(
            f"pycocotools {spent[0]:.1f} CPU s, faster-coco-eval {spent[1]:.1f} s: {ratio:.1f}x (target {target:g}x), ",
            end="",
        )
        print(f"largest difference {apart:.1g} (target {MOST_APART:g})", flush=True)
        missed |= ratio < target or apart > MOST_APART
    return missed


def boxes(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return (count, 4) boxes in a picture of 640 x 480 as x, y, width, height, from small to large."""
    sides = np.exp(rng.uniform(np.log(8), np.log(240), (count, 2)))
    return np.concatenate([rng.uniform(0, 1, (count, 2)) * ((640, 480) - sides), sides], axis=1).round(1)


def thing(image: int, label: int, box: np.ndarray) -> dict[str, Any]:
    """Return one object, its box as mask."""
    x, y, w, h = box.tolist()
    outline = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    return {"image_id": image, "category_id": label, "bbox": [x, y, w, h], "segmentation": outline}


def made_up_truth() -> dict[str, Any]:
    """Return annotations in COCO's format."""
    rng = np.random.default_rng(0)
    found = [
        thing(image, int(rng.integers(1, CLASSES + 1)), box)
        for image in range(1, EVALUATED + 1)
        for box in boxes(OBJECTS, rng)
    ]
    images = [{"id": image, "width": 640, "height": 480} for image in range(1, EVALUATED + 1)]
    for number, one in enumerate(found, 1):
        one |= {"id": number, "area": one["bbox"][2] * one["bbox"][3], "iscrowd": 0}
    return {
        "info": {},
        "images": images,
        "annotations": found,
        "categories": [{"id": label, "name": str(label)} for label in range(1, CLASSES + 1)],
    }


def made_up_detections() -> list[dict[str, Any]]:
    """Return for each image its objects, displaced, and boxes anywhere, with scores of three decimals."""
    rng, truth = np.random.default_rng(1), made_up_truth()
    found: list[dict[str, Any]] = []
    for image, things in itertools.groupby(truth["annotations"], key=lambda one: one["image_id"]):
        near = [(one["category_id"], np.array(one["bbox"])) for one in things]
        near = [(label, np.maximum(box + rng.normal(0, 0.1, 4) * box[[2, 3, 2, 3]], 1)) for label, box in near]
        far = [(int(rng.integers(1, CLASSES + 1)), box) for box in boxes(DETECTIONS - OBJECTS, rng)]
        for one in near + far:
            made = thing(image, *one)
            runs: Any = frPyObjects(made["segmentation"], 480, 640)[0]
            found.append(made | {"score": round(float(rng.random()), 3), "segmentation": runs})
    return found


if __name__ == "__main__":
    sys.exit(main())
