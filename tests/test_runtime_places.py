"""Who computes on which GPU, and by what they exchange: the cases of a cluster, without a GPU."""

import os
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from twinbench.runtime.places import Place, PlaceError, choose_backend, exchanged, own_place

ON_CPU = Place("node1", "cpu")


def on_gpu(gpu: str, *, host: str = "node1", device: str = "cuda:0", card: str = "", by_number: bool = False) -> Place:
    return Place(host, device, gpu, card or gpu, by_number)


def test_processors_exchange_by_gloo() -> None:
    assert choose_backend([ON_CPU, ON_CPU]) == ("gloo", "")


def test_a_gpu_each_exchanges_by_nccl() -> None:
    assert choose_backend([on_gpu("A"), on_gpu("B", device="cuda:1")]) == ("nccl", "")


def test_one_visible_gpu_per_task_exchanges_by_nccl() -> None:
    """srun --gpus-per-task=1: all call theirs cuda:0, on two nodes."""
    places = [on_gpu(gpu, host=host) for gpu, host in (("A", "node1"), ("B", "node1"), ("C", "node2"), ("D", "node2"))]
    assert choose_backend(places) == ("nccl", "")


@pytest.mark.parametrize("named", [(False, False), (True, False), (False, True)])
def test_one_gpu_for_two_is_refused_unless_both_named_it(named: tuple[bool, bool]) -> None:
    places = [on_gpu("A", by_number=by_number) for by_number in named]
    with pytest.raises(PlaceError, match="processes 0 and 1 are both on cuda:0 of node1; expected a GPU for each"):
        choose_backend(places)


def test_one_gpu_for_two_that_named_it_exchanges_by_gloo_with_a_warning() -> None:
    places = [on_gpu("A"), on_gpu("B", by_number=True), on_gpu("B", by_number=True)]
    backend, warning = choose_backend(places)
    assert backend == "gloo"
    assert warning.startswith("processes 1 and 2 share the card cuda:0 of node1: NCCL takes no two of one card")


def test_a_sharing_pair_among_many_is_found() -> None:
    places = [on_gpu("A"), on_gpu("B"), on_gpu("C"), on_gpu("B")]
    with pytest.raises(PlaceError, match="processes 1 and 3 are both"):
        choose_backend(places)


def test_parts_of_one_card_are_not_shared_but_exchange_by_gloo() -> None:
    """MIG: NCCL looks at where the card is plugged in."""
    assert choose_backend([on_gpu("part1", card="C"), on_gpu("part2", card="C")])[0] == "gloo"


@pytest.mark.parametrize("places", [[on_gpu("A"), ON_CPU], [ON_CPU, on_gpu("A")]])
def test_a_node_without_its_gpu_is_named(places: list[Place]) -> None:
    """`auto` becomes cpu there, and each backend would wait for the other."""
    with pytest.raises(
        PlaceError, match="process 1 computes on (cpu|cuda:0) of node1, process 0 on (cuda:0|cpu) of node1"
    ):
        choose_backend(places)


def test_the_place_of_a_process_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(uuid="1-2-3", pci_domain_id=0, pci_bus_id=17, pci_device_id=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    host = os.uname().nodename
    assert own_place("cuda:1", True) == Place(host, "cuda:1", "1-2-3", f"{host} [0, 17, 0]", True)


def test_where_a_card_is_plugged_in_may_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="1-2-3"))
    assert own_place("cuda:1", True).card == "1-2-3"


def test_all_are_told_all_places() -> None:
    store, found = dist.HashStore(), {}
    places = [on_gpu("A", by_number=True), on_gpu("B", host="node2")]

    def tell(rank: int) -> None:
        found[rank] = exchanged(store, places[rank], rank, 2)

    threads: list[Any] = [threading.Thread(target=tell, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == {0: places, 1: places}
