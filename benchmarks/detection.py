"""What exact resume costs beside Detectron2: CPU seconds of the same iterations by our trainer and by its own.

By turns, on slim detectors (C4, FPN) and small pictures, where whatever is done beside the network weighs most. A run
is short and measured whole, with the files that it leaves: ours writes its last state and the model, Detectron2's the
former. What is told is the median over the rounds of the ratio of two runs that follow each other.

Seconds per iteration of the recipes at full size need a GPU: `python -m benchmarks.gpu detection`.
"""

import itertools
import statistics
import sys
import tempfile
import time
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
ROUNDS, ITERATIONS = 3, 12
MOST_OVERHEAD = 1.1  # of Detectron2's CPU seconds
MOST_SECONDS_TO_RESUME = 10.0
COCO_TRAIN = 118_287  # images of train2017


def main() -> int:
    """Print the figures; return 1 if a target is missed."""
    torch.set_num_threads(1)
    return int(resume())


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
    ratios = sorted(one / other for one, other in zip(spent["ours"][1:], spent["detectron2"][1:], strict=True))
    ratio = statistics.median(ratios)
    print(f"resume: {name}: {ours:.4f} CPU s an iteration, Detectron2's own trainer {theirs:.4f}: ", end="")
    print(
        f"{ratio:.2f} of it, {ratios[0]:.2f} to {ratios[-1]:.2f} in {ROUNDS} rounds (target {MOST_OVERHEAD:g})",
        flush=True,
    )
    return ratio


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


if __name__ == "__main__":
    sys.exit(main())
