import random
import statistics

import pytest
from scipy import stats

from twinbench.protocols.metrics import PERCENT
from twinbench.report.statistics import (
    Difference,
    difference,
    holm,
    independent,
    sample_std,
    seeds_to_separate,
    shared_ranks,
)

OURS = {0: 71.2, 1: 70.1, 2: 72.4, 3: 71.0}
THEIRS = {0: 70.6, 1: 70.0, 2: 71.1, 3: 70.8}


def test_trials_of_the_same_seeds_are_compared_in_pairs():
    found = difference(OURS, dict(reversed(THEIRS.items())))
    expected = stats.ttest_rel(list(OURS.values()), list(THEIRS.values()))
    interval = expected.confidence_interval(0.95)
    assert found.test == "paired t-test"
    assert found.value == pytest.approx(71.175 - 70.625)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_other_trials_are_compared_by_welchs_test():
    theirs = {7: 70.6, 8: 70.0, 9: 71.1}
    found = difference(OURS, theirs)
    expected = stats.ttest_ind(list(OURS.values()), list(theirs.values()), equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert found.test == "Welch's t-test"
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_one_trial_has_a_difference_and_no_interval():
    found = difference({0: 71.0}, THEIRS)
    assert found == Difference(71.0 - 70.625)
    assert not found.decided


def test_trials_without_any_spread_carry_no_verdict():
    """A deterministic solver gives each seed the same number: that is one trial, however often it is written down."""
    once = dict.fromkeys(range(3), 2.0)
    for theirs in ({0: 1.0, 1: 1.0, 2: 1.0}, {3: 2.0, 4: 2.0}, {0: 1.0, 1: 1.5, 2: 1.1}, {3: 1.0, 4: 1.5}):
        for found, sign in ((difference(once, theirs), 1), (difference(theirs, once), -1)):
            assert found == Difference(sign * (2.0 - statistics.fmean(theirs.values())))
            assert not found.decided


def test_a_number_that_repeats_has_no_spread_however_it_rounds():
    """The mean of 49 equal numbers need not be that number to the last bit."""
    for value in (0.1, 86.2, 1 / 49, 77.77777777777777):
        for count in (2, 3, 7, 49):
            assert sample_std([value] * count) is None
            assert independent([value] * count) == 1
    assert independent([86.2, 86.2, 86.3]) == 3
    assert independent([]) == 0


@pytest.mark.parametrize(("effect", "groups", "expected"), [(0.8, 2, 26), (1.0, 2, 17), (0.5, 2, 64), (0.5, 1, 34)])
def test_the_number_of_seeds_is_the_textbooks(effect, groups, expected):
    """Cohen's tables: sample sizes of t-tests at 5 % (two-sided) and power 0.8."""
    assert seeds_to_separate(effect, groups) == expected


def test_the_number_of_seeds_keeps_its_word():
    """With as many seeds as named, about four of five experiments find the difference."""
    generator = random.Random(0)
    count = seeds_to_separate(1.5, groups=2)
    found = sum(
        difference(
            {seed: generator.gauss(1.5, 1) for seed in range(count)},
            {100 + seed: generator.gauss(0, 1) for seed in range(count)},
        ).decided
        for _ in range(300)
    )
    assert 0.72 < found / 300 < 0.92


def test_a_difference_too_small_for_any_budget_names_no_number():
    assert seeds_to_separate(0.01, 2) is None
    assert seeds_to_separate(0.0, 1) is None
    assert difference({0: 1.0, 1: 3.0, 2: 2.0}, {0: 3.0, 1: 1.0, 2: 2.001}).told(PERCENT).endswith("?>100")


def test_differences_as_printed():
    assert Difference(1.25).told(PERCENT) == "+1.2"
    assert Difference(-1.2, -1.6, -0.8, 0.01, 3).told(PERCENT) == "-1.2 [-1.6, -0.8]"
    assert Difference(0.2, -0.3, 0.7, 0.4, 12).told(PERCENT) == "+0.2 [-0.3, +0.7] ?12"


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_shared_ranks_are_scipys():
    values = [50.0, 60.0, 60.0, 40.0, 60.0]
    assert shared_ranks(values) == pytest.approx(list(stats.rankdata([-value for value in values])))
