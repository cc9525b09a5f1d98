import json

import pytest

import twinbench
from twinbench.protocols.catalogue import PROTOCOLS


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
    assert message.count("\n") == 1 and "Did you mean 'voc07-svm'" in message


@pytest.mark.parametrize("command", ["protocols", "report"])
def test_help_holds_an_example(command, capsys):
    with pytest.raises(SystemExit):
        twinbench.main([command, "--help"])
    assert f"twinbench {command} " in capsys.readouterr().out.partition("\n\n")[2]
