import argparse
import subprocess
from pathlib import Path

import numpy
import pytest

from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.report import provenance
from twinbench.report.result import read_result
from twinbench.report.trial import Trial, TrialError, add_trial_arguments, trial_protocol

KNN = PROTOCOLS["imagenet-knn"]


def a_trial(out, **changes):
    fields = {"protocol": KNN, "method": "m", "seed": 0, "backbone_sha256": "a" * 64, "device": "cpu", "out": out}
    return Trial(**(fields | changes))


def test_a_trials_identity_tells_it_from_others(tmp_path):
    assert a_trial(tmp_path, seed=3).identity == f"m on imagenet-knn ({KNN.fingerprint}), seed 3, backbone {'a' * 12}"


def test_a_finished_trial_carries_its_identity_and_is_found_again(tmp_path):
    trial = a_trial(tmp_path, protocol=trial_protocol(KNN, ["temperature=0.1"]))
    assert trial.finished() is None
    result = trial.finish({"top1-k20": 50.0, "top1-k10": 49.0}, {"train": 100, "test": 10}, details={"k": 1})
    assert read_result(tmp_path / "result.json") == result == trial.finished()
    assert (result.protocol, result.version, result.headline) == ("imagenet-knn", 1, "top1-k20")
    assert result.fingerprint == trial.protocol.fingerprint != KNN.fingerprint
    assert result.overrides == {"temperature": "0.1"}
    assert result.images_expected == {"train": 1_281_167, "test": 50_000}
    assert result.wall_seconds >= 0 and result.details == {"k": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"method": "other"},
        {"backbone_sha256": "b" * 64},
        {"protocol": trial_protocol(KNN, ["neighbors=20"])},
    ],
    ids=["seed", "method", "backbone", "recipe"],
)
def test_a_folder_with_another_trial_is_refused(tmp_path, change):
    a_trial(tmp_path).finish({"top1-k20": 50.0}, {})
    with pytest.raises(TrialError, match="holds m on imagenet-knn .* choose another OUT or remove it"):
        a_trial(tmp_path, **change).finished()


def test_the_code_is_named_by_its_commit():
    root = Path(provenance.__file__).resolve().parent.parent
    git = ["git", "-C", str(root), "rev-parse", "HEAD"]
    head = subprocess.run(git, capture_output=True, text=True, check=False)
    found = provenance.code()
    assert found["root"] == str(root)
    assert found["commit"] == (head.stdout.strip() if head.returncode == 0 else "unknown")


def test_versions_and_command_can_be_repeated(monkeypatch):
    assert provenance.versions()["numpy"] == numpy.__version__
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/twinbench", "transfer", "a b"])
    assert provenance.command() == "twinbench transfer 'a b'"


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_trial_arguments(parser)
    return parser.parse_args(["imagenet-knn", "random", "data", "out", *words])


@pytest.mark.parametrize("seed", ["-1", "4294967296", "x"])
def test_a_seed_that_no_generator_takes_is_refused(seed):
    with pytest.raises(TrialError, match=f"^--seed {seed}: expected 0 or more, at most 4294967295$"):
        parsed("--seed", seed)
    assert [parsed("--seed", good).seed for good in ("0", "4294967295")] == [0, 4294967295]


@pytest.mark.parametrize("label", ["", " ", "two\nlines", "\x1b[31mred"])
def test_a_label_that_no_table_shows_is_refused(tmp_path, label):
    with pytest.raises(TrialError, match="^method label '.*': expected printable characters; name the row with"):
        parsed("--method", label)
    with pytest.raises(TrialError, match="^method label '.*': expected printable"):
        a_trial(tmp_path, method=label)  # of a checkpoint's file name
    assert parsed("--method", "Barlow Twins, é").method == "Barlow Twins, é"
