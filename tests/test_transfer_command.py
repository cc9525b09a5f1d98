import hashlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement

import numpy as np
import pytest
import torch
from PIL import Image

import twinbench
from twinbench.data.folders.imagenet import LISTS_SHA256
from twinbench.data.layouts import read_labelled
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.report.marks import notes
from twinbench.report.result import read_result
from twinbench.suite.advance import advance
from twinbench.transfer import cache, one_vs_rest, trials
from twinbench.transfer.lowshot import draw_samples
from twinbench.transfer.probe import Probe

FORK = multiprocessing.get_context("fork")  # a child has what a test has patched


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
    assert answer.startswith("demo-imagenet-knn  none  seed 3")
    assert len(answer.splitlines()) == 1


def test_a_finished_trial_is_told_again_and_not_repeated(imagenet, tmp_path, capsys):
    arguments = ("demo-imagenet-knn", "random", imagenet, tmp_path)
    run(*arguments)
    written = (tmp_path / "result.json").stat().st_mtime_ns
    first = capsys.readouterr().out
    assert run(*arguments) == 0
    assert (tmp_path / "result.json").stat().st_mtime_ns == written
    assert capsys.readouterr().out == first


def in_layout(protocol, layout):
    """Return a protocol whose data lie as those of another one."""
    return replace(protocol, data_set=replace(protocol.data_set, layout=layout))


@pytest.mark.parametrize(
    ("protocol", "blocks"), [("demo-imagenet-knn", 5), ("demo-inat18-svm", 5), ("demo-imagenet-linear", 2)]
)
def test_a_killed_trials_features_stay_and_a_finished_ones_go(imagenet, tmp_path, monkeypatch, protocol, blocks):
    """Blocks of 16: three of 40 training images (a probe needs none), two of 20 test images; the last one is killed."""
    monkeypatch.setitem(PROTOCOLS, protocol, in_layout(PROTOCOLS[protocol], "imagenet"))
    monkeypatch.setattr(cache, "CPU_BLOCK", 16)
    words = (protocol, "random", imagenet, *(("--set", "epochs=1") if protocol.endswith("linear") else ()))
    extract, calls, maps = cache.extract, [], []

    def killed_at_the_last(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) == blocks:
            raise KeyboardInterrupt
        return extract(*arguments, **keywords)

    def remove(path, **more):
        maps.extend(line for line in Path("/proc/self/maps").read_text().splitlines() if str(path) in line)
        rmtree(path, **more)

    rmtree = shutil.rmtree
    monkeypatch.setattr("twinbench.transfer.measure.shutil.rmtree", remove)
    assert run(*words, tmp_path / "whole") == 0
    monkeypatch.setattr(cache, "extract", killed_at_the_last)
    assert run(*words, tmp_path / "cut") == 130
    assert (tmp_path / "cut" / "features").exists()
    assert not (tmp_path / "cut" / "result.json").exists()
    assert run(*words, tmp_path / "cut") == 0
    assert len(calls) == blocks + 1
    whole, cut = (read_result(tmp_path / name / "result.json") for name in ("whole", "cut"))
    assert (cut.metrics, cut.curves, cut.details) == (whole.metrics, whole.curves, whole.details)
    assert not (tmp_path / "whole" / "features").exists()
    assert not (tmp_path / "cut" / "features").exists()
    assert maps == []  # a network disk would keep a file that is still mapped


def test_what_follows_the_network_is_exact_where_products_may_take_tf32(imagenet, tmp_path, monkeypatch):
    """As in containers that set TORCH_ALLOW_TF32_CUBLAS_OVERRIDE; a processor does not care."""
    products, seen, neighbours = torch.backends.cuda.matmul, [], trials.knn_accuracy

    def look(*arguments, **keywords):
        seen.append(products.allow_tf32)
        return neighbours(*arguments, **keywords)

    monkeypatch.setattr(trials, "knn_accuracy", look)
    products.allow_tf32 = True
    try:
        assert run("demo-imagenet-knn", "random", imagenet, tmp_path) == 0
        assert seen == [False]
        assert products.allow_tf32
    finally:
        products.allow_tf32 = False


