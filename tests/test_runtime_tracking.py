"""Trackers get the log's numbers and the result's.

TensorBoard is there; the others are stand-ins for the calls that their documentation has.
"""

import json
import sys
import types
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import twinbench
from twinbench.runtime import tracking
from twinbench.runtime.progress import JsonLog
from twinbench.runtime.tracking import TrackError, parse_trackers, tracked

CONFIG = {"protocol": "imagenet-linear", "seed": 0}


class StandIn(types.ModuleType):
    """A tracker's package that keeps what it is told: (function, positional arguments, keywords)."""

    def __init__(self, name, fails=""):
        super().__init__(name)
        self.calls, self.fails = [], fails
        self.info = types.SimpleNamespace(run_id="a-run-of-mlflow")

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args, **more):
            self.calls.append((name, args, more))
            if name == self.fails:
                raise ConnectionError("no route\nto host")
            return self

        return call

    def named(self, *names):
        return [call for call in self.calls if call[0] in names]


@pytest.fixture
def stand_in(monkeypatch):
    def put(name, fails=""):
        module = StandIn(name, fails)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return put


def run(out, names, epochs, first=1):
    """Write the log of a run from epoch `first` on, and its result if it gets to epoch 3."""
    with tracked(parse_trackers(names), out, "mine", CONFIG):
        log = JsonLog(out / "log.jsonl")
        log.cut("epoch", first)
        log.write(event="start", seed=0, images=24)
        for epoch in range(first, epochs + 1):
            log.write(epoch=epoch, loss=1 / epoch, note="text", eta_s=5, top1=None)
        JsonLog(out / "other.jsonl").write(epoch=1, loss=99.0)
        if epochs == 3:
            tracking.conclude(out, {"top1": 70.0})


def drawn(out, name):
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)], events.Tags()["scalars"]


def test_tensorboard_goes_on_with_a_run_that_was_killed_and_drops_what_is_drawn_again(tmp_path):
    run(tmp_path, "tensorboard", 2)
    run(tmp_path, "tensorboard", 3, first=2)  # its checkpoint was of epoch 1
    losses, names = drawn(tmp_path, "loss")
    assert losses == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert sorted(names) == ["loss", "result/top1"]
    assert drawn(tmp_path, "result/top1")[0] == [(3, 70.0)]


def test_a_run_killed_right_before_its_result_loses_no_curve(tmp_path):
    run(tmp_path, "tensorboard", 2)
    with tracked(("tensorboard",), tmp_path, "mine", CONFIG):
        tracking.conclude(tmp_path, {"top1": 70.0})
    assert drawn(tmp_path, "loss")[0] == [(1, 1.0), (2, 0.5)]
    assert drawn(tmp_path, "result/top1")[0] == [(2, 70.0)]


def test_wandb_resumes_the_same_run(tmp_path, stand_in, monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    wandb = stand_in("wandb")
    run(tmp_path, "wandb", 1)
    run(tmp_path, "wandb", 3, first=2)
    (first, second) = [more for _, _, more in wandb.named("init")]
    assert first == second
    assert first["resume"] == "allow"
    assert first["id"] == json.loads((tmp_path / "track.json").read_text())["id"]
    assert (first["project"], first["name"], first["config"]) == ("twinbench", "mine", CONFIG)
    assert wandb.named("log", "finish") == [
        ("log", ({"loss": 1.0},), {"step": 1}),
        ("finish", (), {}),
        ("log", ({"loss": 0.5},), {"step": 2}),
        ("log", ({"loss": 1 / 3},), {"step": 3}),
        ("log", ({"result/top1": 70.0},), {"step": 3}),
        ("finish", (), {}),
    ]


def test_mlflow_resumes_the_run_that_it_named(tmp_path, stand_in):
    mlflow = stand_in("mlflow")
    run(tmp_path, "mlflow", 1)
    run(tmp_path, "mlflow", 3, first=2)
    assert mlflow.named("start_run", "log_params") == [
        ("start_run", (), {"run_name": "mine"}),
        ("log_params", (CONFIG,), {}),
        ("start_run", (), {"run_id": "a-run-of-mlflow"}),
    ]
    assert mlflow.named("log_metrics")[-1] == ("log_metrics", ({"result/top1": 70.0},), {"step": 3})
    assert len(mlflow.named("end_run")) == 2


def test_trackio_goes_on_by_the_runs_name(tmp_path, stand_in):
    trackio = stand_in("trackio")
    run(tmp_path, "trackio", 1)
    run(tmp_path, "trackio", 3, first=2)
    first, second = [more for _, _, more in trackio.named("init")]
    assert first == second
    assert first["resume"] == "allow"
    assert first["name"].startswith("mine ")
    assert [args[0] for _, args, _ in trackio.named("log")] == [
        {"loss": 1.0},
        {"loss": 0.5},
        {"loss": 1 / 3},
        {"result/top1": 70.0},
    ]


@pytest.mark.parametrize("fails", ["init", "log", "finish"])
def test_a_tracker_that_fails_costs_its_curves_and_not_the_run(tmp_path, stand_in, capsys, fails):
    stand_in("wandb", fails)
    trackio = stand_in("trackio")
    run(tmp_path, "wandb,trackio", 3)
    assert len(trackio.named("log")) == 4
    error = capsys.readouterr().err
    assert error == "--track wandb: ConnectionError: no route; going on without it\n"
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 4


def test_nothing_is_imported_or_written_unless_it_is_asked_for(tmp_path, stand_in):
    trackers = [stand_in(name) for name in ("wandb", "mlflow", "trackio")]
    run(tmp_path, "", 3)
    assert [tracker.calls for tracker in trackers] == [[], [], []]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl", "other.jsonl"]


@pytest.mark.parametrize(
    ("names", "match"),
    [("tensorbord", "unknown tracker 'tensorbord'. Did you mean 'tensorboard'?"), ("wandb,wandb", "names one twice")],
)
def test_a_wrong_name_is_one_line(names, match):
    with pytest.raises(TrackError) as error:
        parse_trackers(names)
    assert match in str(error.value)


def test_a_folder_of_runs_on_the_path_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "runs_of_nobody").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    missing = pytest.raises(TrackError, match="--track runs_of_nobody: not installed")
    with missing, tracked(["runs_of_nobody"], tmp_path, "mine", {}):
        pass


