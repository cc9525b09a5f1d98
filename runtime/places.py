"""Where the processes of a run sit, told to each other before they form a group: who computes on which GPU.

A process alone cannot know. Under `srun --gpus-per-task=1` each sees one GPU and calls it cuda:0, and these are
different ones; under torchrun on a machine with one GPU each sees one, too, and it is the same. Their UUIDs tell.
"""

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from twinbench.protocols.house import UserError


class PlaceError(UserError):
    """Processes that cannot form one group where they are."""


@dataclass(frozen=True)
class Place:
    """Where one process computes. `gpu` and `card` are empty on a processor."""

    host: str
    device: str  # as the process calls it
    gpu: str = ""  # its UUID; a part of a card that was cut in parts (MIG) has one of its own
    card: str = ""  # the card it is on, which is what NCCL looks at
    by_number: bool = False  # --device cuda:1, not auto or cuda

    @property
    def words(self) -> str:
        """The place for a message."""
        return f"{self.device} of {self.host}"


def own_place(device: str, by_number: bool) -> Place:
    """Return where this process computes."""
    host = os.uname().nodename
    if device == "cpu":
        return Place(host, device)
    import torch

    found: Any = torch.cuda.get_device_properties(device)
    parts = [getattr(found, name, None) for name in ("pci_domain_id", "pci_bus_id", "pci_device_id")]
    gpu = str(found.uuid)
    # PyTorch tells where a card is plugged in since 2.9; before, a card in parts looks like several.
    return Place(host, device, gpu, gpu if None in parts else f"{host} {parts}", by_number)


def exchanged(store: Any, own: Place, rank: int, world: int) -> list[Place]:
    """Return the places of all processes, in the order of ranks, by a `store` that they share."""
    store.set(f"place{rank}", json.dumps(asdict(own)))
    return [Place(**json.loads(store.get(f"place{other}"))) for other in range(world)]


def choose_backend(places: Sequence[Place]) -> tuple[str, str]:
    """Return the backend of a group at `places`, nccl or gloo, and a warning for people, empty if there is none.

    PlaceError where some compute on processors and some on GPUs, or where two would share a GPU that neither asked
    for by its number.
    """
    for rank, place in enumerate(places):
        if bool(place.gpu) != bool(places[0].gpu):
            raise PlaceError(
                f"process {rank} computes on {place.words}, process 0 on {places[0].words}; expected all on GPUs or "
                "all on processors: is a GPU missing there? or say --device cpu"
            )
    if not places[0].gpu:
        return "gloo", ""
    _refuse_shared(places)
    together = _together([place.card for place in places])
    if not together:
        return "nccl", ""
    first = together[0]
    ranks = " and ".join(map(str, first))
    return "gloo", (
        f"processes {ranks} share the card {places[first[0]].words}: NCCL takes no two of one card, so that they "
        "exchange by gloo, through the processor, which is slower"
    )


def _refuse_shared(places: Sequence[Place]) -> None:
    """Raise PlaceError for two processes on one GPU, unless both asked for it by its number."""
    for ranks in _together([place.gpu for place in places]):
        for one, other in combinations(ranks, 2):
            if not (places[one].by_number and places[other].by_number):
                raise PlaceError(
                    f"processes {one} and {other} are both on {places[one].words}; expected a GPU for each process; "
                    "start fewer processes, show each of them a GPU of its own or all GPUs, or have them share one by "
                    "its number: --device cuda:0"
                )


def _together(keys: Sequence[str]) -> list[list[int]]:
    """Return the groups of two and more ranks that have the same key."""
    ranks: dict[str, list[int]] = defaultdict(list)
    for rank, key in enumerate(keys):
        ranks[key].append(rank)
    return [group for group in ranks.values() if len(group) > 1]
