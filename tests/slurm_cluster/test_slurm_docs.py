"""The tutorial "Your cluster": its commands run as they stand on a real Slurm, and print what the page says."""

import pytest

from tests.docs.pages import ROOT, steps
from tests.docs.world import RULES, World


@pytest.mark.parametrize("name", RULES["slurm"])
def test_every_command_of_a_page_runs_on_slurm(name, cluster, tmp_path):
    folder = tmp_path / "page"
    folder.mkdir()
    world = World(name, folder, tmp_path)
    for step in steps(ROOT / name):
        world.run(step)
    assert (folder / "results/report.html").exists()
