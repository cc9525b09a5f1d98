"""Training: killed and started again it ends with the same bits; weights arrive or the run stops."""

import os
import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from detectron2.engine import SimpleTrainer
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from twinbench.convert.convention import IMAGENET
from twinbench.convert.opening import open_backbone
from twinbench.data.layouts import DataError
from twinbench.data.objects.packed import Records
from twinbench.detection.config.detector import detectron2_config
from twinbench.detection.datasets import open_data
from twinbench.detection.models.weights import WeightsError, build_detector, check_arrival
from twinbench.detection.training import train as training
from twinbench.detection.training.checkpoint import KEPT, Checkpoints, Owner, ResumeError, checkpoints
from twinbench.detection.training.train import PRECISE, Run, train
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.identity import Identity
from twinbench.runtime.process import Process
from twinbench.runtime.progress import read_log
from twinbench.runtime.stopping import StopAsked

WIDTH = 0.125
MINE = Identity(recipe="8" * 12, backbone="b" * 64, data="d" * 64, seed=3)
SMALL = {"batch_size": 2, "iterations": 7, "steps": "5", "warmup_iterations": 2, "rois_per_image": 8}
SMALL |= {"min_size_train": 64, "min_size_test": 64, "precise_bn_iterations": 2, "rpn_post_nms_test": 8}


def small(**settings):
    recipe = find_protocol("demo-voc0712-frcnn-c4").with_settings(SMALL | settings).recipe
    return detectron2_config(recipe, classes=10, width=WIDTH, convention=IMAGENET)


@pytest.fixture(scope="module")
def records(scenes):
    return open_data(find_protocol("demo-voc0712-frcnn-c4"), scenes / "VOCdevkit").train


def run_in(folder, config, **more):
    settings = {"identity": MINE, "process": Process(), "workers": 0, "checkpoint_seconds": 0.0}
    return Run(config=config, folder=folder, **settings | more)


def trained(run, records):
    """Train (or go on training) in the folder of `run`; return the final weights."""
    model = build_detector(run.config, open_backbone("random", WIDTH), run.folder / "backbone.pth", run.seed)
    train(run, model, records)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


class Killed(BaseException):
    """Ends a run on the spot, as far as one can from inside."""


def die(*_):
    raise Killed


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, records):
    return trained(run_in(tmp_path_factory.mktemp("whole"), small()), records)


@pytest.mark.parametrize(("workers", "dies_at", "saved_at"), [(0, 5, 3), (2, 5, 3), (0, 1, None), (0, 6, 7)], ids=str)
def test_a_killed_run_ends_with_the_same_bits(
    tmp_path, monkeypatch, records, uninterrupted, workers, dies_at, saved_at
):
    """Killed in iteration `dies_at`, with its last checkpoint after `saved_at` iterations, or in precise batch norm."""

    def step(self):
        if self.iter == dies_at and saved_at != 7:
            raise Killed
        original(self)

    def save_once(self):
        if self.trainer.iter + 1 == saved_at:
            self.state.save(self.folder, saved_at)

    original = SimpleTrainer.run_step
    with monkeypatch.context() as patch:
        patch.setattr(SimpleTrainer, "run_step", step)
        patch.setattr(Checkpoints, "after_step", save_once)
        if saved_at == 7:
            patch.setattr(training, "update_bn_stats", die)
        with pytest.raises(Killed):
            trained(run_in(tmp_path, small(), workers=workers), records)
    assert not (tmp_path / "model_final.pth").exists()
    torch.rand(17)  # whatever the new process did before
    assert_same(trained(run_in(tmp_path, small(), workers=workers), records), uninterrupted)
    assert [line["iteration"] for line in read_log(tmp_path / "log.jsonl")] == list(range(7))


