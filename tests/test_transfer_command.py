import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement

import numpy as np
import pytest
import torch
from PIL import Image

import twinbench
from data.layouts import read_labelled
from protocols.catalogue import PROTOCOLS
from report.result import read_result
from transfer.lowshot import draw_samples

ROOT = Path(__file__).resolve().parent.parent


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
    return twinbench.main(["transfer", *map(str, arguments), "--workers", "0", "--device", "cpu", "--partial"])


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
        (("demo-imagenet-knn", "random", imagenet, tmp_path, "--set", "neighbors=20,99"), "99 neighbours among 40"),
    ]:
        assert run(*arguments) == 2
        error = capsys.readouterr().err
        assert expected in error and len(error.splitlines()) == 1, error
        assert not (tmp_path / "result.json").exists()


def test_another_trials_folder_is_refused(imagenet, tmp_path, capsys):
    run("demo-imagenet-knn", "random", imagenet, tmp_path, "--seed", 0)
    assert run("demo-imagenet-knn", "random", imagenet, tmp_path, "--seed", 1) == 2
    assert "choose another OUT or remove it" in capsys.readouterr().err


def test_an_incomplete_data_set_is_refused_unless_asked_for(imagenet, tmp_path, capsys):
    command = ["transfer", "demo-imagenet-knn", "random", str(imagenet), str(tmp_path), "--workers", "0"]
    assert twinbench.main(command) == 2
    assert "40 training and 20 test images of 10 classes; the protocol expects 3000, 500" in capsys.readouterr().err


def voc(root, positives, images=40):
    """Write a VOC2007 tree of ten classes in which image i shows class i mod 10; the last class has `positives`."""
    home, draw = root / "VOC2007", np.random.default_rng(0)
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (home / folder).mkdir(parents=True)
    lists = {}
    for split, count in (("trainval", images), ("test", 40)):
        ids = [f"{1000 * (split == 'test') + i:06}" for i in range(count)]
        for name in ids:
            k = int(name) % 10
            pixels = draw.integers(0, 40, size=(64, 64, 3)) + 20 * k
            Image.fromarray(pixels.astype(np.uint8)).save(home / "JPEGImages" / f"{name}.jpg")
            annotation = Element("annotation")
            SubElement(annotation, "filename").text = f"{name}.jpg"
            ElementTree(annotation).write(home / "Annotations" / f"{name}.xml")
        lists[split] = ids
        (home / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(ids) + "\n")
        for k in range(10):
            shown = [name for name in ids if int(name) % 10 == k]
            kept = set(shown[:positives] if k == 9 and split == "trainval" else shown)
            rows = [f"{name} {1 if name in kept else -1}" for name in ids]
            (home / "ImageSets/Main" / f"class{k}_{split}.txt").write_text("\n".join(rows) + "\n")
    return root


def test_voc_protocols_share_features_and_leave_out_what_is_too_small(tmp_path):
    data, cache = voc(tmp_path / "data", positives=2), tmp_path / "cache"
    for protocol in ("demo-voc07-svm-gap", "demo-voc07-svm-virtex"):
        assert run(protocol, "random", data, tmp_path / protocol, "--cache", cache) == 0
        result = read_result(tmp_path / protocol / "result.json")
        assert result.details["classes_left_out"] == ["class9"] and len(result.details["ap"]) == 9
        assert 0 < result.metrics["mAP"] <= 100 and result.details["solver"] == "batched"
    assert len(list(cache.iterdir())) == 2  # training and test features, once


def test_low_shot_with_drawn_and_with_published_samples(tmp_path, capsys):
    data = voc(tmp_path / "data", positives=17, images=170)
    targets = read_labelled("voc", data, "train").targets
    arrays = {f"sample{s}_k{k}": y for (s, k), y in draw_samples(targets, (2, 16), 2, seed=9).items()}
    np.savez(tmp_path / "targets.npz", **arrays)
    settings = ("--set", "shots=2,16", "--set", "samples=2", "--cache", tmp_path / "cache")
    assert run("demo-voc07-svm-lowshot", "random", data, tmp_path / "drawn", *settings) == 0
    given = ("--targets", tmp_path / "targets.npz")
    assert run("demo-voc07-svm-lowshot", "random", data, tmp_path / "given", *settings, *given) == 0
    drawn, published = (read_result(tmp_path / name / "result.json") for name in ("drawn", "given"))
    assert set(drawn.metrics) == {"mAP-k2", "mAP-k16", "mAP-heldout-k2", "mAP-heldout-k16"}
    assert drawn.metrics != published.metrics
    assert drawn.metrics["mAP-k16"] > drawn.metrics["mAP-k2"]
    found = [[k, drawn.metrics[f"mAP-k{k}"], drawn.details["by_k"][str(k)]["deviation"]] for k in (2, 16)]
    assert drawn.curves["mAP by images per class"] == found
    capsys.readouterr()
    for arguments, expected in [
        ((*settings[:4], "--targets", tmp_path / "none.npz"), "expected an .npz with arrays sample1_k2 to sample2_k16"),
        (("--set", "shots=1,2"), "gives no mAP-k16, the protocol's headline"),
    ]:
        assert run("demo-voc07-svm-lowshot", "random", data, tmp_path / "wrong", *arguments) == 2
        assert expected in capsys.readouterr().err


def test_one_vs_rest_on_single_labels(imagenet, tmp_path, monkeypatch):
    demo = PROTOCOLS["demo-inat18-svm"]
    monkeypatch.setitem(PROTOCOLS, "demo-inat18-svm", replace(demo, data="imagenet"))
    values = []
    for solver in ("batched", "liblinear"):
        assert run("demo-inat18-svm", "random", imagenet, tmp_path / solver, "--solver", solver) == 0
        values.append(read_result(tmp_path / solver / "result.json").metrics)
    assert values[0] == values[1] and values[0]["top5"] > values[0]["top1"] > 10


def test_a_probe_killed_in_the_middle_ends_with_the_same_numbers(imagenet, tmp_path):
    settings = ["epochs=40", "batch_size=16", "transform.resize=32", "transform.crop=32"]
    words = ["demo-imagenet-linear", "random", str(imagenet)]
    more = [word for pair in settings for word in ("--set", pair)]
    assert run(*words, tmp_path / "whole", *more) == 0
    command = [sys.executable, "-m", "twinbench", "transfer", *words, str(tmp_path / "killed"), *more]
    command += ["--workers", "0", "--device", "cpu", "--partial"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, **quiet)
    log = tmp_path / "killed" / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") >= 2):
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL and not (tmp_path / "killed" / "result.json").exists()
    assert run(*words, tmp_path / "killed", *more) == 0
    whole, killed = (read_result(tmp_path / name / "result.json") for name in ("whole", "killed"))
    assert (killed.metrics, killed.curves, killed.details) == (whole.metrics, whole.curves, whole.details)
