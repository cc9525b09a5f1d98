"""Search by faiss: the neighbours of our own, of equal rows the earlier ones, and the same numbers of whole trials."""

import sys

import numpy as np
import pytest
import torch

import twinbench
from tests.patch_colours import asked, write_noise
from twinbench.dense.nearest import faiss_search
from twinbench.dense.nearest.faiss_search import FaissKeys, keys_by
from twinbench.dense.nearest.search import Keys, Nearest
from twinbench.dense.options import Options
from twinbench.dense.places import DenseError
from twinbench.dense.trial import measure

NEAREST = ("voc12-hummingbird", "ade20k-knn-capi")


@pytest.fixture
def faiss():
    return pytest.importorskip("faiss", reason="needs the extra dev")


def rows(count, width, seed):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def searched(queries, bank, k, distance, keys=FaissKeys, block=1000):
    found = Nearest(queries, k, distance)
    for start in range(0, len(bank), block):
        found.add(keys.of(bank[start : start + block], distance), start)
    return found


@pytest.mark.parametrize("distance", ["cosine", "l2"])
@pytest.mark.parametrize(("k", "block"), [(1, 300), (5, 4), (30, 64)])
@pytest.mark.parametrize(("count", "width"), [(7, 24), (196, 384)])  # from 20 queries on it multiplies by blocks
def test_neighbours_and_similarities_are_ours(faiss, distance, k, block, count, width):
    queries, bank = rows(count, width, 1), rows(700, width, 2) * torch.linspace(0.5, 2, 700)[:, None]
    found = searched(queries, bank, k, distance, block=block)
    ours = searched(queries, bank, k, distance, Keys, block)
    np.testing.assert_array_equal(found.rows.numpy(), ours.rows.numpy())
    torch.testing.assert_close(found.similarity, ours.similarity, rtol=1e-5, atol=1e-5)


def test_many_neighbours_differ_from_ours_by_rounding_alone(faiss):
    """From 100 on faiss keeps no heap; of 39,200 neighbours in the thick of the bank some are alike to seven digits."""
    queries, bank = rows(196, 384, 1), rows(700, 384, 2)
    found, ours = (searched(queries, bank, 200, "cosine", keys) for keys in (FaissKeys, Keys))
    assert (found.rows == ours.rows).double().mean() > 0.999
    cosines = torch.cosine_similarity(queries.double()[:, None], bank.double()[None], dim=2)
    torch.testing.assert_close(cosines.gather(1, found.rows), cosines.gather(1, ours.rows), rtol=0, atol=1e-6)


@pytest.mark.parametrize("distance", ["cosine", "l2"])
@pytest.mark.parametrize("k", [1, 7, 40])
@pytest.mark.parametrize("block", [90, 1000])
def test_of_equal_rows_the_earlier_ones_are_nearer(faiss, distance, k, block):
    """Rows of 768 numbers, each some thirty times there, and an image of queries: faiss alone answers any of them."""
    kinds = rows(20, 768, 3)
    which = torch.randint(20, (600,), generator=torch.Generator().manual_seed(4))
    queries = rows(196, 768, 5)
    found = searched(queries, kinds[which], k, distance, block=block)
    near, of = queries.double(), kinds.double()
    if distance == "cosine":
        near, of = (each / each.norm(dim=1, keepdim=True) for each in (near, of))
    apart = torch.cdist(near, of)[:, which].numpy()
    np.testing.assert_array_equal(found.rows.numpy(), np.argsort(apart, axis=1, kind="stable")[:, :k])


@pytest.mark.parametrize("distance", ["cosine", "l2"])
def test_a_piece_whose_images_show_no_class_holds_no_neighbour(faiss, distance):
    queries, bank = rows(7, 24, 1), rows(9, 24, 2)
    found, expected = (Nearest(queries, 3, distance) for _ in range(2))
    for start, block in ((0, bank[:4]), (4, bank[:0]), (4, bank[4:])):
        found.add(FaissKeys.of(block, distance), start)
    expected.add(Keys.of(bank, distance), 0)
    assert found.rows.tolist() == expected.rows.tolist()


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    return write_noise(tmp_path_factory.mktemp("noise"))


@pytest.fixture(scope="module")
def exact(noise, tmp_path_factory):
    return {name: measure(asked(noise, tmp_path_factory.mktemp("exact") / name, name, side=64)) for name in NEAREST}


@pytest.mark.parametrize("name", NEAREST)
def test_a_trial_has_the_same_numbers_and_says_what_searched(faiss, noise, exact, name, tmp_path):
    exact = exact[name]
    found = measure(asked(noise, tmp_path, name, side=64), Options(search="faiss"))
    assert found.metrics == exact.metrics
    assert found.fingerprint == exact.fingerprint
    assert found.details.pop("search") == "faiss"
    assert found.details == exact.details


@pytest.mark.parametrize("name", NEAREST)
def test_the_neighbours_of_a_trial_are_faiss_s(faiss, noise, exact, name, tmp_path, monkeypatch):
    """That the option arrives: a faiss that finds nothing but the first rows changes the numbers."""

    def first(queries, bank, k, metric):
        falling = np.arange(k, 0, -1, dtype=np.float32) * 1e9  # no ties, even of long rows
        return np.tile(falling, (len(queries), 1)), np.tile(np.arange(k), (len(queries), 1))

    monkeypatch.setattr(faiss, "knn", first)
    found = measure(asked(noise, tmp_path, name, side=64), Options(search="faiss"))
    assert found.metrics != exact[name].metrics


def test_faiss_has_as_many_threads_as_torch(faiss, monkeypatch):
    told = []
    monkeypatch.setattr(faiss, "omp_set_num_threads", told.append)
    keys_by("faiss", "cpu")
    assert told == [torch.get_num_threads()]


# ------------------------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize("name", NEAREST)
def test_without_the_package_one_line_names_the_extra_before_a_bank_is_made(noise, name, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "faiss", None)
    words = [f"{name}@own", "random", str(noise), str(tmp_path / "out"), "--device", "cpu", "--workers", "0"]
    assert twinbench.main(["dense", *words, "--search", "faiss"]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert (
        "--search faiss: needs the package faiss, which is not installed; run: pip install 'twinbench[faiss]'" in told
    )
    assert not (tmp_path / "out" / "bank").exists()


def test_a_gpu_is_not_left_idle():
    with pytest.raises(DenseError, match="runs on processors here, and this trial on cuda:0; expected --search exact"):
        keys_by("faiss", "cuda:0")


def test_another_search_is_told():
    with pytest.raises(DenseError, match="unknown search 'fais'.*Known: exact, faiss"):
        faiss_search.keys_by("fais", "cpu")  # type: ignore[arg-type]


def test_a_linear_head_looks_nothing_up(noise, tmp_path, capsys):
    words = ["ade20k-linear-dinov3@own", "random", str(noise), str(tmp_path), "--device", "cpu", "--workers", "0"]
    assert twinbench.main(["dense", *words, "--search", "faiss"]) == 2
    assert "--search faiss: ade20k-linear-dinov3@own looks nothing up; expected" in capsys.readouterr().err