@pytest.mark.parametrize(("told_at", "saved"), [(2, 3), (6, 7)])
def test_a_run_told_to_stop_saves_at_once_and_ends_with_the_same_bits(
    tmp_path, monkeypatch, records, uninterrupted, told_at, saved
):
    def step(self):
        if self.iter == told_at:
            os.kill(os.getpid(), signal.SIGTERM)  # in the middle of an iteration
        original(self)

    original = SimpleTrainer.run_step
    with monkeypatch.context() as patch:
        patch.setattr(SimpleTrainer, "run_step", step)
        with pytest.raises(StopAsked, match=f"stopped after iteration {saved} of 7; state in .*checkpoints"):
            trained(run_in(tmp_path, small(), checkpoint_seconds=1e9), records)
    assert [path.stem for path in checkpoints(tmp_path / "checkpoints")] == [f"iteration_{saved:07d}"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert_same(trained(run_in(tmp_path, small()), records), uninterrupted)
    assert [line["iteration"] for line in read_log(tmp_path / "log.jsonl")] == list(range(7))


def test_a_finished_run_is_read_not_repeated(tmp_path, monkeypatch, records, uninterrupted):
    trained(run_in(tmp_path, small()), records)
    monkeypatch.setattr(SimpleTrainer, "run_step", lambda self: pytest.fail("trained again"))
    assert_same(trained(run_in(tmp_path, small()), records), uninterrupted)


def test_only_the_newest_checkpoints_are_kept_and_none_at_the_end(tmp_path, monkeypatch, records):
    seen = []

    def look(*_):
        seen.extend(path.stem for path in checkpoints(tmp_path / "checkpoints"))

    monkeypatch.setattr(training, "_precise_batch_norm", look)
    trained(run_in(tmp_path, small()), records)
    assert seen == ["iteration_0000006", "iteration_0000007"]
    assert len(seen) == KEPT
    assert checkpoints(tmp_path / "checkpoints") == []


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_picture_is_one_line_that_names_it(tmp_path, records, workers):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(Path(records[0]["file_name"]).read_bytes()[:600])
    damaged = Records.of({**record, "file_name": str(broken)} for record in records)
    with pytest.raises(DataError, match=r"broken.jpg: not a readable image \(.*; fetch the file again") as found:
        trained(run_in(tmp_path, small(), workers=workers), damaged)
    assert len(str(found.value)) < 400
    assert "Traceback" not in str(found.value)


@pytest.mark.parametrize("finished", [False, True])
def test_the_state_of_a_run_on_other_data_is_refused(tmp_path, monkeypatch, records, finished):
    with monkeypatch.context() as patch:
        if not finished:
            patch.setattr(training, "_precise_batch_norm", die)
        with nullcontext() if finished else pytest.raises(Killed):
            trained(run_in(tmp_path, small(iterations=1)), records)
    with pytest.raises(ResumeError, match="belongs to a run with data dddddddddddd, this one has cccccccccccc; choose"):
        trained(run_in(tmp_path, small(iterations=1), identity=replace(MINE, data="c" * 64)), records)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Owner(replace(MINE, recipe="9" * 12)), "recipe 888888888888, this one has 999999999999;"),
        (Owner(replace(MINE, backbone="a" * 64)), "backbone bbbbbbbbbbbb, this one has aaaaaaaaaaaa;"),
        (Owner(replace(MINE, seed=4)), "seed 3, this one has 4;"),
        (Owner(replace(MINE, seed=4, data="c" * 64)), "data dddddddddddd, seed 3, this one has cccccccccccc, 4;"),
    ],
)
def test_what_differs_from_another_run_is_named_in_one_line(other, words):
    Owner(MINE).require_own(Path("iteration_1.pth"), Owner(MINE).as_dict())
    with pytest.raises(ResumeError, match=f"belongs to a run with {words} choose another OUT, or remove it") as found:
        other.require_own(Path("iteration_1.pth"), Owner(MINE).as_dict())
    assert "\n" not in str(found.value)


def test_a_state_without_a_record_of_its_data_is_no_run_of_any_data():
    kept = {"fingerprint": MINE.recipe, "backbone": MINE.backbone, "seed": 3, "processes": 1}  # of version 0.1
    with pytest.raises(ResumeError, match="recipe not recorded, data not recorded, this one has 888888888888, ddddd"):
        Owner(MINE).require_own(Path("iteration_1.pth"), kept)


def test_seeds_differ(tmp_path, records, uninterrupted):
    other = trained(run_in(tmp_path, small(), identity=replace(MINE, seed=4)), records)
    assert not torch.equal(
        other["roi_heads.box_predictor.cls_score.weight"], uninterrupted["roi_heads.box_predictor.cls_score.weight"]
    )


