"""A trial on frozen features that is killed after some fits goes on with its features to the same numbers."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twinbench.protocols.catalogue import find_protocol
from twinbench.report.asked import Asked
from twinbench.transfer import cache, episodes, logistic, lowshot_one_vs_rest
from twinbench.transfer.measure import measure
from twinbench.transfer.options import Options

FEW = {"transform.crop": 32, "penalties": "0.01,1,100"}
SIZES = {"train_images": 12, "validation_images": 6, "draws": 2}
EPISODES = {"transform.resize": 40, "transform.crop": 32, "shots": 1, "queries": 1, "ways": 3, "episodes": 20}
FIT, EPISODE, SVM = (logistic, "_fitted"), (episodes, "_accuracy"), (lowshot_one_vs_rest, "_fitted")
# recipe: its settings on the smallest scenes, what it calls again and again, and the call that the kill comes in
TRIALS: dict[str, tuple[dict[str, Any], tuple[Any, str], int]] = {
    **{
        f"linear12-{name}": (FEW | {"transform.resize": 40}, FIT, 2)
        for name in ("byol", "ssl-transfer", "dinov2", "dinov3", "clip", "google")
    },
    "few-shot-dinov3": (FEW | {"transform.resize": 40, "shots": "1,2", "draws": 2}, FIT, 3),
    "few-shot-vtab1k": (FEW | SIZES, FIT, 4),
    "few-shot-5way-5shot": (EPISODES, EPISODE, 7),
    "places205-svm-lowshot": (
        {"transform.crop": 32, "pooling": "gap", "shots": "1,2", "samples": 2, "costs": "0.1,1"},
        SVM,
        6,
    ),
}


def asked(name: str, data: Path, out: Path) -> Asked:
    """Return a trial of a recipe on the scenes, a random backbone of an eighth of the width."""
    pair = dataclasses.replace(find_protocol(f"{name}@digits"), width=0.125)
    settings = TRIALS[name][0]
    if "shots" in settings and "k" in pair.metric:
        pair = dataclasses.replace(pair, metric=f"{pair.metric.rpartition('-k')[0]}-k2")
    return Asked(pair.with_settings(settings), "random", data, out, method="ours", device="cpu", workers=0)


def killed_in(function: Callable[..., Any], call: int) -> Callable[..., Any]:
    """Return a function that is interrupted in one of its calls, counted from 1."""
    calls = iter(range(1, 10_000))

    def interrupted(*given: Any, **named: Any) -> Any:
        if next(calls) == call:
            raise KeyboardInterrupt
        return function(*given, **named)

    return interrupted


@pytest.mark.parametrize("name", TRIALS)
def test_a_trial_that_was_killed_between_its_fits_comes_to_the_same_numbers(
    name: str, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, (_, (module, function), call) = scenes / "imagenet", TRIALS[name]
    whole = measure(asked(name, data, tmp_path / "whole"), Options(cache=tmp_path / "features"))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(module, function, killed_in(getattr(module, function), call))
        measure(asked(name, data, tmp_path / "killed"))
    assert not (tmp_path / "killed" / "result.json").exists()
    monkeypatch.setattr(cache, "extract", killed_in(cache.extract, 1))  # the features are there
    again = measure(asked(name, data, tmp_path / "killed"))
    assert whole is not None
    assert again is not None
    assert again.metrics == whole.metrics
    assert again.details == whole.details
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["result.json"]
