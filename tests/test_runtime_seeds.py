"""Seeds: the draws of published numbers, held to the bit, and no two places alike."""

import numpy as np

from twinbench.runtime.seeds import derived_seed, draw_seed, generator


def test_the_formulas_stay() -> None:
    """Typed from the first release: another formula would move every number that rests on a draw."""
    assert draw_seed(0, 1, 2) == 5458876493991123480
    assert derived_seed(0, 1, 2) == 3884055042
    assert generator(0, 1, 2).integers(2**62) == 4066139880823384728


def test_numpy_s_generator_and_the_32_bits_are_of_one_sequence() -> None:
    assert derived_seed(5, 6) == np.random.SeedSequence((5, 6)).generate_state(1)[0]
    assert generator(5, 6).random() == np.random.default_rng(np.random.SeedSequence((5, 6))).random()


def test_places_do_not_repeat() -> None:
    places = [(0, 1), (0, 1, 0, 1), (0, 1, 1), (1, 0), (0, 2), (0, 1, 0, 2)]
    assert len({generator(*place).integers(2**62) for place in places}) == 6
    assert len({derived_seed(*place) for place in places}) == 6


def test_a_hash_tells_how_many_words_there_were() -> None:
    """numpy's sequence does not: the trap that the module's head describes."""
    assert derived_seed(0, 1) == derived_seed(0, 1, 0)
    assert draw_seed(0, 1) != draw_seed(0, 1, 0)
