"""Detectors on a GPU and on the processor: the same losses, gradients, norms and detections from the same weights."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from detectron2.solver import build_optimizer
from detectron2.utils.events import EventStorage
from PIL import Image
from torch import nn

from twinbench.convert.convention import IMAGENET
from twinbench.convert.opening import open_backbone
from twinbench.detection.config.detector import detectron2_config
from twinbench.detection.datasets import open_data
from twinbench.detection.evaluation.evaluate import scored
from twinbench.detection.evaluation.predictions import predict_all
from twinbench.detection.models.weights import build_detector
from twinbench.detection.training import train as training
from twinbench.detection.training.train import Run, train
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.identity import Identity
from twinbench.runtime.precision import network_precision
from twinbench.runtime.process import Process

C4, MASKS, FPN = "demo-voc0712-frcnn-c4", "demo-coco-mrcnn-c4-1x", "demo-coco-mrcnn-fpn-1x"
ITERATIONS, PROPOSALS = 10, 24
SMALL = {"batch_size": 2, "iterations": ITERATIONS, "steps": "9", "warmup_iterations": 2, "lr": 0.01}
SMALL |= {"min_size_train": 64, "min_size_test": 64, "precise_bn_iterations": 2, "rpn_post_nms_test": 32}
LEARNS = {"iterations": 120, "steps": "100", "warmup_iterations": 5, "lr": 0.05, "batch_size": 4, "rois_per_image": 8}
LEARNS |= {"anchor_sizes": "24,32", "rpn_post_nms_test": 8, "precise_bn_iterations": 8}
TRAIN, TEST = 24, 8  # images with one object each
COLORS = ((40, 60, 220), (220, 50, 40))


@pytest.fixture(autouse=True)
def one_thread(same_start):
    torch.set_num_threads(1)  # these networks are small: threads would wait for each other


@pytest.fixture
def other_kernels(on_gpu):
    """The device's own kernels; in a rehearsal the processor's without oneDNN, which round otherwise as well."""
    return nullcontext if on_gpu else lambda: torch.backends.mkldnn.flags(enabled=False)


class Lab:
    """One recipe's data, and detectors of one seed.

    Unless `draws`, their losses depend on no draw, since each anchor and region is sampled: the generators of a GPU and
    of a processor draw other numbers from one seed.
    """

    def __init__(self, name, data, folder, *, width=0.125, draws=False, **settings):
        every = {} if draws else {"rois_per_image": 8 * PROPOSALS}  # of which at most a quarter may be objects
        self.protocol = find_protocol(name).with_settings(SMALL | every | settings)
        self.data, self.draws = open_data(self.protocol, data), draws
        self.backbone, self.folder, self.width = open_backbone("random", width), folder, width

    def run(self, device):
        recipe, classes = self.protocol.recipe, len(self.data.classes)
        config = detectron2_config(recipe, classes=classes, width=self.width, convention=IMAGENET, device=device)
        config.defrost()
        if not self.draws:
            config.MODEL.RPN.BATCH_SIZE_PER_IMAGE = 4096  # of at most 1023 anchors at 64 pixels
            config.MODEL.RPN.LOSS_WEIGHT = 16.0  # the loss is a sum over BATCH_SIZE_PER_IMAGE, by default 256
            config.MODEL.RPN.POST_NMS_TOPK_TRAIN = PROPOSALS
        config.MODEL.FPN.OUT_CHANNELS = config.MODEL.ROI_MASK_HEAD.CONV_DIM = 32  # a recipe's width is the trunk's
        config.MODEL.ROI_BOX_HEAD.FC_DIM = 64
        config.freeze()
        folder = self.folder / device.replace(":", "")
        return Run(config, Identity("", "", "", seed=0), Process(device=device), folder, workers=0)

    def detector(self, device):
        return build_detector(self.run(device).config, self.backbone, self.folder / "backbone.pth", seed=0).train()

    def batches(self, count):
        return self.run("cpu").loader(self.data.train, start=0, stop=count)


@pytest.fixture
def lab(scenes, tmp_path):
    folders = {C4: scenes / "VOCdevkit", MASKS: scenes / "coco", FPN: scenes / "coco"}
    return lambda name, **more: Lab(name, folders[name], tmp_path, **more)


def same_proposals(source, target, device):
    """Have `target` go on with what the region proposals of `source` were last."""
    kept, propose = [], source.proposal_generator.predict_proposals

    def keep(*given):
        kept[:] = propose(*given)
        return list(kept)

    source.proposal_generator.predict_proposals = keep
    target.proposal_generator.predict_proposals = lambda *given: [proposals.to(device) for proposals in kept]


def losses_of(model: nn.Module, batch):
    """Return the losses of a batch, with their gradients left in `model`."""
    model.zero_grad()
    losses = model(batch)
    torch.stack(list(losses.values())).sum().backward()
    return {name: loss.item() for name, loss in losses.items()}


def apart(found, expected):
    """Return the largest relative difference of two sets of losses; of one below 0.01 the absolute, in hundredths."""
    return max(abs(found[name] - loss) / max(abs(loss), 1e-2) for name, loss in expected.items())


def relative(found, expected):
    """Return the size of the difference of two sets of tensors beside that of the second."""
    ours, theirs = (torch.cat([values.cpu().double().flatten() for values in each]) for each in (found, expected))
    return ((ours - theirs).norm() / theirs.norm()).item()


def gradients(model: nn.Module):
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def averages(model: nn.Module, ends):
    """Return the running averages of the trunk; those of a head depend on which regions were proposed."""
    return [values for name, values in model.named_buffers() if name.startswith("backbone") and name.endswith(ends)]


@pytest.mark.parametrize("name", [C4, MASKS, FPN])
def test_ten_iterations_have_the_same_losses(lab, device, on_gpu, other_kernels, name):
    """Each iteration begins with the processor's weights, and goes on with its proposals.

    What remains are float32 sums of up to 1e5 terms in another order: the processor without oneDNN parts from itself
    by 1e-5, and TF32 taken unsaid would show as some 1e-2. Left alone, the two drift: a region at the limit of a
    suppression stays here and goes there, a sign at a ReLU is another, and the weights part by ten times more in an
    iteration. The processor and itself were 1 % (C4) and 10 % (FPN) of a loss apart after ten: that could hide a
    fault, so it is not what is compared.
    """
    lab, iterations = lab(name), ITERATIONS if on_gpu else 3
    here, there = lab.detector("cpu"), lab.detector(device)
    same_proposals(here, there, device)
    optimizer = build_optimizer(lab.run("cpu").config, here)
    differences = []
    with EventStorage(), network_precision("fp32", device):
        for batch in lab.batches(iterations):
            there.load_state_dict(here.state_dict())
            expected = losses_of(here, batch)
            with other_kernels():
                differences.append(apart(losses_of(there, batch), expected))
            optimizer.step()
    assert len(differences) == iterations
    assert max(differences) < 3e-4


@pytest.mark.parametrize("name", [C4, MASKS, FPN])
def test_gradients_are_the_same(lab, device, other_kernels, name):
    """In float64. In float32 the signs at the ReLUs that rounding turns make a hundredth of a gradient another one.

    Deltas and targets of boxes are float32 in Detectron2 all the same, whose logarithms may be 1e-7 apart.
    """
    lab = lab(name)
    single, here, there = lab.detector("cpu"), lab.detector("cpu").double(), lab.detector(device).double()
    same_proposals(single, here, "cpu")  # the suppression takes float32 alone
    same_proposals(single, there, device)
    with EventStorage():
        for batch in lab.batches(1):
            losses_of(single, batch)
            losses_of(here, batch)
            with other_kernels():
                losses_of(there, batch)
    assert relative(gradients(there), gradients(here)) < 1e-5


@pytest.mark.usefixtures("only_gpu")
@pytest.mark.parametrize("name", [C4, FPN])
def test_tf32_is_taken_where_the_recipe_says_so_and_stays_near(lab, device, name):
    """TF32 keeps 10 bits of mantissa, 5e-4 of each product; batch norm over few values makes it some 1e-2 of a loss."""
    lab = lab(name, width=1.0)
    exact, rounded = lab.detector(device), lab.detector(device)
    same_proposals(exact, rounded, device)
    with EventStorage():
        for batch in lab.batches(1):
            with network_precision("fp32", device):
                expected = losses_of(exact, batch)
            with network_precision("tf32", device, exact_products=True):
                found = losses_of(rounded, batch)
    assert 0 < apart(found, expected) < 5e-2


@pytest.mark.parametrize("name", [C4, FPN])
def test_precise_batch_norm_finds_the_same_averages(lab, device, other_kernels, name):
    """Sums of 1e4 values a channel in another order, and one pass that subtracts the square of the mean: 1e-5 seen."""
    lab = lab(name)
    here, there = lab.detector("cpu"), lab.detector(device)
    with network_precision("fp32", device):
        training._precise_batch_norm(lab.run("cpu"), here, lab.data.train)
        with other_kernels():
            training._precise_batch_norm(lab.run(device), there, lab.data.train)
    for ends in ("running_mean", "running_var"):
        assert relative(averages(there, ends), averages(here, ends)) < 2e-4


@pytest.fixture
def easy(tmp_path):
    """One bright rectangle on dark noise in each picture, blue or red, as a data set in COCO's layout."""
    (tmp_path / "coco" / "annotations").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, count in (("train2017", TRAIN), ("val2017", TEST)):
        (tmp_path / "coco" / split).mkdir()
        names = [{"id": 1, "name": "blue"}, {"id": 2, "name": "red"}]
        file = {"images": [], "annotations": [], "categories": names}
        for k in range(1, count + 1):
            (x, y), (w, h) = rng.integers(2, 26, 2).tolist(), rng.integers(24, 36, 2).tolist()
            pixels = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8)
            pixels[y : y + h, x : x + w] = COLORS[k % 2]
            Image.fromarray(pixels).save(tmp_path / "coco" / split / f"{k:012d}.jpg", quality=95)
            file["images"].append({"id": k, "file_name": f"{k:012d}.jpg", "width": 64, "height": 64})
            outline = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            thing = {"id": k, "image_id": k, "category_id": 1 + k % 2, "bbox": [x, y, w, h], "area": w * h}
            file["annotations"].append(thing | {"iscrowd": 0, "segmentation": outline})
        (tmp_path / "coco" / "annotations" / f"instances_{split}.json").write_text(json.dumps(file))
    return tmp_path / "coco"


def measured(run, model, data, folder):
    """Return the scores of a model on the test images."""
    found = predict_all(run.config, model, data.test, folder, {}, run.process, workers=0)
    return scored(data, found, ("box", "mask"))


def test_a_detector_trained_on_the_device_has_the_same_precision_on_both(easy, tmp_path, device, other_kernels):
    """Boxes move by some 1e-3 of a pixel: one of a class's 4 objects may cross one of 10 IoUs, 2.5 of its AP."""
    lab = Lab(MASKS + "@shapes", easy, tmp_path, draws=True, **LEARNS)
    run, here = lab.run(device), lab.detector("cpu")
    with network_precision("fp32", device):
        there = lab.detector(device)
        train(run, there, lab.data.train)
        here.load_state_dict(there.state_dict())
        with other_kernels():
            found = measured(run, there, lab.data, tmp_path / "there")
        expected = measured(lab.run("cpu"), here, lab.data, tmp_path / "here")
    for kind in ("box", "mask"):
        assert found.metrics[f"{kind}-AP50"] > 20
        assert found.metrics[f"{kind}-AP"] == pytest.approx(expected.metrics[f"{kind}-AP"], abs=2.5)
