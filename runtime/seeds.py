"""Random numbers as pure functions of (seed, place): what a kill, another rank or another loader process cannot change.

A stream that is drawn from and goes on has a state that must be saved and shared. Here every draw gets a seed of its
own, mixed from the run's seed and from where the draw stands: (seed, epoch, image), (seed, what for, step).

    generator(seed, ORDER, epoch)   numpy's generator, for draws by numpy
    derived_seed(seed, PART, ...)   32 bits of the same, for generators that take a number: torch's, Python's, OpenCV's
    draw_seed(seed, epoch, index)   63 bits by a hash

The first two mix by numpy's SeedSequence, which reads (0, 1) and (0, 1, 0) alike: of one seed, use one number of words
for one purpose, and let the second word name the purpose. `draw_seed` hashes how the numbers are written and has no
such trap. Two forms stand here because the numbers of all protocols of `transfer` were measured with the one, those of
pretraining, low-shot draws and detection with the other; new code takes `generator` or `derived_seed`.
"""

import hashlib

import numpy as np


def generator(seed: int, *words: int) -> np.random.Generator:
    """Return the random numbers of one place of a run; no part is negative."""
    return np.random.default_rng((seed, *words))


def derived_seed(seed: int, *words: int) -> int:
    """Return 32 bits that depend on every part (each 0 or more), and look random."""
    return int(np.random.SeedSequence((seed, *words)).generate_state(1)[0])


def draw_seed(*numbers: int) -> int:
    """Mix whole numbers into one 63-bit seed; near numbers give unrelated streams."""
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest(), "little") >> 1
