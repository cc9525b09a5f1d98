"""Every command of README.md and docs/ runs: page by page, in order, on the small things of world.toml."""

import importlib
import re
import time
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, Step, steps
from tests.docs.world import RULES, Failed, World, shared_world

NAMES = [name for path in PAGES if (name := str(path.relative_to(ROOT))) not in RULES["slurm"]]
IMPORTED = ("sklearn.linear_model", "timm", "torchvision", "twinbench.detection.trial", "twinbench.transfer.trials")


def skipped(name: str, step: Step) -> bool:
    """Return whether a command is on the list of those that do not run here."""
    return step.text.startswith(tuple(RULES["skip"].get(name, ())))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all pages share, one for all processes of this run."""
    base = tmp_path_factory.getbasetemp()
    return shared_world(base.parent if base.name.startswith("popen-") else base)


@pytest.fixture(scope="session")
def imported() -> None:
    """Import what commands import, once: they are forks of this process."""
    for name in IMPORTED:
        importlib.import_module(name)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_runs(name, imported, shared, tmp_path):
    folder = tmp_path / "page"
    folder.mkdir()
    world, failures = World(name, folder, shared), []
    for step in steps(ROOT / name):
        if skipped(name, step):
            continue
        began = time.monotonic()
        try:
            world.run(step)
        except Failed as failed:
            failures.append(f"{name}:{step.line}: {failed}")
        print(f"{time.monotonic() - began:6.1f} s  {step.kind}  {step.text[:100]!r}")
    assert not failures, "\n\n".join(failures)


@pytest.mark.parametrize("name", RULES["skip"])
def test_what_does_not_run_is_there_and_has_a_reason(name):
    for command, reason in RULES["skip"][name].items():
        assert any(step.text.startswith(command) for step in steps(ROOT / name)), command
        assert reason


@pytest.mark.parametrize("name", [*NAMES, *RULES["slurm"]])
def test_what_is_replaced_on_a_page_is_there(name):
    """One after the other: what stands for a thing may be replaced in its turn."""
    texts = [step.text for step in steps(ROOT / name)]
    for pattern, stands_for_it in RULES["pages"].get(name, {}).get("replace", {}).items():
        assert any(re.search(pattern, text) for text in texts), pattern
        texts = [re.sub(pattern, stands_for_it, text) for text in texts]


@pytest.mark.parametrize("pattern", RULES["replace"])
def test_what_is_replaced_on_all_pages_is_on_one(pattern):
    assert any(re.search(pattern, step.text) for name in NAMES for step in steps(ROOT / name))


def test_every_rule_is_of_a_page():
    pages = {str(path.relative_to(ROOT)) for path in PAGES}
    named = {*RULES["pages"], *RULES["slurm"], *RULES["skip"]}
    assert named <= pages
