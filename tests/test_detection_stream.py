"""The training stream, against Detectron2's own sampler and grouping."""

import itertools
import random

import numpy as np
import pytest
import torch
from detectron2.data.common import AspectRatioGroupedDataset
from detectron2.data.samplers import TrainingSampler

from twinbench.detection.training.stream import SeededImages, batches, training_loader
from twinbench.runtime.seeds import derived_seed

SHAPES = [(100 + (k * 37) % 50, 120) for k in range(23)]  # some wide, some tall


def first(count, **settings):
    return list(itertools.islice(batches(SHAPES, **settings), count))


@pytest.mark.parametrize(("rank", "world"), [(0, 1), (0, 2), (1, 2), (2, 3)])
def test_images_come_as_detectron2_sends_them(monkeypatch, rank, world):
    monkeypatch.setattr("detectron2.utils.comm.get_rank", lambda: rank)
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: world)
    sampler = TrainingSampler(len(SHAPES), seed=5)
    images = ({"width": SHAPES[k][0], "height": SHAPES[k][1], "k": k} for k in sampler)
    theirs = [[image["k"] for image in batch] for batch in itertools.islice(AspectRatioGroupedDataset(images, 4), 40)]
    ours = [[image for image, _ in batch] for batch in first(40, batch_size=4, seed=5, rank=rank, world=world)]
    assert ours == theirs


def test_each_pass_holds_every_image_once_and_positions_are_unique():
    pairs = sorted(
        (position, image)
        for rank in range(2)
        for batch in first(60, batch_size=2, seed=1, rank=rank, world=2)
        for image, position in batch
    )
    positions = [position for position, _ in pairs]
    assert len(set(positions)) == len(positions)
    one_pass = {image for position, image in pairs if position < len(SHAPES)}
    assert one_pass == set(range(len(SHAPES)))


def augment(record):
    return {"image": record["name"], "numpy": float(np.random.uniform()), "python": random.random()}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_taken_up_in_the_middle_goes_on_as_if_it_had_never_stopped(workers):
    images = SeededImages([{"name": k} for k in range(len(SHAPES))], augment, seed=9)

    def batches_from(start, workers):
        order = batches(SHAPES, batch_size=3, seed=2)
        return [batch for batch in training_loader(images, order, start=start, stop=20, workers=workers)]

    whole = batches_from(0, workers=0)
    assert len(whole) == 20
    assert batches_from(13, workers) == whole[13:]
    draws = [image["numpy"] for batch in whole for image in batch]
    assert len(set(draws)) == len(draws)  # the same image is never augmented the same way twice


def test_starting_a_loader_leaves_torchs_random_numbers_alone():
    images = SeededImages([{"name": k} for k in range(len(SHAPES))], augment, seed=9)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    next(iter(training_loader(images, batches(SHAPES, batch_size=3, seed=2), start=0, stop=1, workers=0)))
    assert torch.equal(torch.rand(1), expected)


def test_derived_seeds_differ_in_every_part():
    seeds = {derived_seed(*parts) for parts in itertools.product(range(6), repeat=3)}
    assert len(seeds) == 6**3
    assert max(seeds) < 2**32