def test_precise_batch_norm_is_the_mean_over_fresh_batches(tmp_path, records):
    run = run_in(tmp_path, small(iterations=1, precise_bn_iterations=3))
    found = trained(run, records)
    model = build_model(run.config)
    model.load_state_dict(found)
    model.train()
    maps = []
    stem = model.backbone.stem
    stem.conv1.norm.register_forward_hook(lambda module, inputs, output: maps.append(inputs[0].detach().double()))
    with EventStorage(), torch.no_grad():
        for batch in run.loader(records, start=0, stop=3, purpose=PRECISE):
            model(batch)
    values = torch.cat([m.transpose(0, 1).flatten(1) for m in maps], dim=1)  # (channels, all pixels of all batches)
    name = "backbone.stem.conv1.norm.running_"
    assert torch.allclose(found[f"{name}mean"].double(), values.mean(1), atol=1e-4)
    assert torch.allclose(found[f"{name}var"].double(), values.var(1, unbiased=False), rtol=1e-3)


def test_a_frozen_backbone_stays_to_the_bit_and_the_head_does_not(tmp_path, records):
    given = open_backbone("random", WIDTH).state_dict
    found = trained(run_in(tmp_path, small(freeze_at=4, iterations=2)), records)
    kept = {
        name: (tensor, given[f"layer{stage - 1}.0.conv1.weight"])
        for stage in (2, 3, 4)
        for name, tensor in found.items()
        if name == f"backbone.res{stage}.0.conv1.weight"
    }
    assert len(kept) == 3
    assert all(torch.equal(*pair) for pair in kept.values())
    assert torch.equal(found["backbone.stem.conv1.norm.running_var"], given["bn1.running_var"])
    assert not torch.equal(found["roi_heads.res5.0.conv1.weight"], given["layer4.0.conv1.weight"])


def test_one_full_resnet50_trains(tmp_path, records):
    protocol = find_protocol("voc0712-frcnn-c4").with_settings(SMALL | {"iterations": 2, "precise_bn_iterations": 0})
    config = detectron2_config(protocol.recipe, classes=10, width=1.0, convention=IMAGENET)
    model = build_detector(config, open_backbone("random"), tmp_path / "backbone.pth", seed=0)
    before = model.state_dict()["backbone.res4.5.conv3.weight"].clone()
    train(run_in(tmp_path, config), model, records)
    assert not torch.equal(model.state_dict()["backbone.res4.5.conv3.weight"], before)
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())


def test_every_tensor_of_the_backbone_arrives_and_what_does_not_is_an_error(tmp_path):
    config, path, backbone = small(), tmp_path / "backbone.pth", open_backbone("random", WIDTH)
    model = build_detector(config, backbone, path, seed=0)
    theirs = model.state_dict()
    assert torch.equal(theirs["backbone.stem.conv1.weight"], backbone.state_dict["conv1.weight"])
    assert torch.equal(theirs["backbone.res3.0.shortcut.weight"], backbone.state_dict["layer2.0.downsample.0.weight"])
    assert torch.equal(theirs["roi_heads.res5.2.conv3.weight"], backbone.state_dict["layer4.2.conv3.weight"])
    check_arrival(model, path)
    theirs["roi_heads.res5.0.conv1.weight"][0, 0, 0, 0] += 1e-6  # state_dict shares the model's memory
    with pytest.raises(WeightsError, match="264 of 265 .* missing res5.0.conv1.weight"):
        check_arrival(model, path)
    with pytest.raises(WeightsError, match="of 265 backbone tensors arrived"):
        check_arrival(build_model(config), path)


def test_a_backbone_of_another_width_is_an_error(tmp_path):
    with pytest.raises(WeightsError, match="0 of 265 .*width"):
        build_detector(small(), open_backbone("random", 0.25), tmp_path / "backbone.pth", seed=0)


def test_a_batch_that_does_not_divide_is_an_error(tmp_path, records):
    run = replace(run_in(tmp_path, small(batch_size=3)), process=Process(rank=0, world=2))
    with pytest.raises(Exception, match="batch_size 3 does not divide by 2 processes"):
        run.loader(records, start=0, stop=1)
