"""The documentation is true: its commands parse, its links lead somewhere, its generated parts are up to date."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
import yaml

import twinbench
from twinbench.cli import COMMANDS
from twinbench.protocols import page
from twinbench.protocols.catalogue import DATA_SETS, KINDS, PROTOCOLS
from twinbench.protocols.own import Registries
from twinbench.protocols.sources import recipe_sources
from twinbench.suite.graph import build_jobs
from twinbench.suite.suite import read_suite

ROOT = Path(__file__).resolve().parent.parent
INPUTS = {"list": "list", "targets": "."}
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def blocks(path, language=None):
    """Return the fenced blocks of a page, as (language, text)."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [text for kind, text in found if language is None or kind == language]


def commands(path):
    """Return the `twinbench ...` lines of a page's blocks, as words, without comments and what a shell does.

    `twinbench transfer: ...` is what a command says.
    """
    lines = [line for text in blocks(path) for line in text.splitlines() if re.match(r"twinbench [a-z]+(?!:)\b", line)]
    return [shlex.split(re.split(r" (?:>|\|\|) ", line)[0], comments=True) for line in lines]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_command_parses(path, monkeypatch):
    """With the real parser; what is written in capitals or in brackets is a synopsis and no command."""
    for words in commands(path):
        if any(word.isupper() and len(word) > 1 or word.startswith("[") or word.endswith("...") for word in words):
            continue
        room = importlib.import_module(f"twinbench.{COMMANDS[words[1]][0]}")
        monkeypatch.setattr(room, "run", lambda arguments: 0)
        assert twinbench.main(words[1:]) == 0, shlex.join(words)


def test_commands_are_found():
    assert sum(len(commands(path)) for path in PAGES) > 30


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        if not re.match(r"[a-z]+:", target):
            name, _, anchor = target.partition("#")
            file = path.parent / name if name else path
            assert file.exists(), target
            headings = re.findall(r"^#+ (.+)$", file.read_text(), flags=re.MULTILINE) if anchor else []
            assert not anchor or anchor in {heading.lower().replace(" ", "-") for heading in headings}, target


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_suite_is_read_by_the_real_reader(path, tmp_path, monkeypatch):
    """Files and folders that a page speaks of are made here; names, settings and seeds are the page's."""
    for number, text in enumerate(blocks(path, "yaml")):
        suite = yaml.safe_load(text)
        if "methods" not in suite:
            continue
        suite["data"] = {name: str(tmp_path / name) for name in suite["data"]}
        for folder in suite["data"].values():
            Path(folder).mkdir(exist_ok=True)
        for method in suite["methods"].values():
            model, equals, weights = method.get("checkpoint", "random").rpartition("=")  # or a file alone
            if weights.endswith((".pth", ".safetensors")):
                method["checkpoint"] = f"{model}{equals}{tmp_path / 'weights'}"
                (tmp_path / "weights").touch()
        (tmp_path / "sample1_k1.npy").touch()
        (tmp_path / "list").write_text("n1_1.JPEG")
        for entry in suite["protocols"].values():
            entry.update({key: str(tmp_path / name) for key, name in INPUTS.items() if key in entry})
        file = tmp_path / f"suite{number}.yaml"
        file.write_text(yaml.safe_dump(suite))
        read = read_suite(file)
        assert {job.name.partition("/")[0] for job in build_jobs(read)} == {*suite["methods"], "report"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_file_of_own_protocols_is_read_by_the_real_reader(path, tmp_path):
    """YAML that is no suite."""
    for number, text in enumerate(blocks(path, "yaml")):
        names = yaml.safe_load(text)
        if "methods" not in names:
            file = tmp_path / f"own{number}.yaml"
            file.write_text(text)
            found = Registries(dict(PROTOCOLS), dict(DATA_SETS), dict(KINDS))
            found.load([file])
            assert names["protocols"].keys() <= found.protocols.keys()


def test_the_changelog_begins_with_this_version():
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert first
    assert first[1] == twinbench.__version__


def test_the_citation_is_whole():
    """What the Citation File Format 1.2.0 requires, and this version."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert citation["version"] == twinbench.__version__


def test_the_protocols_page_is_up_to_date():
    written = (ROOT / "docs" / "protocols.md").read_text()
    assert written == page.render(list(PROTOCOLS.values())), "run: twinbench protocols --markdown > docs/protocols.md"


def test_sources_are_read_from_beside_the_constants():
    found = recipe_sources()
    assert found["voc07-svm"]["positive_weight"] == "VISSL svm_trainer.py: class_weight {1: 2, -1: 1}"
    assert found["imagenet-linear"]["transform.crop"].startswith("BT code: Resize(256)")
    assert found["imagenet-1pct"]["lr_head"] == "BT B.2 and README"  # changed by replace, with its own source
    assert found["imagenet-1pct"]["momentum"] == "BT code"  # kept from the base


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if not name.startswith("demo-")])
def test_every_papers_protocol_says_where_its_constants_come_from(name):
    """At least the half of them; what is left open by every source has none to give."""
    recipe = PROTOCOLS[name].recipe
    assert len(recipe_sources()[name]) >= len(vars(recipe)) / 2