def test_a_package_that_is_missing_is_one_line_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    out = tmp_path / "out"
    command = ["transfer", "imagenet-knn", "random", str(tmp_path), str(out), "--track", "wandb"]
    assert twinbench.main(command) == 2
    assert "--track wandb: not installed; run: pip install wandb, or leave it out\n" in capsys.readouterr().err
    assert not out.exists()


def test_a_suite_passes_its_trackers_on(tmp_path):
    from twinbench.suite.entries import SuiteError
    from twinbench.suite.graph import build_jobs
    from twinbench.suite.suite import read_suite

    (tmp_path / "images").mkdir()
    file = Path(tmp_path / "suite.yaml")
    text = (
        "name: s\nroot: out\ntrack: tensorboard,wandb\nmethods: {m: {pretrain: {data: imagenet, recipe: demo}}}\n"
        "protocols: {imagenet-knn: {}}\ndata: {imagenet: images}\n"
    )
    file.write_text(text)
    told = {job.name: job.argv for job in build_jobs(read_suite(file))}
    assert all("--track tensorboard,wandb" in " ".join(told[name]) for name in ("m/pretrain", "m/imagenet-knn/seed0"))
    file.write_text(text.replace("wandb", "wandbb"))
    with pytest.raises(SuiteError, match="track: .*unknown tracker 'wandbb'. Did you mean 'wandb'"):
        read_suite(file)


class Means(torch.nn.Module):
    """The mean of each colour: a backbone of Python's own."""

    def forward(self, images):
        return images.mean((2, 3))


@pytest.mark.parametrize("track", ["wandb,trackio", ["wandb", "trackio"]])
def test_python_shows_a_trial_as_the_command_does(tmp_path, scenes, stand_in, track):
    wandb, trackio = stand_in("wandb"), stand_in("trackio")
    data = str(scenes / "imagenet")
    result = twinbench.evaluate(
        Means(), "demo-imagenet-knn", data, tmp_path, seed=3, device="cpu", workers=0, track=track, partial=True
    )
    ((_, _, init),) = wandb.named("init")
    assert init["name"] == "Means demo-imagenet-knn seed3"
    assert init["config"]["backbone"] == "Means"
    assert init["config"]["data"] == data
    shown = {f"result/{name}": value for name, value in result.metrics.items()}
    assert wandb.named("log")[-1][1] == (shown,)
    assert trackio.named("log")[-1][1] == (shown,)


def test_python_refuses_an_unknown_tracker_before_anything_is_written(tmp_path, scenes):
    out = tmp_path / "out"
    with pytest.raises(TrackError, match="--track wandbb: unknown tracker 'wandbb'. Did you mean 'wandb'"):
        twinbench.evaluate("random", "demo-imagenet-knn", scenes / "imagenet", out, track="wandbb")
    assert not out.exists()
