"""What the recipes of protocols/neighbors.py do in a trial: grids of k and temperature, and a few images a class."""

import numpy as np

from twinbench.data.validation import drawn
from twinbench.protocols.kinds.knn import FewShotKnnRecipe, KnnGridRecipe
from twinbench.runtime.progress import bar
from twinbench.runtime.seeds import generator
from twinbench.transfer.few_shot import drawn_shots
from twinbench.transfer.knn import Cell, knn_accuracy, knn_grid
from twinbench.transfer.run import Fields, Run


def measure_grid(run: Run) -> Fields | None:
    """Run a grid; the result holds every pair's top-1 on the images that chose, and the chosen pair's accuracies."""
    recipe: KnnGridRecipe = run.recipe
    held: np.ndarray | None = None
    if recipe.chosen_on == "held-out":  # before the features: it may fail
        held = held_out(len(run.train.targets), recipe.held_out, run.trial.seed)
    arrays = run.arrays()
    if arrays is None:
        return None
    found, tried = evaluate_grid(
        *arrays, held, classes=len(run.train.classes), recipe=recipe, device=run.process.device
    )
    k, temperature = best(tried)
    curves = {f"top1 by k at T = {number:g}": top1_by_k(tried, number) for number in recipe.temperatures}
    return {
        "metrics": found,
        "curves": curves,
        "details": {
            "neighbors": k,
            "temperature": temperature,
            "chosen_on": "test images" if held is None else f"{int(held.sum())} training images",
        },
    }


def held_out(images: int, share: float, seed: int) -> np.ndarray:
    """Return which of the training images choose, (images,) bool; DataError for all of them or none."""
    return drawn(images, int(share * images), generator(seed).permutation(images))


def evaluate_grid(
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    test_y: np.ndarray,
    held: np.ndarray | None,
    *,
    classes: int,
    recipe: KnnGridRecipe,
    device: str = "cpu",
) -> tuple[dict[str, float], dict[Cell, float]]:
    """Return the accuracies at the best pair, and every pair's on the images that chose.

    These are the training rows that are `held`, (N,) bool, with the others as neighbours; None: the test rows.
    """
    test = train_x, train_y, test_x, test_y
    choose = test if held is None else (train_x[~held], train_y[~held], train_x[held], train_y[held])
    topk = sorted({1, *recipe.topk})
    tried = knn_grid(
        *choose,
        neighbors=recipe.neighbors,
        temperatures=recipe.temperatures,
        classes=classes,
        votes=recipe.votes,
        topk=topk,
        device=device,
    )
    k, temperature = best(tried)
    if held is None:
        reported = tried
    else:
        pair = {"neighbors": [k], "temperatures": [temperature]}
        reported = knn_grid(*test, **pair, classes=classes, votes=recipe.votes, topk=topk, device=device)
    return {f"top{rank}": reported[k, temperature, rank] for rank in recipe.topk}, tried


def best(tried: dict[Cell, float]) -> tuple[int, float]:
    """Return the k and temperature with the highest top-1, the first of equal ones."""
    k, temperature, _ = max((cell for cell in tried if cell[2] == 1), key=tried.__getitem__)
    return k, temperature


def top1_by_k(tried: dict[Cell, float], temperature: float) -> list[list[float]]:
    """Return [k, top-1] at a temperature."""
    return [[k, value] for (k, number, rank), value in tried.items() if (number, rank) == (temperature, 1)]


def measure_few_shot_knn(run: Run) -> Fields | None:
    """Search among n images a class, for each n and draw."""
    arrays = run.arrays()
    if arrays is None:
        return None
    recipe: FewShotKnnRecipe = run.recipe
    draws = evaluate_few_shot_knn(
        *arrays, classes=len(run.train.classes), recipe=recipe, seed=run.trial.seed, device=run.process.device
    )
    metrics: dict[str, float] = {}
    curves: dict[str, list[list[float]]] = {}
    for (shots, name), values in draws.items():
        top, k = name.split("-k")
        metrics[f"{top}-n{shots}-k{k}"] = float(np.mean(values))
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        curves.setdefault(f"{name} by images per class", []).append([shots, float(np.mean(values)), deviation])
    by_draw = {f"{name}, {shots} images per class": values for (shots, name), values in draws.items()}
    return {"metrics": metrics, "curves": curves, "details": {"by_draw": by_draw}}


def evaluate_few_shot_knn(
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    test_y: np.ndarray,
    *,
    classes: int,
    recipe: FewShotKnnRecipe,
    seed: int,
    device: str = "cpu",
) -> dict[tuple[int, str], list[float]]:
    """Return by n and `top1-k5`, ... the percent of each draw; the draws of trial 0 are those of DINOv2's seeds."""
    found: dict[tuple[int, str], list[float]] = {}
    for shots in bar(recipe.shots, what="few-shot k-NN", unit="size"):
        for number in range(recipe.draws):
            rows = drawn_shots(train_y, shots, seed * recipe.draws + number)
            accuracies = knn_accuracy(
                train_x[rows],
                train_y[rows],
                test_x,
                test_y,
                neighbors=recipe.neighbors_among(shots),
                temperature=recipe.temperature,
                classes=classes,
                votes=recipe.votes,
                topk=recipe.topk,
                device=device,
            )
            for name, value in accuracies.items():
                found.setdefault((shots, name), []).append(value)
    return found
