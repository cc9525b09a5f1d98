"""What several processes gather: detections of shares of the images, also after a kill; statistics of batch norm."""

import math
import os
import signal
import socket
import sys
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch import nn

from twinbench.convert.convention import IMAGENET
from twinbench.convert.files import load, save
from twinbench.detection.config.detector import detectron2_config
from twinbench.detection.datasets import open_data
from twinbench.detection.evaluation.evaluate import scored
from twinbench.detection.evaluation.predictions import Predictions, predict_all
from twinbench.detection.training.step import DivergedError
from twinbench.detection.training.train import PRECISE, Run, _load_everywhere, _precise_batch_norm
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.identity import Identity
from twinbench.runtime.process import Process, process_group

FORK = get_context("fork")
DATA = {"voc": ("demo-voc0712-frcnn-c4", "VOCdevkit"), "coco": ("demo-coco-mrcnn-c4-1x", "coco")}
SMALL = {"batch_size": 2, "min_size_train": 64, "min_size_test": 64, "precise_bn_iterations": 3}


def opened(scenes, layout):
    """Return the data of a layout, and a configuration for them."""
    name, folder = DATA[layout]
    protocol = find_protocol(name).with_settings(SMALL)
    data = open_data(protocol, scenes / folder)
    return data, detectron2_config(protocol.recipe, classes=len(data.classes), width=0.125, convention=IMAGENET)


class Known(nn.Module):
    """A detector that finds in each image what it was told: the true boxes, moved a little, some as another class."""

    def __init__(self, records):
        super().__init__()
        self.found, random, self.seen = {}, np.random.default_rng(0), 0
        for record in records:
            boxes = []
            for thing in record["annotations"]:
                box = np.array(thing["bbox"], dtype=float)
                if thing["bbox_mode"] == 1:  # x, y, width, height
                    box[2:] += box[:2]
                label = thing["category_id"] if random.random() < 0.7 else int(random.integers(10))
                boxes.append((box + random.normal(0, 1.5, 4), label, float(random.random())))
            self.found[record["image_id"]] = boxes

    def forward(self, batch):
        self.seen += len(batch)
        return [{"instances": self._instances(image)} for image in batch]

    def _instances(self, image):
        boxes = self.found[image["image_id"]]
        found = Instances((image["height"], image["width"]))
        found.pred_boxes = Boxes(torch.tensor(np.array([box for box, _, _ in boxes]).reshape(-1, 4).astype("float32")))
        found.pred_classes = torch.tensor([label for _, label, _ in boxes], dtype=torch.int64)
        found.scores = torch.tensor([score for _, _, score in boxes])
        found.pred_masks = torch.zeros(len(boxes), image["height"], image["width"], dtype=torch.bool)
        return found


def in_processes(world, folder, work):
    """Fork the processes of a run, each of which saves what `work` returns; return these."""
    assert exit_codes(world, folder, work) == [0] * world
    return [load(folder / f"found{rank}") for rank in range(world)]


