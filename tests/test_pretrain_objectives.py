"""The objectives beside Barlow Twins': against the values of their official codes, and by two loops."""

import math
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import Tensor

import twinbench
from twinbench.pretrain.model import BarlowTwins
from twinbench.pretrain.objectives import OTHERS, objective
from twinbench.protocols.house import UserError
from twinbench.protocols.pretraining import RECIPES
from twinbench.runtime.progress import read_log

IMAGES, FEATURES = 6, 4
RECIPE = replace(RECIPES["barlow-twins"], batch_size=IMAGES, lambd=0.3)


def embeddings(shift: float) -> Tensor:
    """Return what was given to the official codes, too."""
    i, j = torch.arange(IMAGES, dtype=torch.float64)[:, None], torch.arange(FEATURES, dtype=torch.float64)[None]
    return torch.sin(3 * i + 5 * j + shift * (1 + i * j / 7)) * 2 + j / 3


Z1, Z2 = embeddings(0.0), embeddings(1.0)


def value(name: str, **settings: object) -> float:
    return float(objective(Z1, Z2, replace(RECIPE, objective=name, **settings), "dense"))  # type: ignore[arg-type]


def test_vicreg_is_its_official_code_s():
    """VICReg.forward of main_vicreg.py, of one process and no network, run on these embeddings in float64."""
    assert value("vicreg") == pytest.approx(138.29426428837468, rel=1e-12)


@pytest.mark.parametrize(("temperature", "expected"), [(0.1, 20.830461771784105), (0.5, 6.336285692735442)])
def test_simclr_is_its_official_code_s(temperature, expected):
    """add_contrastive_loss of tf2/objective.py on these embeddings, TensorFlow's functions written in NumPy."""
    assert value("simclr", temperature=temperature) == pytest.approx(expected, rel=1e-12)


def columns(z: Tensor, *, scaled: bool = True) -> list[list[float]]:
    """Return the columns of z, centred, and scaled if asked."""
    found = []
    for column in z.T.tolist():
        mean = sum(column) / IMAGES
        variance = sum((x - mean) ** 2 for x in column) / IMAGES
        found.append([(x - mean) / (math.sqrt(variance + 1e-5) if scaled else 1) for x in column])
    return found


def matrix(a: list[list[float]], b: list[list[float]], divisor: float) -> list[list[float]]:
    return [[sum(x * y for x, y in zip(p, q, strict=True)) / divisor for q in b] for p in a]


def split(c: list[list[float]]) -> tuple[list[float], list[float]]:
    """Return what is on the diagonal, and what is off it."""
    pairs = [(i, j) for i in range(FEATURES) for j in range(FEATURES)]
    return [c[i][j] for i, j in pairs if i == j], [c[i][j] for i, j in pairs if i != j]


def equation1(c: list[list[float]]) -> float:
    on, off = split(c)
    return sum((x - 1) ** 2 for x in on) + 0.3 * sum(x**2 for x in off)


def test_ablations_of_the_matrix_by_two_loops():
    a, b = columns(Z1), columns(Z2)
    c = matrix(a, b, IMAGES)
    on, off = split(c)
    assert value("barlow-twins") == pytest.approx(equation1(c), rel=1e-12)
    assert value("barlow-twins", lambd=0.0) == pytest.approx(sum((x - 1) ** 2 for x in on), rel=1e-12)
    assert value("redundancy") == pytest.approx(0.3 * sum(x**2 for x in off), rel=1e-12)
    centred = columns(Z1, scaled=False), columns(Z2, scaled=False)
    assert value("covariance") == pytest.approx(equation1(matrix(*centred, IMAGES)), rel=1e-12)
    cross = 0.3 * math.log(sum(math.exp(max(x, 0) / 0.2) for x in off)) - math.log(sum(math.exp(x / 0.2) for x in on))
    assert value("cross-entropy", temperature=0.2) == pytest.approx(cross, rel=1e-12)


def test_rows_on_the_unit_sphere_by_two_loops():
    def rows(z: Tensor) -> list[list[float]]:
        found = []
        for row in zip(*columns(z), strict=True):
            length = math.sqrt(sum(x**2 for x in row))
            found.append([x / length for x in row])
        return [list(column) for column in zip(*found, strict=True)]

    assert value("feature-norm") == pytest.approx(equation1(matrix(rows(Z1), rows(Z2), 1)), rel=1e-12)


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_autocast_does_not_reach_an_objective(name):
    recipe = replace(RECIPE, objective=name)
    plain = objective(Z1.float(), Z2.float(), recipe, "dense")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(objective(Z1.float(), Z2.float(), recipe, "dense"), plain)


def small(**settings: object) -> BarlowTwins:
    torch.manual_seed(0)
    return BarlowTwins(replace(RECIPE, width=0.0625, projector=(8, 8, 6), **settings))  # type: ignore[arg-type]


def test_a_projector_without_batch_norm():
    kinds = [type(layer).__name__ for layer in small(projector_norm=False).projector]
    assert kinds == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]


def test_a_predictor_stands_behind_view_1_and_a_stopped_gradient_before_view_2():
    views = torch.randn(2, 4, 3, 32, 32)
    plain, model = small().train(), small(predictor=(5, 6), stop_gradient=True).train()
    model.backbone.load_state_dict(plain.backbone.state_dict())
    model.projector.load_state_dict(plain.projector.state_dict())
    z1, z2 = plain(*views)
    p1, p2 = model(*views)
    torch.testing.assert_close(p1, model.predictor(z1))
    assert torch.equal(p2, z2)
    assert p1.requires_grad
    assert not p2.requires_grad


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"predictor": (8, 7)}, "end with the projector's 8192"),
        ({"predictor": (8, 8), "projector": ()}, "projector=.*expected sizes"),
        ({"objective": "vicreg", "terms": (1.0, 2.0)}, "three numbers"),
        ({"objective": "simclr", "temperature": 0.0}, "temperature=0.0"),
        ({"temperature": 0.5}, "temperature=0.5: the objective barlow-twins has none; leave it out, or set objective"),
        ({"objective": "simclr", "terms": (1.0, 1.0, 1.0)}, "terms=1.0,1.0,1.0: the objective simclr has none"),
    ],
)
def test_bad_settings(settings, word):
    with pytest.raises(UserError, match=word):
        replace(RECIPES["barlow-twins"], **settings)


def test_fingerprints_of_before_stay():
    """As they stood in results before objectives were settings."""
    assert RECIPES["demo"].fingerprint != replace(RECIPES["demo"], objective="vicreg").fingerprint
    assert RECIPES["barlow-twins"].fingerprint == "a7a523a4451f"


def test_a_run_by_another_objective(tmp_path):
    for number in range(8):
        path = tmp_path / f"data/train/c/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((24, 24), 20 + number).convert("RGB").save(path)
    sets = ["width=0.0625", "batch_size=8", "projector=16,16", "crop=16", "objective=simclr", "epochs=2"]
    words = ["pretrain", str(tmp_path / "data"), str(tmp_path / "out"), "--recipe", "demo", "--workers", "0"]
    words += ["--log-steps", "1", "--precision", "fp32", "--device", "cpu", *(f"--set={pair}" for pair in sets)]
    assert twinbench.main(words) == 0
    lines = [line for line in read_log(tmp_path / "out/log.jsonl") if "loss" in line]
    assert all(line["loss_over_floor"] is None for line in lines)
    # two cross-entropies over 15 others, at cosines that cannot differ by more than 2 / 0.1
    assert all(0 < line["loss"] < 2 * (math.log(15) + 20) for line in lines)