@pytest.mark.parametrize(("protocol", "parts"), [("demo-imagenet-knn", False), ("demo-imagenet-1pct", True)])
def test_a_gpu_that_is_too_small_is_one_line_with_what_helps(protocol, parts, imagenet, tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB.\nSee documentation")

    monkeypatch.setattr(trials, "knn_accuracy", full)
    monkeypatch.setattr(trials.Probe, "run", full)
    assert run(protocol, "random", imagenet, tmp_path) == 2
    error = capsys.readouterr().err
    assert f"cpu: {protocol} does not fit into its memory (CUDA out of memory); end what else" in error
    assert error.count("\n") == 1
    assert ("--set accumulate=2" in error) == parts


def test_deterministic_holds_where_it_is_measured_and_the_result_says_so(imagenet, tmp_path, monkeypatch):
    seen, neighbours = [], trials.knn_accuracy

    def look(*arguments, **keywords):
        seen.append(torch.are_deterministic_algorithms_enabled())
        return neighbours(*arguments, **keywords)

    monkeypatch.setattr(trials, "knn_accuracy", look)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    words = ("demo-imagenet-knn", "random", imagenet)
    for name, more in (("with", ["--deterministic"]), ("without", [])):
        assert run(*words, tmp_path / name, *more) == 0
    assert seen == [True, False]
    results = [read_result(tmp_path / name / "result.json") for name in ("with", "without")]
    assert [result.details.get("deterministic") for result in results] == [True, None]


def test_a_kill_between_the_result_and_the_removal_leaves_nothing_for_good(imagenet, tmp_path, monkeypatch):
    words = ("demo-imagenet-knn", "random", imagenet, tmp_path)
    with monkeypatch.context() as killed:
        killed.setattr("twinbench.transfer.measure.shutil.rmtree", None)  # fails when called
        with pytest.raises(TypeError):
            run(*words)
    assert (tmp_path / "result.json").exists()
    assert (tmp_path / "features").exists()
    # the user's
    assert run(*words, "--cache", tmp_path / "features") == 0
    assert (tmp_path / "features").exists()
    assert run(*words) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_disk_that_is_full_of_features_is_one_line_and_then_it_goes_on(imagenet, tmp_path, capsys):
    words, limits = ("demo-imagenet-knn", "random", imagenet, tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        assert run(*words) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    error = capsys.readouterr().err
    assert error.startswith(f"twinbench transfer: {tmp_path}/features/")
    assert error.count("\n") == 1
    assert error.endswith("/0-40.npy: File too large; make room or name another place\n")
    assert run(*words) == 0


def test_a_probe_writes_its_curve_and_log_and_leaves_no_checkpoint(imagenet, tmp_path):
    assert run("demo-imagenet-1pct", "random", imagenet, tmp_path, "--set", "epochs=2") == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["images"] == {"train": 20, "test": 20}
    assert result["overrides"] == {"epochs": "2"}
    assert [epoch for epoch, _ in result["curves"]["top1"]] == [1, 2]
    assert (tmp_path / "log.jsonl").exists()
    assert not (tmp_path / "checkpoint.pth").exists()


def interrupted(*_, **__):
    raise KeyboardInterrupt


def test_a_list_elsewhere_is_as_good_as_one_in_the_data(imagenet, tmp_path, monkeypatch, capsys):
    data, listing = tmp_path / "data", tmp_path / "mine.txt"
    data.mkdir()
    for split in ("train", "val"):
        (data / split).symlink_to(imagenet / split)
    words = ("demo-imagenet-1pct", "random", data, tmp_path / "given", "--set", "epochs=1")
    assert run(*words) == 2
    assert "1percent.txt: no such file; expected SimCLR's list; fetch it with" in capsys.readouterr().err
    listing.write_text((imagenet / "1percent.txt").read_text())
    assert run(*words, "--list", listing) == 0
    (data / "1percent.txt").symlink_to(listing)  # a folder of links, as a suite needs where the data is read-only
    for name, root in (("own", imagenet), ("links", data)):
        assert run("demo-imagenet-1pct", "random", root, tmp_path / name, "--set", "epochs=1") == 0
    given, own, links = (read_result(tmp_path / name / "result.json") for name in ("given", "own", "links"))
    assert given.metrics == own.metrics == links.metrics
    assert given.details == own.details == links.details
    assert given.details["list_sha256"] == hashlib.sha256(listing.read_bytes()).hexdigest()
    assert run(*words) == 0  # the data's own list is that one
    (data / "1percent.txt").unlink()
    (data / "1percent.txt").write_text("n00000001_train0.JPEG\n")
    capsys.readouterr()
    assert run(*words) == 2
    assert ", seed 0, on other data (scenes-imagenet-1pct " in capsys.readouterr().err
    ended = (tmp_path / "given" / "result.json").read_bytes()
    (tmp_path / "given" / "result.json").unlink()
    with monkeypatch.context() as killed:  # right before its end: the checkpoint is there
        killed.setattr("twinbench.report.trial.Trial.finish", interrupted)
        assert run(*words, "--list", listing) == 130
    listing.write_text("n00000001_train0.JPEG\n")
    capsys.readouterr()
    assert run(*words, "--list", listing) == 2
    assert "checkpoint.pth: belongs to" in capsys.readouterr().err
    (tmp_path / "given" / "result.json").write_bytes(ended)
    assert run(*words, "--list", listing) == 2
    assert ", seed 0, on other data (scenes-imagenet-1pct " in capsys.readouterr().err
    assert run("demo-imagenet-knn", "random", imagenet, tmp_path / "knn", "--list", listing) == 2
    assert f"--list {listing}: demo-imagenet-knn trains on every image" in capsys.readouterr().err


def test_on_imagenets_classes_another_list_than_simclrs_is_refused_or_marked(imagenet, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("twinbench.data.required.CLASSES", 10)
    demo = PROTOCOLS["demo-imagenet-1pct"]
    monkeypatch.setitem(PROTOCOLS, demo.name, replace(demo, data_set=replace(demo.data_set, images=(20, 20))))
    words = [demo.name, "random", imagenet, "--set", "epochs=1", "--workers", "0", "--device", "cpu"]
    command = ["transfer", *map(str, words)]
    assert twinbench.main([*command[:4], str(tmp_path / "refused"), *command[4:]]) == 2
    error = capsys.readouterr().err
    assert "1percent.txt: sha256" in error
    assert "demo-imagenet-1pct rests on SimCLR's 1percent.txt" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "refused").exists()
    with monkeypatch.context() as more:
        more.setitem(
            PROTOCOLS, demo.name, replace(demo, data_set=replace(demo.data_set, images=(19, 20)))
        )  # the list's own message comes first
        assert twinbench.main([*command[:4], str(tmp_path / "refused"), *command[4:]]) == 2
        assert "rests on SimCLR's 1percent.txt" in capsys.readouterr().err
    assert twinbench.main([*command[:4], str(tmp_path / "marked"), *command[4:], "--partial"]) == 0
    marked = read_result(tmp_path / "marked" / "result.json")
    assert marked.details["list_is_simclrs"] is False
    assert notes(marked)[-1] == "trained on another list of images than SimCLR's"
    sha256 = hashlib.sha256((imagenet / "1percent.txt").read_bytes()).hexdigest()
    monkeypatch.setitem(LISTS_SHA256, "1percent.txt", sha256)
    assert twinbench.main([*command[:4], str(tmp_path / "known"), *command[4:]]) == 0
    known = read_result(tmp_path / "known" / "result.json")
    assert known.details["list_is_simclrs"] is True
    assert not any("SimCLR" in note for note in notes(known))


def test_user_mistakes_take_one_line_and_exit_code_2(imagenet, tmp_path, capsys):
    for arguments, expected in [
        (("demo-imagenet-nn", "random", imagenet, tmp_path), "Did you mean 'demo-imagenet-knn' or "),
        (("imagenet-knn", "random", imagenet, tmp_path), "10 classes in the train split, but imagenet-knn has 1000"),
        (("demo-imagenet-knn", "random", tmp_path / "none", tmp_path), "no such folder"),
        (("demo-imagenet-knn", "random", imagenet, tmp_path, "--set", "k=3"), "unknown setting 'k'"),
        (("demo-imagenet-knn", tmp_path / "no.pth", imagenet, tmp_path), "no.pth"),
        (("demo-imagenet-knn", "random", imagenet, tmp_path, "--set", "neighbors=20,99"), "99 neighbours among 40"),
        (
            ("demo-imagenet-knn", "random", imagenet, tmp_path, "--targets", imagenet),
            "takes no samples that others have drawn; leave it out",
        ),
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
        assert result.details["classes_left_out"] == ["class9"]
        assert len(result.details["ap"]) == 9
        assert 0 < result.metrics["mAP"] <= 100
        assert result.details["solver"] == "batched"
    assert len(list(cache.iterdir())) == 2  # training and test features, once


def test_partial_data_without_a_class_that_is_large_enough_is_one_line(tmp_path, capsys):
    data = voc(tmp_path / "data", positives=1, images=10)
    assert run("demo-voc07-svm-gap", "random", data, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "0 of 10 classes have enough images in both splits; expected at least one with 3 positive" in error
    assert error.count("\n") == 1


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
    assert (drawn.details["samples"], published.details["samples"]) == ("drawn from the seed", "from a file")
    assert drawn.details["samples_sha256"] != published.details["samples_sha256"]
    assert run("demo-voc07-svm-lowshot", "random", data, tmp_path / "seed1", *settings, *given, "--seed", 1) == 0
    assert read_result(tmp_path / "seed1" / "result.json").metrics == published.metrics  # the seed draws nothing
    assert set(drawn.metrics) == {"mAP-k2", "mAP-k16", "mAP-heldout-k2", "mAP-heldout-k16"}
    assert drawn.metrics != published.metrics
    assert drawn.metrics["mAP-k16"] > drawn.metrics["mAP-k2"]
    found = [[k, drawn.metrics[f"mAP-k{k}"], drawn.details["by_k"][str(k)]["deviation"]] for k in (2, 16)]
    assert drawn.curves["mAP by images per class"] == found
    capsys.readouterr()
    for arguments, expected in [
        ((*settings[:4], "--targets", tmp_path / "none.npz"), "none.npz: no such file or folder"),
        ((*settings[:2], "--set", "samples=3", *given), "no sample3_k2 in it; expected sample1_k2 to sample3_k16"),
        (("--set", "shots=1,2"), "expected 16 among them for mAP-k16"),
        (("--set", "shots=16,18"), "class class0: 17 training images with it, but k = 18 needs 18"),
    ]:
        assert run("demo-voc07-svm-lowshot", "random", data, tmp_path / "wrong", *arguments) == 2
        assert expected in capsys.readouterr().err
    files = f"those of files, {published.details['samples_sha256'][:12]}"
    assert run("demo-voc07-svm-lowshot", "random", data, tmp_path / "drawn", *settings, *given) == 2
    assert f"with other low-shot samples (drawn from the seed instead of {files}); " in capsys.readouterr().err
    assert run("demo-voc07-svm-lowshot", "random", data, tmp_path / "given", *settings) == 2
    assert f"with other low-shot samples ({files} instead of drawn from the seed); " in capsys.readouterr().err
    for name, samples in (("given", given), ("drawn", ())):
        assert run("demo-voc07-svm-lowshot", "random", data, tmp_path / name, *settings, *samples) == 0


def test_low_shot_samples_for_all_classes_together_are_drawn_from_the_seed(tmp_path, capsys):
    data = voc(tmp_path / "data", positives=17, images=170)
    words = ("demo-voc07-svm-lowshot-pcl", "random", data)
    settings = ("--set", "shots=2,16", "--cache", tmp_path / "cache")
    found = []
    for seed in (0, 1):
        assert run(*words, tmp_path / str(seed), *settings, "--seed", seed) == 0
        found.append(read_result(tmp_path / str(seed) / "result.json"))
    assert found[0].details["samples_sha256"] != found[1].details["samples_sha256"]
    for result in found:
        assert result.metrics["mAP-k16"] > result.metrics["mAP-k2"]
        assert result.metrics["mAP-heldout-k16"] == result.metrics["mAP-k16"]  # one cost: nothing to choose
    np.savez(tmp_path / "targets.npz", sample1_k2=read_labelled("voc", data, "train").targets)
    assert run(*words, tmp_path / "given", "--targets", tmp_path / "targets.npz") == 2
    assert "takes no samples that others have drawn; leave it out" in capsys.readouterr().err


def test_one_vs_rest_on_single_labels(imagenet, tmp_path, monkeypatch):
    demo = PROTOCOLS["demo-inat18-svm"]
    monkeypatch.setitem(PROTOCOLS, "demo-inat18-svm", in_layout(demo, "imagenet"))
    values = []
    for solver in ("batched", "liblinear"):
        assert run("demo-inat18-svm", "random", imagenet, tmp_path / solver, "--solver", solver) == 0
        found = read_result(tmp_path / solver / "result.json")
        values.append(found.metrics)
        assert found.converged
        assert found.details["not_converged"] == 0
        for fits in (found.details["iterations"], found.details["gradient"]):
            assert 0 < fits["least"] <= fits["median"] <= fits["most"]
        assert found.details["gradient"]["most"] < 0.1
        far = advance(tmp_path / solver / "log.jsonl", "classes", 10)  # as `suite status` reads it
        assert far
        assert (far.done, far.total) == (10, 10)
    assert values[0] == values[1]
    assert values[0]["top5"] > values[0]["top1"] > 10


def test_one_vs_rest_killed_between_blocks_ends_with_the_same_numbers(imagenet, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(PROTOCOLS, "demo-inat18-svm", in_layout(PROTOCOLS["demo-inat18-svm"], "imagenet"))
    monkeypatch.setattr(one_vs_rest, "BUDGET", 40 * 3)  # 40 images: blocks of 3 classes
    words, fit, fits = ("demo-inat18-svm", "random", imagenet), one_vs_rest._fit, []

    def dying(*arguments):
        if len(fits) == 2:
            raise KeyboardInterrupt
        fits.append(arguments)
        return fit(*arguments)

    assert run(*words, tmp_path / "whole") == 0
    with monkeypatch.context() as killed:
        killed.setattr(one_vs_rest, "_fit", dying)
        assert run(*words, tmp_path / "killed") == 130
    assert not (tmp_path / "killed" / "result.json").exists()
    capsys.readouterr()
    for more in (("--seed", 1), ("--solver", "liblinear"), ("--method", "other")):
        assert run(*words, tmp_path / "killed", *more) == 2
        error = capsys.readouterr().err
        assert "blocks.npz: belongs to random on demo-inat18-svm" in error
        assert len(error.splitlines()) == 1
    assert run(*words, tmp_path / "killed") == 0
    whole, killed = (read_result(tmp_path / name / "result.json") for name in ("whole", "killed"))
    assert (killed.metrics, killed.details) == (whole.metrics, whole.details)


def test_a_probe_killed_in_the_middle_ends_with_the_same_numbers(imagenet, tmp_path, monkeypatch):
    settings = ["epochs=4", "batch_size=16", "transform.resize=32", "transform.crop=32"]
    words = ["demo-imagenet-linear", "random", str(imagenet)]
    more = [word for pair in settings for word in ("--set", pair)]
    assert run(*words, tmp_path / "whole", *more) == 0
    step = Probe._step

    def killed_in_the_third(self, *batch):
        if len(self.history) == 2 and self.step == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, *batch)

    with monkeypatch.context() as killed:
        killed.setattr(Probe, "_step", killed_in_the_third)
        process = FORK.Process(target=run, args=(*words, tmp_path / "killed", *more))
        process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "killed" / "log.jsonl").read_text().count("\n") == 2
    assert not (tmp_path / "killed" / "result.json").exists()
    assert run(*words, tmp_path / "killed", *more) == 0
    whole, killed = (read_result(tmp_path / name / "result.json") for name in ("whole", "killed"))
    assert (killed.metrics, killed.curves, killed.details) == (whole.metrics, whole.curves, whole.details)
