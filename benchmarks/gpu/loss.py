"""Barlow Twins loss, forward and backward, against plain autograd of the formula: seconds and memory on the card."""

import statistics
from collections.abc import Iterator

import torch

from benchmarks.gpu.figures import TIMES, Figure, Place
from benchmarks.loss import CASES, LOSSES, inputs, seconds, times
from twinbench.runtime.precision import network_precision

CASE = next(case for case in CASES if case[:2] == (2048, 8192))  # the recipe's batch on its projector, with targets
TINY, REPEATS = (32, 64), 20


def measure(place: Place) -> Iterator[Figure]:
    """Yield the two ratios, then what they are of."""
    images, features, faster, share = CASE
    if place.rehearsal:
        images, features = TINY
    name = f"loss ({images}, {features}), fp32"
    with network_precision("fp32", place.device):
        spent = times(images, features, place.device, REPEATS)
    ratio = statistics.median(plain / ours for plain, ours in zip(spent["plain"], spent["ours"], strict=True))
    yield Figure(f"{name}: faster", ratio, TIMES, of="plain autograd", least=faster)
    for kind in LOSSES:
        yield Figure(f"{name}, {kind}", 1e3 * statistics.median(spent[kind]), "ms")
    if place.device == "cpu":
        return
    with network_precision("fp32", place.device):
        memory = {kind: _peak_mib(kind, images, features, place.device) for kind in LOSSES}
    yield Figure(f"{name}: memory", memory["ours"] / memory["plain"], TIMES, of="plain autograd", most=share)
    for kind in LOSSES:
        yield Figure(f"{name}, {kind}: memory", memory[kind], "MiB")


def _peak_mib(kind: str, images: int, features: int, device: str) -> float:
    """Return the peak of one pass on a card, gradients of z included, beyond its inputs."""
    z1, z2 = inputs(images, features, device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    seconds(kind, z1, z2)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20
