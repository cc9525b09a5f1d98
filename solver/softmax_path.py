"""Where softmax regression's next solution lies, guessed from the last ones along falling penalties.

At strong penalties an axis's weights go as 1 / (penalty + M) with M its curvature at equal probabilities, as in ridge
regression; at weak ones they grow as the penalty's logarithm. So (penalty + M) W and W itself are continued as
polynomials of the penalty's logarithm, of several orders. Which of these guesses is best changes along the way; the
next solution is guessed as the last one would have been guessed best.
Letters: P problems, K classes, A axes.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

ORDERS = (0, 1, 2, 3)


@dataclass(frozen=True)
class Rule:
    """A way to guess."""

    order: int  # of the polynomial, through order + 1 solutions
    ridge: bool  # of (penalty + M) W, not of W


RULES = tuple(Rule(order, ridge) for ridge in (True, False) for order in ORDERS)


@dataclass
class Guesses:
    """The last solutions of some problems."""

    curvature: Tensor  # (P, 1, A), M
    penalised: Tensor  # (A,), 1, and 0 for the bias, which no penalty draws to 0
    past: list[tuple[float, Tensor]] = field(default_factory=list[tuple[float, Tensor]])  # penalty and W, last first

    def start(self, penalty: float) -> Tensor | None:
        """Guess the solutions (P, K, A) at `penalty`; None where nothing is solved."""
        if not self.past:
            return None
        best = Rule(0, True)
        if len(self.past) > 1:
            (last, solved), before = self.past[0], self.past[1:]
            apart = {rule: self._apart(self._guess(rule, last, before), solved, last) for rule in _usable(before)}
            best = min(apart, key=lambda rule: apart[rule])
        return self._guess(best, penalty, self.past)

    def add(self, penalty: float, solved: Tensor) -> None:
        """Note the solutions (P, K, A) at `penalty`."""
        self.past.insert(0, (penalty, solved))
        del self.past[max(ORDERS) + 2 :]

    def _guess(self, rule: Rule, penalty: float, past: list[tuple[float, Tensor]]) -> Tensor:
        """Return what `rule` makes of solutions (P, K, A), the last one first."""
        taken = past[: rule.order + 1]
        logs = [math.log(each) for each, _ in taken]
        total = torch.zeros_like(taken[0][1])
        for k, (each, solved) in enumerate(taken):
            others = [log for at, log in enumerate(logs) if at != k]
            share = math.prod((math.log(penalty) - log) / (logs[k] - log) for log in others)
            if rule.ridge:
                ratio = (each + self.curvature) / (penalty + self.curvature)
                total.addcmul_(solved, torch.where(self.penalised > 0, ratio, 1.0), value=share)
            else:
                total.add_(solved, alpha=share)
        return total

    def _apart(self, guess: Tensor, solved: Tensor, penalty: float) -> float:
        """Return how far guesses are from solutions, both (P, K, A), where the objective feels it."""
        return float(((guess - solved).square() * (penalty + self.curvature)).sum())


def _usable(past: list[tuple[float, Tensor]]) -> Iterator[Rule]:
    """Yield the rules for which there are solutions enough."""
    for rule in RULES:
        if rule.order < len(past):
            yield rule
