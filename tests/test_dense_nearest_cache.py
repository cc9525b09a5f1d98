"""The cache of patches: a trial's numbers are those without it, whoever made it; what is there is not made again."""

import multiprocessing
import os
import resource
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import twinbench
from tests.patch_colours import GRID, SIDE, Colours, asked, killed_at, write_noise
from twinbench.convert.opening import open_backbone
from twinbench.data.objects.packed import Records
from twinbench.dense.nearest import bank, grid, kept, patches, shards
from twinbench.dense.nearest.fill import filled
from twinbench.dense.options import Options
from twinbench.dense.places import DenseError
from twinbench.dense.trial import measure
from twinbench.report.asked import options_of
from twinbench.runtime import side_by_side
from twinbench.runtime.process import Process

FORK = multiprocessing.get_context("fork")  # a child has what a test has patched


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(bank, "IMAGES", 3)
    monkeypatch.setattr(kept, "CPU_STRETCH", 6)
    monkeypatch.setattr(side_by_side, "POLL", 0.01)


class Counting(Colours):
    """Patches that are mean colours, of how many images that show something, and how many at once."""

    seen: list[int] = []

    def forward(self, images):
        if (images != images[0, :, :1, :1]).any():  # not what a network's width is found by
            self.seen.append(len(images))
        return super().forward(images)


@pytest.fixture
def counted(monkeypatch):
    monkeypatch.setattr(patches, "Places", Counting)
    monkeypatch.setattr(Counting, "seen", [])
    return Counting.seen


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    return write_noise(tmp_path_factory.mktemp("noise"))


def cached(asked, folder, *, compress=False):
    return measure(asked, Options(cache=folder, compress=compress))


def numbers(result):
    return result.metrics, result.curves, result.details["per_class"], result.details["patches"]


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------------------------------- same numbers


@pytest.mark.parametrize(
    ("name", "compress"), [("voc12-hummingbird", False), ("ade20k-knn-capi", True), ("ade20k-logreg-capi", False)]
)
def test_numbers_are_those_without_a_cache_and_a_second_trial_sees_no_image(noise, tmp_path, counted, name, compress):
    plain = measure(asked(noise, tmp_path / "plain", name))
    cached(asked(noise, tmp_path / "first", name, seed=1), tmp_path / "cache", compress=compress)
    before, made = len(counted), stamps(tmp_path / "cache")
    second = cached(asked(noise, tmp_path / "second", name), tmp_path / "cache")
    assert numbers(second) == numbers(plain)
    augmented = [3] * 4 if name == "voc12-hummingbird" else []  # its bank
    assert counted[before:] == augmented
    assert stamps(tmp_path / "cache") == made


def test_recipes_share_test_images(noise, tmp_path, counted):
    settings = {"interpolation": "bicubic", "label_point": "centre"}
    cached(asked(noise, tmp_path / "grid", "ade20k-knn-capi"), tmp_path / "cache")
    before = len(counted)
    cached(asked(noise, tmp_path / "logreg", "ade20k-logreg-capi"), tmp_path / "cache")
    assert counted[before:] == []
    cached(asked(noise, tmp_path / "other", **settings), tmp_path / "cache")
    assert counted[before:] == [3] * 4  # its bank
    cached(asked(noise, tmp_path / "bilinear"), tmp_path / "cache")
    assert counted[before + 4 :].count(1) == 6


def test_a_networks_patches_in_a_cache_are_its_own_to_the_rounding_of_batches(noise, tmp_path, monkeypatch):
    """Test images are seen one by one with and without a cache; of a bank's other ones come together."""
    words = {"name": "ade20k-knn-capi", "side": 64}
    features = []
    monkeypatch.setattr(
        grid, "filled", lambda *given, **named: features.append(filled(*given, **named)) or features[-1]
    )
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    plain = measure(asked(noise, tmp_path / "plain", **words))
    found = cached(asked(noise, tmp_path / "found", **words), tmp_path / "cache")
    one, other = (torch.cat([block for _, block in each.opened("cpu").blocks()]) for each in features)
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert numbers(found) == numbers(plain)


@cache
def random():
    return open_backbone("random", 0.125)


def run_of(data, process=Process(), **options):  # noqa: B008
    """Return a trial's parts as far as the cache asks for them."""
    trial = asked(data, data / "out", "ade20k-knn-capi")
    recipe = trial.protocol.recipe
    records = [
        {"file_name": str(path), "image_id": path.stem, "width": SIDE, "height": SIDE}
        for path in sorted((data / "images" / "train").iterdir())
    ]
    split = Records.of(records)
    data = SimpleNamespace(split=lambda name: split)
    return SimpleNamespace(
        out=trial.out,
        backbone=random(),
        recipe=recipe,
        data=data,
        process=process,
        workers=0,
        options=Options(**options),
    )


