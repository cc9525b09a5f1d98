import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import twinbench
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.pretraining import RECIPES
from twinbench.protocols.sources import pretraining_sources, pretraining_values

ROOT = Path(__file__).resolve().parent.parent


def test_the_list_holds_every_protocol_with_its_fingerprint(capsys):
    assert twinbench.main(["protocols"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0]: line.split()[-1] for line in lines[1:]} == {
        name: entry.fingerprint for name, entry in PROTOCOLS.items()
    }


def test_one_protocol_shows_every_field_of_its_recipe(capsys):
    assert twinbench.main(["protocols", "voc07-svm"]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if len(line.split()) > 1)
    assert shown["costs"].startswith("0.01,0.1,1.0,2.0,5.0,10.0,15.0,20.0,50.0,100.0,1000.0")
    assert shown["transform.shape"].startswith("squash")
    assert shown["fingerprint"] == PROTOCOLS["voc07-svm"].fingerprint


def test_json_holds_the_same(capsys):
    twinbench.main(["protocols", "coco-mrcnn-c4-1x", "--json"])
    one = json.loads(capsys.readouterr().out)
    assert one["recipe"]["iterations"] == 90_000
    assert one["kind"] == "detector"
    twinbench.main(["protocols", "--json"])
    assert one in json.loads(capsys.readouterr().out)


def test_an_unknown_name_ends_with_code_2_and_one_line(capsys):
    assert twinbench.main(["protocols", "voc07"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "Did you mean 'voc07-svm'" in message


@pytest.mark.parametrize("command", ["protocols", "report"])
def test_help_holds_an_example(command, capsys):
    with pytest.raises(SystemExit):
        twinbench.main([command, "--help"])
    assert f"twinbench {command} " in capsys.readouterr().out.partition("\n\n")[2]


def test_a_pretraining_recipe_is_shown_with_its_sources(capsys):
    assert twinbench.main(["protocols", "barlow-twins"]) == 0
    shown = capsys.readouterr().out
    assert "barlow-twins: pretraining" in shown
    assert "lambd               0.0051   [BT code; the paper's text says 5e-3]" in shown


def test_a_pretraining_recipe_is_json_too(capsys):
    assert twinbench.main(["protocols", "barlow-twins-paper", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["lambd"] == 5e-3
    assert found["sources"]["lambd"] == "BT 2.2"
    assert found["fingerprint"] == RECIPES["barlow-twins-paper"].fingerprint


def test_every_field_of_the_flagship_has_a_source():
    notes = pretraining_sources(RECIPES["barlow-twins"])
    assert [name for name, _ in pretraining_values(RECIPES["barlow-twins"]) if not notes.get(name)] == []


def test_the_page_is_written_from_any_folder(tmp_path):
    """An import of `protocols` without the package's name once worked in the checkout alone."""
    words = [sys.executable, "-m", "twinbench", "protocols", "--markdown"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "# Pretraining recipes" in run.stdout
