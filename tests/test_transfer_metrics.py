import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from twinbench.transfer.metrics import MetricError, average_precision, correct_at, precision_areas


def envelope_area(scores, targets):
    """Return the area under the envelope by the definition: thresholds in a plain loop."""
    kept = [(score, target) for score, target in zip(scores, targets, strict=True) if target != -1]
    positives = sum(target == 1 for _, target in kept)
    points = []  # (recall, precision) at every threshold
    for threshold in {score for score, _ in kept}:
        called = [target for score, target in kept if score >= threshold]
        points.append((sum(called) / positives, sum(called) / len(called)))
    area, last = 0.0, 0.0
    for recall in sorted({recall for recall, _ in points}):
        area += (recall - last) * max(precision for r, precision in points if r >= recall)
        last = recall
    return area


def test_perfect_and_worst_orders_by_hand():
    assert average_precision(np.array([0.9, 0.8, 0.1]), np.array([1, 1, 0])) == 1.0
    # The only positive comes last of four: precision 1/4 at recall 1.
    assert average_precision(np.array([4.0, 3.0, 2.0, 1.0]), np.array([0, 0, 0, 1])) == 0.25
    # Positives at ranks 2 and 3: precision 1/2 and 2/3, and the envelope lifts the first to 2/3.
    assert average_precision(np.array([4.0, 3.0, 2.0]), np.array([0, 1, 1])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("seed", range(6))
def test_envelope_area_equals_the_definition_with_ties_and_ignored_rows(seed):
    draw = np.random.default_rng(seed)
    scores = draw.integers(0, 12, size=40) / 4.0
    targets = draw.choice([1, 0, -1], size=40, p=[0.3, 0.5, 0.2])
    assert average_precision(scores, targets) == pytest.approx(envelope_area(scores, targets), abs=1e-12)


def test_order_among_equal_scores_does_not_matter():
    scores, targets = np.array([1.0, 1.0, 1.0, 0.0]), np.array([1, 0, 0, 1])
    areas = {average_precision(scores[order], targets[order]) for order in ([0, 1, 2, 3], [1, 2, 0, 3], [3, 2, 1, 0])}
    assert areas == {0.5}  # precision 1/3 at recall 1/2, lifted to 2/4


def test_ignored_rows_are_dropped_whatever_their_score():
    scores, targets = np.array([0.9, 0.5, 0.4]), np.array([1, 0, 1])
    more = average_precision(np.append(scores, [2.0, -2.0]), np.append(targets, [-1, -1]))
    assert more == average_precision(scores, targets)


def test_step_area_is_scikit_learns():
    draw = np.random.default_rng(0)
    scores = draw.integers(0, 30, size=(200, 5)) / 8.0  # many ties
    positive = draw.random((200, 5)) < 0.2
    ours = precision_areas(*map(torch.as_tensor, (scores, positive, np.ones_like(positive))), "step")
    theirs = [average_precision_score(positive[:, p], scores[:, p]) for p in range(5)]
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-12)


def test_columns_do_not_see_each_others_masks():
    draw = np.random.default_rng(1)
    scores, positive = draw.normal(size=(50, 3)), draw.random((50, 3)) < 0.3
    counted = draw.random((50, 3)) < 0.6
    areas = precision_areas(*map(torch.as_tensor, (scores, positive, counted)), "envelope")
    for p in range(3):
        targets = np.where(counted[:, p], positive[:, p].astype(int), -1)
        assert areas[p].item() == pytest.approx(envelope_area(scores[:, p], targets))


@pytest.mark.parametrize(
    ("scores", "targets", "words"),
    [
        ([0.1, 0.2], [0, -1], "0 positives"),
        ([0.1, 0.2, 0.3], [1, 1, -1], "0 negatives"),  # whatever the scores: 1
        ([], [], "0 positives"),
        ([np.nan, 0.2], [1, 0], "scores with NaN"),
        ([0.1, 0.2], [1, 2], "targets other than 1, 0 and -1"),
        ([0.1, 0.2], [1, 0, 1], r"scores \(2,\) and targets \(3,\)"),
    ],
)
def test_what_has_no_average_precision_is_an_error_in_words(scores, targets, words):
    with pytest.raises(MetricError, match=words):
        average_precision(np.array(scores), np.array(targets))


def test_infinite_scores_have_an_order_and_a_nan_that_does_not_count_is_none():
    assert average_precision(np.array([np.inf, 0.4, -np.inf]), np.array([1, 0, 1])) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert average_precision(np.array([0.9, np.nan, 0.4]), np.array([1, -1, 0])) == 1.0


def test_a_class_without_a_score_is_no_answer():
    scores = torch.tensor([[0.5, -torch.inf, -torch.inf]]).repeat(3, 1)
    assert correct_at(scores, torch.arange(3), (1, 3)) == [1, 1]


def test_correct_at_counts_rows_by_rank_of_their_class():
    scores = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]])
    assert correct_at(scores, torch.tensor([1, 2]), (1, 2)) == [1, 1]
    assert correct_at(scores, torch.tensor([1, 2]), (1, 5)) == [1, 2]  # 5 of 3 classes: all