def kept_of(run, split="train"):
    return kept.kept_patches(run, patches.Patches(run), split)


def test_a_shard_holds_what_the_network_gives_compressed_or_not(noise, tmp_path):
    """Each batch of a shard is the same whoever makes it, so that the bits are, too."""
    found = {}
    for compress in (False, True):
        run = run_of(noise, cache=tmp_path / str(compress), compress=compress)
        run.recipe = replace(run.recipe, side=64)
        found[compress] = kept_of(run)
    network, images = patches.Patches(run), kept.SquareImages(run.data.split("train"), patches.Patches(run).squares)
    for shard in range(4):
        expected = network(torch.stack([images[index] for index in range(3 * shard, 3 * shard + 3)]))
        for place, index in enumerate(range(3 * shard, 3 * shard + 3)):
            assert torch.equal(found[False][index], expected[place])
            assert torch.equal(found[True][index], expected[place])
    rows = np.array([5, 4, 47, 5])
    whole = torch.cat([found[False][index] for index in range(12)])
    assert torch.equal(found[True].rows(rows), whole[rows])


def test_the_key_sees_everything_that_changes_a_patch(noise, tmp_path, counted):
    def key(split="train", device="cpu", backbone=None, **recipe):
        run = run_of(noise, cache=tmp_path / "cache")
        run.recipe = replace(run.recipe, **recipe)
        run.backbone = backbone or run.backbone
        network = patches.Patches(run)
        run.process = Process(device=device)
        return kept.found_in_cache(run, network, split).folder.name

    same = [key(), key(neighbors=(1,)), key(standardize=False), key(label_point="corner"), key(side=SIDE + 3)]
    assert len(set(same)) == 1
    assert key(device="cuda:1") == key()  # fp32 is shared by all devices
    assert key(device="cuda:1", precision="bf16") == key(device="cuda:0", precision="bf16")
    others = [
        key("test"),  # seen one by one
        key(side=2 * SIDE),
        key(interpolation="bilinear"),
        key(blocks=2),
        key(precision="bf16"),
        key(precision="bf16", device="cuda:0"),
        key(backbone=replace(random(), sha256="0" * 64)),
    ]
    path = next((noise / "images" / "train").iterdir())
    content = path.read_bytes()
    path.write_bytes(content + b"\0")
    others.append(key())
    path.write_bytes(content)
    assert key() == same[0]
    assert len({same[0], *others}) == 9


# -------------------------------------------------------------------------------------------------- kills, many at once


@pytest.mark.parametrize(("owner", "name", "call"), [(kept, "write_shard", 3), (bank.Bank, "write", 2)])
def test_a_killed_trial_goes_on_with_what_is_there(noise, tmp_path, monkeypatch, counted, owner, name, call):
    whole = cached(asked(noise, tmp_path / "whole", "ade20k-knn-capi"), tmp_path / "other")
    with monkeypatch.context() as patched:
        killed_at(patched, owner, name, call)
        with pytest.raises(KeyboardInterrupt):
            cached(asked(noise, tmp_path / "out", "ade20k-knn-capi"), tmp_path / "cache")
    before = len(counted)
    again = cached(asked(noise, tmp_path / "out", "ade20k-knn-capi"), tmp_path / "cache")
    bank_left = 2 if name == "write_shard" else 0  # batches of the four shards
    assert counted[before:] == [3] * bank_left + [1] * 6
    assert numbers(again) == numbers(whole)
    assert not (tmp_path / "out" / "bank").exists()


def test_trials_at_once_share_the_work(noise, tmp_path, monkeypatch):
    monkeypatch.setattr(patches, "Places", Colours)
    monkeypatch.setattr(kept, "CPU_STRETCH", 3)
    log, write = tmp_path / "made", shards.write_shard

    def logged(path, images, **options):
        with log.open("a") as file:
            file.write(f"{path.name}\n")
        write(path, images, **options)

    monkeypatch.setattr(kept, "write_shard", logged)

    def job(number):
        cached(asked(noise, tmp_path / str(number), "ade20k-knn-capi", seed=number), tmp_path / "cache")

    jobs = [FORK.Process(target=job, args=(number,)) for number in range(3)]
    for each in jobs:
        each.start()
    for each in jobs:
        each.join(120)
    assert [each.exitcode for each in jobs] == [0, 0, 0]
    assert sorted(log.read_text().split()) == sorted(["00000", "00001"] * 2 + ["00002", "00003"])  # train and test


def test_a_whole_cache_need_not_be_ours_to_change(noise, tmp_path, monkeypatch, counted):
    first = kept_of(run_of(noise, cache=tmp_path / "cache"))
    monkeypatch.setattr(side_by_side, "open", None, raising=False)  # fails when called: of the lock
    assert kept_of(run_of(noise, cache=tmp_path / "cache")) == first


