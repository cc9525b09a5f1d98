"""Nearest patches killed at any moment end with the numbers of a run that was not."""

import shutil

import pytest
import torch

from tests.patch_colours import Colours, asked, killed_at, write_noise
from twinbench.data.pixels.matrix import MATRIX
from twinbench.dense.nearest import bank, grid, patches, trial
from twinbench.dense.places import DenseError
from twinbench.dense.trial import PICTURE, measure


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def colours(monkeypatch):
    monkeypatch.setattr(patches, "Places", Colours)


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    return write_noise(tmp_path_factory.mktemp("noise"))


KILLS = [
    ("voc12-hummingbird", bank.Bank, "write", 3, 4),
    ("voc12-hummingbird", trial.Retrieval, "scores", 4, 6),
    ("ade20k-knn-capi", bank.Bank, "write", 3, 4),
    ("ade20k-knn-capi", grid._Grid, "_answers", 2, 9),
    ("ade20k-knn-capi", grid._Grid, "_answers", 6, 9),
]


@pytest.mark.parametrize(("name", "owner", "method", "call", "calls"), KILLS)
def test_a_killed_run_ends_with_the_same_numbers(noise, tmp_path, monkeypatch, name, owner, method, call, calls):
    monkeypatch.setattr(bank, "IMAGES", 3)
    monkeypatch.setattr(trial, "TOGETHER", 2)
    monkeypatch.setattr(grid, "TOGETHER", 2)
    settings = {} if name == "ade20k-knn-capi" else {"scale": "0.5,2", "jitter": 0.1, "memory_size": 100}
    words = {"name": name, "backbone": "timm:vit_tiny_patch16_224=random", **settings}
    if (name, method) != ("voc12-hummingbird", "write"):  # a network takes time: one is enough
        words["backbone"] = "random"
        monkeypatch.setattr(patches, "Places", Colours)
    whole = measure(asked(noise, tmp_path / "whole", **words))
    with monkeypatch.context() as patched:
        killed_at(patched, owner, method, call)
        with pytest.raises(KeyboardInterrupt):
            measure(asked(noise, tmp_path / "killed", **words))
    made = killed_at(monkeypatch, bank.Bank, "write", -1)
    again = measure(asked(noise, tmp_path / "killed", **words))
    pieces = calls if method == "write" else made[0]
    assert made[0] == (pieces - (call - 1) if method == "write" else 0)
    assert again.metrics == whole.metrics
    assert again.details["per_class"] == whole.details["per_class"]
    assert {path.name for path in (tmp_path / "killed").iterdir()} == {"result.json", PICTURE, MATRIX}


def test_half_a_piece_is_made_again(noise, tmp_path, monkeypatch, colours):
    monkeypatch.setattr(bank, "IMAGES", 6)
    whole = measure(asked(noise, tmp_path / "whole"))
    with monkeypatch.context() as patched:
        killed_at(patched, trial.Retrieval, "predicted", 1)
        with pytest.raises(KeyboardInterrupt):
            measure(asked(noise, tmp_path / "out"))
    (tmp_path / "out" / "bank" / "labels-00001.npy").unlink()
    assert measure(asked(noise, tmp_path / "out")).metrics == whole.metrics


def test_a_finished_trial_leaves_no_bank_behind_though_it_was_killed_right_then(noise, tmp_path, monkeypatch, colours):
    with monkeypatch.context() as patched:
        killed_at(patched, shutil, "rmtree", 1)
        with pytest.raises(KeyboardInterrupt):
            measure(asked(noise, tmp_path, "ade20k-knn-capi"))
    assert {"result.json", "bank", "choosing"} <= {path.name for path in tmp_path.iterdir()}
    measure(asked(noise, tmp_path, "ade20k-knn-capi"))
    assert {path.name for path in tmp_path.iterdir()} == {"result.json", PICTURE, MATRIX}


def test_another_trials_bank_is_not_gone_on_with(noise, tmp_path, monkeypatch, colours):
    with monkeypatch.context() as patched:
        killed_at(patched, trial.Retrieval, "predicted", 1)
        with pytest.raises(KeyboardInterrupt):
            measure(asked(noise, tmp_path))
    with pytest.raises(DenseError, match="bank: belongs to ours on .*seed 0.* choose another OUT or remove it"):
        measure(asked(noise, tmp_path, seed=1))
