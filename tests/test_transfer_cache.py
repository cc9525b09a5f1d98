"""The cache of features: the same numbers whoever makes them, in whatever order, and whoever dies on the way."""

import errno
import fcntl
import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from twinbench.convert.convention import IMAGENET_BGR
from twinbench.convert.opening import open_backbone
from twinbench.data.paths import file_list
from twinbench.protocols.kinds.base import Features, ImageTransform
from twinbench.runtime import side_by_side
from twinbench.runtime.process import Process
from twinbench.transfer import cache, features
from twinbench.transfer.cache import CacheError, cache_key, cached_features
from twinbench.transfer.features import extract, network_on

CROP = ImageTransform(resize=32, crop=32, shape="center-crop")
POOLED = Features(CROP, "gap", "fp32")
SIZES = (
    (cache.BLOCK, features.BATCH),
    (cache.CPU_BLOCK, features.CPU_BATCH),
)  # as they are before a test makes them small
FORK = multiprocessing.get_context("fork")  # a child has what a test has patched


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(cache, "CPU_BLOCK", 3)
    monkeypatch.setattr(side_by_side, "POLL", 0.01)


@pytest.fixture(scope="module")
def backbone():
    return open_backbone("random", 0.125)


def images(folder):
    """Write eight pictures, each time the same."""
    draw, found = np.random.default_rng(0), []
    folder.mkdir()
    for i in range(8):
        found.append(folder / f"{i}.png")
        Image.fromarray(draw.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(found[-1])
    return file_list(found)


@pytest.fixture
def paths(tmp_path):
    return images(tmp_path / "images")


def cached(folder, backbone, paths):
    return cached_features(folder, backbone, paths, POOLED, process=Process(), workers=0)


@pytest.fixture(scope="module")
def caches(backbone, tmp_path_factory):
    """Return the folder of a cache with whole features, and that of one with their blocks, of three images each."""
    root = tmp_path_factory.mktemp("caches")
    paths = images(root / "images")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "CPU_BLOCK", 3)
        cached(root / "whole", backbone, paths)
        patch.setattr(cache, "_join", None)  # fails when called: only blocks are there
        with pytest.raises(TypeError):
            cached(root / "blocks", backbone, paths)
    return {"features.npy": root / "whole", "0-3.npy": root / "blocks"}


@pytest.fixture
def whole(caches):
    """What is extracted in blocks of three."""
    (path,) = caches["features.npy"].glob("*/features.npy")
    return np.load(path)


def test_what_is_cached_is_what_is_extracted_and_it_is_mapped(backbone, paths, tmp_path):
    found = cached(tmp_path / "cache", backbone, paths)
    np.testing.assert_allclose(found, extract(backbone, paths, POOLED), rtol=1e-4, atol=1e-4)
    assert isinstance(found, np.memmap)
    assert files(tmp_path / "cache") == ["features.npy"]


def files(folder):
    return sorted(path.name for path in folder.glob("*/*"))


