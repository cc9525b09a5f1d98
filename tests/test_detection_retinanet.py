"""A RetinaNet that was killed: its losses are divided by a running mean that Detectron2 saves nowhere."""

import pytest
import torch
from detectron2.modeling import build_model

from twinbench.convert.convention import IMAGENET
from twinbench.convert.files import load
from twinbench.detection.config.detector import detectron2_config
from twinbench.detection.datasets import open_data
from twinbench.detection.training import normalizer
from twinbench.detection.training.checkpoint import checkpoints
from twinbench.detection.training.normalizer import Normalizer, repeatable_focal_loss
from twinbench.detection.training.step import DivergedError, Trainer
from twinbench.detection.training.train import Run, train
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.identity import Identity
from twinbench.runtime.process import Process
from twinbench.runtime.progress import read_log

MINE = Identity(recipe="8" * 12, backbone="b" * 64, data="d" * 64, seed=3)
SMALL = {"architecture": "retinanet", "norm": "FrozenBN", "extra_norm": False, "anchor_sizes": "8,16,32,64,128"}
SMALL |= {"batch_size": 2, "iterations": 5, "steps": "4", "warmup_iterations": 2, "lr": 0.001}
SMALL |= {"min_size_train": 64, "min_size_test": 64, "precise_bn_iterations": 0}


@pytest.fixture(scope="module")
def config():
    recipe = find_protocol("demo-voc0712-frcnn-c4").with_settings(SMALL).recipe
    small = detectron2_config(recipe, classes=10, width=0.125, convention=IMAGENET).clone()
    small.defrost()
    small.merge_from_list(["MODEL.FPN.OUT_CHANNELS", 16, "MODEL.RETINANET.NUM_CONVS", 1])
    return small


@pytest.fixture(scope="module")
def records(scenes):
    return open_data(find_protocol("demo-voc0712-frcnn-c4"), scenes / "VOCdevkit").train


@pytest.fixture(scope="module")
def network(config):
    """Return what makes a RetinaNet, always of the same weights."""
    torch.manual_seed(0)
    first = build_model(config).state_dict()

    def build():
        model = build_model(config)
        model.load_state_dict(first)
        return model

    return build


def run_in(folder, config):
    return Run(config, MINE, Process(), folder, workers=0, checkpoint_seconds=0.0)


class Killed(BaseException):
    """Ends a run on the spot."""


def trained(run, records, model, monkeypatch=None, dies_at=None):
    """Train to the end, or until iteration `dies_at`; return the weights."""
    if monkeypatch is None:
        train(run, model, records)
        return {name: tensor.clone() for name, tensor in model.state_dict().items()}
    original = Trainer.run_step

    def step(self):
        if self.iter == dies_at:
            raise Killed
        original(self)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Trainer, "run_step", step)
        train(run, model, records)
    return {}


def losses(folder):
    return [line["total_loss"] for line in read_log(folder / "log.jsonl")]


def test_a_killed_run_ends_with_the_same_bits(tmp_path, monkeypatch, config, records, network):
    whole = trained(run_in(tmp_path / "whole", config), records, network())
    broken = run_in(tmp_path / "broken", config)
    trained(broken, records, network(), monkeypatch, dies_at=3)
    found = trained(broken, records, network())
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")
    assert [name for name in whole if not torch.equal(whole[name], found[name])] == []


def test_a_state_holds_the_running_mean_by_its_formula(tmp_path, monkeypatch, config, records, network):
    """Of the numbers of positive anchors, from 100 on, with a tenth of each new one."""
    run, model, expected = run_in(tmp_path, config), network(), 100.0
    counted = []
    original = model.label_anchors

    def label(*given):
        labels, boxes = original(*given)
        counted.append(sum(int(((one >= 0) & (one != 10)).sum()) for one in labels))
        return labels, boxes

    model.label_anchors = label
    trained(run, records, model, monkeypatch, dies_at=4)
    for count in counted:
        expected = 0.9 * expected + 0.1 * max(count, 1)
    (found,) = load(checkpoints(tmp_path / "checkpoints")[-1])["normalizers"]
    assert len(counted) == 4
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(("rank", "world", "expected"), [(0, 2, 30.0), (1, 2, 50.0), (0, 1, 80.0), (3, 4, 20.0)])
def test_on_another_number_of_processes_as_many_anchors_are_expected_of_all(network, rank, world, expected):
    model = network()
    Normalizer(model, Process(rank, world)).restore([30.0, 50.0])
    assert model.loss_normalizer == expected


def test_a_network_without_such_a_number_exchanges_none():
    assert len(Normalizer(torch.nn.Linear(2, 2), Process(1, 4)).message()) == 0


def test_each_process_tells_its_own_number_in_its_place(network):
    model = network()
    model.loss_normalizer = 7.0
    assert Normalizer(model, Process(2, 4)).message().tolist() == [0, 0, 7, 0]


def test_the_plain_focal_loss_is_that_of_torchscript():
    torch.manual_seed(1)
    x, targets = torch.randn(50, 3), (torch.rand(50, 3) > 0.7).float()
    stock = normalizer.MODULE.sigmoid_focal_loss_jit
    with repeatable_focal_loss("cpu"):
        plain = normalizer.MODULE.sigmoid_focal_loss_jit
        assert plain is not stock
    assert normalizer.MODULE.sigmoid_focal_loss_jit is stock
    given = {"alpha": 0.25, "gamma": 2.0, "reduction": "sum"}
    torch.testing.assert_close(plain(x, targets, **given), stock(x, targets, **given))


def test_a_step_that_leaves_a_weight_that_is_no_number_is_not_saved(tmp_path, monkeypatch, config, records, network):
    """Its losses were numbers: only the next iteration would have shown it, after the state was written over."""
    model = network()
    original = Trainer.run_step

    def step(self):
        original(self)
        if self.iter == 2:
            model.head.cls_score.weight.data.fill_(float("nan"))

    monkeypatch.setattr(Trainer, "run_step", step)
    words = r"iteration 2: the training has diverged \(weights of head.cls_score.weight are no numbers after its step\)"
    with pytest.raises(DivergedError, match=words) as found:
        train(run_in(tmp_path, config), model, records)
    assert "\n" not in str(found.value)
    assert [path.stem for path in checkpoints(tmp_path / "checkpoints")] == ["iteration_0000001", "iteration_0000002"]
