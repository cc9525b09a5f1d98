"""Protocols from users' own files, YAML and Python."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from twinbench.protocols.catalogue import DATA_SETS, KINDS, PROTOCOLS
from twinbench.protocols.own import Registries
from twinbench.protocols.schema import ProtocolError

ROOT = Path(__file__).resolve().parent.parent
OWN = """
data_sets:
  pets: {tasks: single-label, classes: 37, images: [3680, 3669]}
protocols:
  pets-knn: {recipe: imagenet-knn, set: {neighbors: [5, 10]}, data: pets, metric: top1-k10, source: ours}
  pets-probe:
    kind: probe
    data: pets
    source: ours
    trials: 3
    set: {transform.resize: 256, transform.crop: 224, transform.shape: center-crop, epochs: 10, batch_size: 64,
          lr_head: 0.1, momentum: 0.9, nesterov: false, weight_decay: 0, schedule: cosine, milestones: [],
          gamma: 1, head: linear, head_init_std: 0.01}
"""


@pytest.fixture
def registries():
    """Registries of their own, so that a test leaves no protocol behind."""
    return Registries(dict(PROTOCOLS), dict(DATA_SETS), dict(KINDS))


def load(registries, tmp_path, text, name="own.yaml"):
    """Write a file and load it."""
    path = tmp_path / name
    path.write_text(text)
    registries.load([path])
    return registries.protocols


def test_a_recipe_may_begin_with_a_known_one(registries, tmp_path):
    own = load(registries, tmp_path, OWN)["pets-knn"]
    assert own.recipe.neighbors == (5, 10)
    assert own.recipe.temperature == PROTOCOLS["imagenet-knn"].recipe.temperature
    assert own.data_set.images == (3680, 3669)
    assert own.metric == "top1-k10"


def test_a_changed_recipe_has_a_fingerprint_of_its_own(registries, tmp_path):
    own = load(registries, tmp_path, OWN)["pets-knn"]
    same = PROTOCOLS["imagenet-knn"].with_settings({"neighbors": "5,10,20"})
    assert own.fingerprint not in {PROTOCOLS["imagenet-knn"].fingerprint, same.fingerprint}


def test_a_recipe_may_be_written_out(registries, tmp_path):
    own = load(registries, tmp_path, OWN)["pets-probe"]
    assert own.recipe.transform.crop == 224
    assert own.recipe.milestones == ()
    assert own.recipe.precision == "fp32"
    assert (own.trials, own.metric) == (3, "top1")


def test_a_file_read_twice_is_read_once(registries, tmp_path):
    load(registries, tmp_path, OWN)
    registries.load([tmp_path / "own.yaml"])
    assert "pets-knn" in registries.protocols


NEW_KIND = '''
from dataclasses import dataclass
from typing import Annotated, ClassVar

from twinbench.protocols.datasets import DataSet
from twinbench.protocols.kinds.base import Recipe
from twinbench.protocols.ranges import COUNT
from twinbench.protocols.schema import Protocol

@dataclass(frozen=True, kw_only=True)
class Constant(Recipe):
    """Always the same answer."""
    kind: ClassVar[str] = "constant"
    room: ClassVar[str] = "transfer"
    measured_by: ClassVar = staticmethod(lambda run: {"metrics": {"top1": 10.0}})
    answer: Annotated[int, COUNT]
    tasks = ("single-label",)
    def metrics(self):
        return ("top1",)

KINDS = (Constant,)
PROTOCOLS = (Protocol(name="mine", version=1, title="mine", recipe=Constant(answer=1),
    data_set=DataSet("pets", ("single-label",)), metric="top1", selected_on="nothing", trials=1, source="ours"),)
'''


def test_a_new_kind_comes_from_python(registries, tmp_path):
    own = load(registries, tmp_path, NEW_KIND, "own.py")["mine"]
    assert registries.kinds["constant"] is type(own.recipe)
    assert own.with_settings({"answer": "2"}).recipe.answer == 2


def test_a_python_file_may_postpone_its_annotations(registries, tmp_path):
    own = load(registries, tmp_path, f"from __future__ import annotations\n{NEW_KIND}", "own.py")["mine"]
    assert own.with_settings({"answer": "2"}).recipe.answer == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("protocols: {x: {data: imagenet}}", "protocols.x: expected either `recipe`"),
        ("protocols: {x: {recipe: imagenet-kn, data: imagenet}}", "Did you mean 'imagenet-knn'"),
        ("protocols: {x: {recipe: imagenet-knn, data: pts}}", "protocols.x: unknown data set 'pts'"),
        ("protocols: {x: {recipe: imagenet-knn, data: imagenet, set: {k: 1}}}", "unknown setting 'k'"),
        ("protocols: {x: {recipe: imagenet-knn, data: imagenet, sets: 1}}", "unknown setting 'sets'"),
        (
            "protocols: {x: {recipe: imagenet-knn, data: imagenet, set: {neighbors: [0]}}}",
            "protocols.x: setting neighbors=0:",
        ),
        ("protocols: {x: {recipe: imagenet-knn, data: imagenet, metric: AP}}", "protocols.x: setting neighbors=10,20,"),
        ("protocols: {x: {recipe: voc07-svm, data: imagenet}}", "a recipe of kind svm runs on multi-label data"),
        ("protocols: {x: {kind: probe, data: imagenet}}", "lacks transform.resize, transform.crop"),
        ("protocols: {x: {kind: prob, data: imagenet}}", "unknown kind 'prob'"),
        ("protocols: {imagenet-knn: {recipe: imagenet-knn, data: imagenet}}", "a protocol called imagenet-knn exists"),
        ("data_sets: {x: {tasks: photos}}", "data_sets.x: setting tasks=photos: expected single-label or"),
        ("data_sets: {x: {}}", "data_sets.x: expected tasks"),
        ("recipes: {}", "unknown section 'recipes'"),
        ("[1, 2]", "expected `name: value` entries"),
        ("protocols: {x: ", "own.yaml, line 1: not valid YAML"),
    ],
)
def test_a_mistake_names_the_file_and_the_place(registries, tmp_path, text, said):
    with pytest.raises(ProtocolError) as caught:
        load(registries, tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "own.yaml"))
    assert said in str(caught.value)


def test_the_command_shows_an_own_protocol(tmp_path):
    (tmp_path / "own.yaml").write_text(OWN)
    words = [sys.executable, "-m", "twinbench", "protocols", "pets-knn", "--protocols", str(tmp_path / "own.yaml")]
    words.append("--json")
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["data_set"]["images"] == [3680, 3669]