def test_the_network_is_built_once_for_all_blocks(backbone, paths, tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(cache, "network_on", lambda *given: built.append(given) or network_on(*given))
    cached(tmp_path / "cache", backbone, paths)
    assert len(paths) > 3 and len(built) == 1
    cached(tmp_path / "cache", backbone, paths)
    assert len(built) == 1


def test_a_second_call_extracts_nothing(backbone, paths, tmp_path, monkeypatch):
    first = np.array(cached(tmp_path / "cache", backbone, paths))
    monkeypatch.setattr(cache, "extract", None)  # would fail if called
    np.testing.assert_array_equal(cached(tmp_path / "cache", backbone, paths), first)


def killed_at_the_third_block(folder, backbone, paths, monkeypatch):
    """Begin a set in `folder` and die; return the images of every extraction, then and from now on."""
    calls = []

    def counted(*arguments, **keywords):
        calls.append(arguments[1])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return extract(*arguments, **keywords)

    monkeypatch.setattr(cache, "extract", counted)
    with pytest.raises(KeyboardInterrupt):
        cached(folder, backbone, paths)
    return calls


def test_a_killed_extraction_goes_on_with_the_blocks_that_are_missing(backbone, paths, tmp_path, monkeypatch, whole):
    calls = killed_at_the_third_block(tmp_path / "cut", backbone, paths, monkeypatch)
    np.testing.assert_array_equal(cached(tmp_path / "cut", backbone, paths), whole)
    assert [len(part) for part in calls] == [3, 3, 2, 2]  # the third was killed, and alone repeated


def test_the_key_sees_everything_that_changes_a_feature(backbone, paths):
    key = cache_key(backbone, paths, POOLED, "cpu")
    assert key == cache_key(backbone, paths[:], POOLED, "cpu")
    others = [
        cache_key(replace(backbone, sha256="0" * 64), paths, POOLED, "cpu"),
        cache_key(replace(backbone, convention=IMAGENET_BGR), paths, POOLED, "cpu"),
        cache_key(backbone, paths, replace(POOLED, transform=replace(CROP, shape="squash")), "cpu"),
        cache_key(backbone, paths, replace(POOLED, pooling="res5-avg6"), "cpu"),
        cache_key(backbone, paths, replace(POOLED, precision="bf16"), "cpu"),
        cache_key(backbone, paths[:-1], POOLED, "cpu"),
        cache_key(backbone, paths[::-1], POOLED, "cpu"),
    ]
    paths[0].write_bytes(paths[0].read_bytes() + b"\0")
    assert len({key, cache_key(backbone, paths, POOLED, "cpu"), *others}) == 9


def keys_on(devices, backbone, paths, tmp_path, monkeypatch, precision):
    """Return the folders in which the features lie that processes on these devices have made."""

    def fake(backbone, paths, *_, **__):
        return np.zeros((len(paths), 2), np.float32)

    monkeypatch.setattr(cache, "extract", fake)
    monkeypatch.setattr(cache, "network_on", lambda *_: None)
    found = set()
    for device in devices:
        process = Process(device=device)
        wanted = replace(POOLED, precision=precision)
        cached_features(tmp_path / device, backbone, paths, wanted, process=process, workers=0)
        found |= {path.name for path in (tmp_path / device).iterdir()}
    return found


def test_all_devices_share_fp32_and_the_gpus_their_bf16(backbone, paths, tmp_path, monkeypatch):
    devices = ("cpu", "cuda:0", "cuda:1")
    exact = keys_on(devices, backbone, paths, tmp_path / "fp32", monkeypatch, "fp32")
    assert exact == {cache_key(backbone, paths, POOLED, "cpu")}
    gpus = keys_on(devices[1:], backbone, paths, tmp_path / "gpus", monkeypatch, "bf16")
    assert len(gpus) == 1
    assert len(gpus | keys_on(devices[:1], backbone, paths, tmp_path / "cpu", monkeypatch, "bf16") | exact) == 3


def test_the_key_does_not_see_where_the_data_set_lies(backbone, paths, tmp_path):
    moved = tmp_path / "elsewhere"
    (tmp_path / "images").rename(moved)
    there = cache_key(backbone, file_list(sorted(moved.iterdir())), POOLED, "cpu")
    moved.rename(tmp_path / "images")
    assert there == cache_key(backbone, paths, POOLED, "cpu")


def test_a_block_is_whole_batches_so_that_it_changes_no_number():
    assert [block % batch for block, batch in SIZES] == [0, 0]


def test_another_block_size_takes_nothing_for_its_own(backbone, paths, tmp_path, monkeypatch, whole):
    killed_at_the_third_block(tmp_path / "cut", backbone, paths, monkeypatch)
    monkeypatch.setattr(cache, "CPU_BLOCK", 2)
    np.testing.assert_allclose(cached(tmp_path / "cut", backbone, paths), whole, rtol=1e-4, atol=1e-4)
    assert files(tmp_path / "cut") == ["features.npy"]


def together(count, backbone, paths, tmp_path):
    """Have `count` processes ask for the same features at once; return what each got."""

    def job(number):
        np.save(tmp_path / f"{number}.npy", cached(tmp_path / "cache", backbone, paths))

    jobs = [FORK.Process(target=job, args=(number,)) for number in range(count)]
    for each in jobs:
        each.start()
    for each in jobs:
        each.join(60)
    assert [each.exitcode for each in jobs] == [0] * count
    return [np.load(tmp_path / f"{number}.npy") for number in range(count)]


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Write down each block that any process makes, slowly; return a function that reads the list."""
    log = tmp_path / "made"
    log.touch()

    def slow(backbone, paths, *arguments, **keywords):
        with log.open("a") as file:
            file.write(f"{paths[0].stem}\n")
        time.sleep(0.05)
        return extract(backbone, paths, *arguments, **keywords)

    monkeypatch.setattr(cache, "extract", slow)
    monkeypatch.setattr(cache, "CPU_BLOCK", 1)
    return lambda: log.read_text().split()


def test_jobs_at_once_make_each_block_once_and_all_get_the_whole(backbone, paths, tmp_path, made):
    found = together(4, backbone, paths, tmp_path)
    assert sorted(made()) == [str(i) for i in range(8)]
    np.testing.assert_allclose(found[0], extract(backbone, paths, POOLED), rtol=1e-4, atol=1e-4)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
    assert files(tmp_path / "cache") == ["features.npy"]


def test_a_disk_without_locks_costs_work_and_nothing_else(backbone, paths, tmp_path, made, monkeypatch):
    def refused(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refused)
    found = together(4, backbone, paths, tmp_path)
    assert len(made()) > 8
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
    assert files(tmp_path / "cache") == ["features.npy"]


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "gave up waiting"
        time.sleep(0.01)


def stuck_at(paths, number):
    """Return an `extract` that never gets beyond image `number`, and leaves a child behind when it is killed there."""

    def hangs(backbone, some, *arguments, **keywords):
        if some[0] == paths[number]:
            child = os.fork()  # as a loader process is, which inherits the files that are open
            time.sleep(12)
            os._exit(child == 0)
        return extract(backbone, some, *arguments, **keywords)

    return hangs


def test_a_killed_jobs_block_is_made_by_the_one_that_waits_for_it(backbone, paths, tmp_path, made, monkeypatch):
    whole, good, folder = np.array(cached(tmp_path / "whole", backbone, paths)), cache.extract, tmp_path / "cache"
    monkeypatch.setattr(cache, "extract", stuck_at(paths, 1))
    victim = FORK.Process(target=cached, args=(folder, backbone, paths))
    victim.start()
    wait_until(lambda: "0-1.npy" in files(folder))
    monkeypatch.setattr(cache, "extract", good)
    heir = FORK.Process(target=cached, args=(folder, backbone, paths))
    heir.start()
    wait_until(lambda: len(files(folder)) == 8)  # seven blocks and the lock: the victim has the eighth
    time.sleep(0.1)
    assert heir.is_alive()
    assert "1-2.npy" not in files(folder)
    assert victim.pid
    os.kill(victim.pid, signal.SIGKILL)
    heir.join(8)
    assert heir.exitcode == 0
    assert made()[8:] == ["2", "3", "4", "5", "6", "7", "1"]
    np.testing.assert_array_equal(cached(folder, backbone, paths), whole)


def test_a_lock_that_never_goes_is_not_waited_for_for_ever(backbone, paths, tmp_path, monkeypatch, whole):
    folder = tmp_path / "cache"
    monkeypatch.setattr(cache, "extract", stuck_at(paths, 3))
    sleeper = FORK.Process(target=cached, args=(folder, backbone, paths))
    sleeper.start()
    wait_until(lambda: "0-3.npy" in files(folder))
    monkeypatch.setattr(cache, "extract", extract)
    monkeypatch.setattr(side_by_side, "PATIENCE", 0.2)
    np.testing.assert_array_equal(cached(folder, backbone, paths), whole)
    sleeper.kill()


def test_what_a_kill_left_beside_a_whole_set_is_removed(backbone, paths, tmp_path):
    cached(tmp_path / "cache", backbone, paths)
    (folder,) = (tmp_path / "cache").iterdir()
    for name in ("0-3.npy", "1.npy", ".features.npy.7.part", ".features.npy.8.part"):
        (folder / name).touch()
    os.utime(folder / ".features.npy.7.part", (0, 0))
    before = (folder / "features.npy").stat()
    cached(tmp_path / "cache", backbone, paths)
    assert files(tmp_path / "cache") == [".features.npy.8.part", "features.npy"]  # the other may be in the writing
    assert (folder / "features.npy").stat() == before


DAMAGE = {
    "empty": lambda whole: b"",
    "cut in the header": lambda whole: whole[:50],
    "cut": lambda whole: whole[:-4],
    "foreign": lambda whole: b"PK\x03\x04" + whole[4:],
    "header": lambda whole: whole[:10] + b"\xff{((('\"" + whole[17:],
    "rows": lambda whole: whole.replace(b"(8,", b"(7,").replace(b"(3,", b"(2,"),
    "type": lambda whole: whole.replace(b"<f4", b"<i4"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", ["features.npy", "0-3.npy"])
def test_a_damaged_file_is_told_in_one_line_and_removed_made_again(
    backbone, paths, tmp_path, caches, whole, damage, name
):
    shutil.copytree(caches[name], tmp_path / "cache")
    (path,) = (tmp_path / "cache").glob(f"*/{name}")
    path.write_bytes(damage(path.read_bytes()))
    for _ in range(2):
        with pytest.raises(CacheError) as caught:
            cached(tmp_path / "cache", backbone, paths)
        assert str(caught.value).startswith(f"{path}: ")
        assert str(caught.value).endswith("; remove it and run again")
    path.unlink()
    np.testing.assert_array_equal(cached(tmp_path / "cache", backbone, paths), whole)