# ------------------------------------------------------------------------------------------------------------- mistakes


def test_a_disk_without_room_is_told_before_a_network_sees_an_image(noise, tmp_path, monkeypatch, counted):
    class Disk:
        free = 2 * 12 * 16 * 3 * 4 - 1  # twice twelve images of 16 patches of 3 float32

    run = run_of(noise, cache=tmp_path / "cache")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk)
    with pytest.raises(
        DenseError, match="cache: the cache of patches takes 0.0 GB, .* choose another --cache, or leave"
    ):
        grid.filled(run, patches.Patches(run), [], 16, lambda key, labels: labels)
    assert counted == []
    monkeypatch.setattr(Disk, "free", 2 * 12 * 16 * 3 * 4)
    kept.plan(run, patches.Patches(run))
    kept_of(run)
    monkeypatch.setattr(Disk, "free", 12 * 16 * 3 * 4)  # the other half
    kept.plan(run, patches.Patches(run))


def test_compressed_patches_may_fit_where_plain_ones_would_not(noise, tmp_path, monkeypatch, counted, caplog):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    run = run_of(noise, cache=tmp_path / "cache", compress=True)
    with caplog.at_level("INFO"):
        kept.plan(run, patches.Patches(run))
    assert "train images: at most 0.00 GB in" in caplog.text


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("voc12-hummingbird", "choose another OUT, or a smaller memory_size"),
        ("ade20k-logreg-capi", "choose another OUT, or keep features elsewhere, with --cache"),
    ],
)
def test_a_bank_without_room_is_told_with_what_its_recipe_can_do(noise, tmp_path, monkeypatch, counted, name, advice):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(DenseError, match=f"bank: the bank takes .* room for it: {advice}$"):
        measure(asked(noise, tmp_path / "out", name))


def test_a_disk_that_is_full_of_a_bank_is_one_line_and_then_it_goes_on(noise, tmp_path, monkeypatch, capsys, counted):
    monkeypatch.delenv("TWINBENCH_CACHE", raising=False)
    words = ["dense", "ade20k-knn-capi@noise", "random", str(noise), str(tmp_path / "out"), "--workers", "0"]
    words += [word for name, value in GRID.items() for word in ("--set", f"{name}={value}")]
    words += ["--device", "cpu"]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))  # a piece's labels take 3 * 16 * 64 bytes
    try:
        assert twinbench.main(words) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.endswith("/bank/labels-00000.npy: File too large; make room or name another place")
    assert twinbench.main(words) == 0


def test_what_kills_left_is_removed_after_an_hour(noise, tmp_path, counted):
    run = run_of(noise, cache=tmp_path / "cache")
    folder = kept_of(run).folder
    for name in (".00000.npy.7.part", ".00000.npy.8.part"):
        (folder / name).touch()
    os.utime(folder / ".00000.npy.7.part", (0, 0))
    kept_of(run)
    assert {path.name for path in folder.iterdir() if path.suffix == ".part"} == {".00000.npy.8.part"}


def test_the_command_takes_a_cache_and_refuses_to_compress_nothing(noise, tmp_path, monkeypatch, capsys, counted):
    words = ["dense", "ade20k-knn-capi@noise", "random", str(noise), str(tmp_path / "out"), "--workers", "0"]
    words += [word for name, value in (GRID | {"side": 64}).items() for word in ("--set", f"{name}={value}")]
    words += ["--device", "cpu", "--compress"]
    monkeypatch.delenv("TWINBENCH_CACHE", raising=False)
    assert twinbench.main(words) == 2
    assert "--compress: nothing is kept to compress; expected --cache DIR beside it" in capsys.readouterr().err
    assert twinbench.main([*words, "--cache", str(noise / "classes.txt")]) == 2
    assert "classes.txt: a file; expected a folder to keep patches in" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    assert twinbench.main(words) == 0
    assert {path.suffix for path in (tmp_path / "cache").glob("*/0*")} == {".zlib"}


def test_a_linear_head_keeps_nothing_to_compress(noise, tmp_path, capsys):
    words = [
        "ade20k-linear-dinov3@own",
        "random",
        str(noise),
        str(tmp_path / "out"),
        "--cache",
        str(tmp_path / "cache"),
    ]
    assert twinbench.main(["dense", *words, "--compress", "--device", "cpu"]) == 2
    assert "--compress: ade20k-linear-dinov3@own keeps no patches; expected one that does" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_python_gives_a_folder_as_text_or_path():
    assert options_of(Options, {"cache": "patches", "compress": True}) == Options(cache=Path("patches"), compress=True)