def exit_codes(world, folder, work):
    """Fork the processes of a run; return how they have ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def child(rank):
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        process = Process(rank, world, rank)
        with process_group(process):
            save(work(process), folder / f"found{rank}")
        sys.stdout.flush()

    run = [FORK.Process(target=child, args=(rank,)) for rank in range(world)]
    for process in run:
        process.start()
    for process in run:
        process.join(120)
    return [process.exitcode for process in run]


@pytest.mark.parametrize("layout", list(DATA))
@pytest.mark.parametrize("images", [1, 3])
def test_uneven_shares_score_as_one_process_does(scenes, tmp_path, layout, images):
    """Of one image the second process has none; of three it has one."""
    data, config = opened(scenes, layout)
    data = replace(data, test=data.test[:images])
    model = Known(data.test)

    def work(process):
        found = predict_all(config, model, data.test, tmp_path / str(process.world), {}, process, workers=0)
        # Not by hotcoco: its threads, once this process has them, are lost in a fork, which waits for them for ever.
        scores = scored(data, found, ("box", "mask"), "pycocotools") if process.is_main else None
        return scores and {"metrics": scores.metrics, "classes": scores.per_class, "curves": scores.curves}

    (one,) = in_processes(1, tmp_path, work)
    two = in_processes(2, tmp_path, work)
    assert max(one["metrics"].values()) > 0
    assert two == [one, None]


class Killed(Known):
    """A detector whose process is killed after some images, as by a scheduler, once `is_time` for all of them."""

    def __init__(self, records, images, is_time):
        super().__init__(records)
        self.images, self.is_time = images, is_time

    def forward(self, batch):
        if self.seen == self.images:
            while not self.is_time():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(batch)


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3), (1, 1)])
def test_a_killed_evaluation_goes_on_with_another_number_of_processes(scenes, tmp_path, before, after):
    data, config = opened(scenes, "coco")
    records, owner, each = data.test[:9], {"backbone": "b" * 64}, 3

    def work(model, folder):
        def predicted(process):
            found = predict_all(config, model, records, folder, owner, process, workers=0)
            return {"found": list(found), "seen": model.seen}

        return predicted

    def missing():
        return len(Predictions(tmp_path / "killed", owner, len(records)).missing)

    left = len(records) - before * each
    killed = Killed(records, each, lambda: missing() == left)
    (expected,) = in_processes(1, tmp_path, work(Known(records), tmp_path / "whole"))
    assert exit_codes(before, tmp_path, work(killed, tmp_path / "killed")) == [-signal.SIGKILL] * before
    with (tmp_path / "killed" / "rank0.jsonl").open("ab") as file:
        file.write(b'{"index": 8, "detections": [{"categ')  # a line that a kill has torn
    assert missing() == left

    again = in_processes(after, tmp_path, work(Known(records), tmp_path / "killed"))
    assert [one["found"] for one in again] == [expected["found"]] * after
    assert sum(one["seen"] for one in again) == left


class Pixels(nn.Module):
    """Batch norm of the pixels of a batch."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, batch):
        for image in batch:
            self.norm(image["image"].float().flatten(1).T)  # (pixels, 3)


def test_precise_statistics_are_the_main_processs_in_all(scenes, tmp_path):
    """Detectron2's hook makes each process's of its own images, and keeps the main one's: so does a trial."""
    data, config = opened(scenes, "voc")

    def work(process):
        run = Run(config, Identity("8" * 12, "b" * 64, "d" * 64, 3), process, Path(tmp_path), workers=0)
        model = Pixels()
        _precise_batch_norm(run, model, data.train)
        own, final = model.norm.running_mean.clone(), tmp_path / "model_final.pth"
        if process.is_main:
            save({"model": model.state_dict()}, final)
        _load_everywhere(run, model, final)
        means = []
        for (image,) in run.loader(data.train, start=0, stop=3, purpose=PRECISE):
            means.append(image["image"].float().flatten(1).mean(1))
        return {"own": own, "kept": model.norm.running_mean, "expected": torch.stack(means).mean(0)}

    main, other = in_processes(2, tmp_path, work)
    torch.testing.assert_close(main["own"], main["expected"], rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(other["own"], other["expected"], rtol=1e-5, atol=1e-3)
    assert not torch.allclose(other["own"], main["own"], atol=0.1)
    assert torch.equal(other["kept"], main["own"])


class Broken(nn.Module):
    """A detector whose boxes Detectron2 is to clip as a cascade's stages do."""

    def __init__(self, side):
        super().__init__()
        self.norm, self.side = nn.BatchNorm2d(3), side

    def forward(self, batch):
        Boxes(torch.full((1, 4), self.side)).clip((64, 64))
        return [{"instances": Instances((64, 64))}]


def test_a_detector_whose_boxes_are_no_numbers_is_one_line(scenes, tmp_path):
    """A cascade trained at too high a rate ended in a page of traceback, after its training and on every rerun."""
    data, config = opened(scenes, "coco")
    with pytest.raises(DivergedError, match="the training has diverged .*NaN.*choose a lower rate") as found:
        predict_all(config, Broken(math.nan), data.test, tmp_path, {}, Process(), workers=0)
    assert "\n" not in str(found.value)


def test_so_it_is_in_precise_batch_norm(scenes, tmp_path):
    data, config = opened(scenes, "coco")
    run = Run(config, Identity(recipe="8" * 12, backbone="b" * 64, data="d" * 64, seed=3), Process(), tmp_path, 0)
    with pytest.raises(DivergedError, match="the training has diverged .*NaN"):
        _precise_batch_norm(run, Broken(math.nan), data.train)


def test_another_failure_of_a_detector_is_not_called_so(scenes, tmp_path):
    data, config = opened(scenes, "coco")
    with pytest.raises(TypeError):
        predict_all(config, Broken(""), data.test, tmp_path, {}, Process(), workers=0)
