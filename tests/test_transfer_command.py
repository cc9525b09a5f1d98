import json

import numpy as np
import pytest
import torch
from PIL import Image

import twinbench
from report.result import read_result


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """Ten classes of four training and two validation images, a brightness each, with a 1 % list."""
    root, draw = tmp_path_factory.mktemp("imagenet"), np.random.default_rng(0)
    names = []
    for split, count in (("train", 4), ("val", 2)):
        for k in range(10):
            folder = root / split / f"n0000000{k}"
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = draw.integers(0, 40, size=(80, 80, 3)) + 20 * k
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"n0000000{k}_{split}{i}.JPEG")
                names += [f"n0000000{k}_{split}{i}.JPEG"] if split == "train" and i < 2 else []
    (root / "1percent.txt").write_text("\n".join(names) + "\n")
    return root


def run(*arguments):
    return twinbench.main(["transfer", *map(str, arguments), "--workers", "0", "--device", "cpu"])


def test_knn_from_command_line_to_result(imagenet, tmp_path, capsys):
    assert run("demo-imagenet-knn", "random", imagenet, tmp_path, "--method", "none", "--seed", 3) == 0
    result = read_result(tmp_path / "result.json")
    assert (result.method, result.seed, result.images) == ("none", 3, {"train": 40, "test": 20})
    assert result.images_expected == {"train": 3000, "test": 500}
    assert set(result.metrics) == {"top1-k10", "top5-k10", "top1-k20", "top5-k20"}
    answer = capsys.readouterr().out
    assert answer.startswith("demo-imagenet-knn  none  seed 3") and len(answer.splitlines()) == 1


def test_a_finished_trial_is_told_again_and_not_repeated(imagenet, tmp_path, capsys):
    arguments = ("demo-imagenet-knn", "random", imagenet, tmp_path)
    run(*arguments)
    written = (tmp_path / "result.json").stat().st_mtime_ns
    first = capsys.readouterr().out
    assert run(*arguments) == 0
    assert (tmp_path / "result.json").stat().st_mtime_ns == written
    assert capsys.readouterr().out == first


def test_a_probe_writes_its_curve_log_and_checkpoint(imagenet, tmp_path):
    assert run("demo-imagenet-1pct", "random", imagenet, tmp_path, "--set", "epochs=2") == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["images"] == {"train": 20, "test": 20} and result["overrides"] == {"epochs": "2"}
    assert [epoch for epoch, _ in result["curves"]["top1"]] == [1, 2]
    assert (tmp_path / "log.jsonl").exists() and (tmp_path / "checkpoint.pth").exists()


def test_user_mistakes_take_one_line_and_exit_code_2(imagenet, tmp_path, capsys):
    for arguments, expected in [
        (("demo-imagenet-nn", "random", imagenet, tmp_path), "Did you mean 'demo-imagenet-knn'?"),
        (("imagenet-knn", "random", imagenet, tmp_path), "10 classes in the train split, but imagenet-knn has 1000"),
        (("demo-imagenet-knn", "random", tmp_path / "none", tmp_path), "no such folder"),
        (("demo-imagenet-knn", "random", imagenet, tmp_path, "--set", "k=3"), "unknown setting 'k'"),
        (("demo-imagenet-knn", tmp_path / "no.pth", imagenet, tmp_path), "no.pth"),
        (("demo-imagenet-knn", "random", imagenet, tmp_path, "--set", "neighbors=99"), "99 neighbours among 40"),
    ]:
        assert run(*arguments) == 2
        error = capsys.readouterr().err
        assert expected in error and len(error.splitlines()) == 1, error
        assert not (tmp_path / "result.json").exists()


def test_another_trials_folder_is_refused(imagenet, tmp_path, capsys):
    run("demo-imagenet-knn", "random", imagenet, tmp_path, "--seed", 0)
    assert run("demo-imagenet-knn", "random", imagenet, tmp_path, "--seed", 1) == 2
    assert "choose another OUT or remove it" in capsys.readouterr().err
