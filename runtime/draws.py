"""The global random generators, which others' augmentations draw from, seeded for the length of a block."""

import random
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch

NUMPY_SEEDS = 1 << 32


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Have torch's generator of the processor, numpy's and Python's start from `seed`; their states come back."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % NUMPY_SEEDS)
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)
