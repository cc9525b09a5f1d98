"""Pages of the site that are made from the code and the data, when MkDocs builds it: see mkdocs.yml.

commands.md from the parsers, python.md from the public names, papers.md from the published numbers; and the files at
the root that docs/ links to.
"""

import argparse
import importlib
import re
from collections import defaultdict
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import twinbench
from twinbench.cli import COMMANDS, parser_of
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.published import published

ROOT = Path(__file__).resolve().parent.parent
FROM_THE_ROOT = ("benchmarks/RESULTS.md", "CHANGELOG.md", "CONTRIBUTING.md")
ADDRESSES = {"arXiv": "https://arxiv.org/abs/{}", "github": "https://github.com/{}"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that no file of docs/ holds."""
    pages = {"commands.md": commands(), "python.md": python_face(), "papers.md": papers()}
    for name in FROM_THE_ROOT:
        pages[name] = (ROOT / name).read_text(encoding="utf-8")
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links between docs/ and the root to where the pages stand in the site."""
    if page.file.src_uri in FROM_THE_ROOT:
        return markdown.replace("](docs/", "](").replace("](../docs/", "](../")
    return markdown.replace("](../", "](")


def commands() -> str:
    """Return a page of what each command says for --help."""
    parts = ["# Commands", "", "What `twinbench COMMAND --help` says.", ""]
    for name, (module, line) in COMMANDS.items():
        parts += [f"## {name}", "", line[0].upper() + line[1:] + ".", ""]
        parser = parser_of(name, importlib.import_module(f"twinbench.{module}"))
        for each in _with_subcommands(parser):
            parts += [f"### {each.prog}", ""] if each is not parser else []
            parts += ["```text", each.format_help().rstrip(), "```", ""]
    return "\n".join(parts)


def _with_subcommands(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Return a parser and those of its subcommands."""
    found = [parser]
    for action in parser._actions:  # argparse has no public name for them
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                found += _with_subcommands(each)
    return found


def python_face() -> str:
    """Return a page of the public names, written out by mkdocstrings."""
    parts = ["# Python", "", "`import twinbench` gives these names; nothing else is promised to stay.", ""]
    for name in twinbench.__all__:
        module, _, attribute = twinbench._HOMES[name].partition(":")
        parts += [f"::: twinbench.{module}.{attribute}", "    options:", f"      heading: {name}", ""]
    return "\n".join(parts)


def papers() -> str:
    """Return a page that says which protocols the published numbers of each paper and repository stand beside."""
    of_task: dict[str, list[str]] = defaultdict(list)
    for name, protocol in PROTOCOLS.items():
        for each in (protocol, *protocol.members.values()):
            if each.published_as:
                of_task[each.published_as].append(name)
    used: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for entry in published():
        for name in of_task[entry.task]:
            used[entry.paper][name] += 1
    parts = [
        "# Which paper used which?",
        "",
        "Numbers of a paper, or of a repository, that were read at their source, and the protocols they belong to.",
        "`twinbench report RESULTS --published --source TEXT` shows them beside yours;",
        "[the protocols](protocols.md) have each constant.",
        "",
        "| source | protocols (published numbers) |",
        "|---|---|",
    ]
    for paper, names in sorted(used.items(), key=lambda item: -sum(item[1].values())):
        shown = ", ".join(f"`{name}` ({count})" for name, count in names.items())
        parts.append(f"| {_link(paper)} | {shown} |")
    return "\n".join(parts) + "\n"


def _link(paper: str) -> str:
    """Return a paper or a repository as a link, where its name says to what."""
    kind, _, number = paper.partition(":")
    if kind == "arXiv":
        return f"[{paper}]({ADDRESSES['arXiv'].format(number)})"
    if re.fullmatch(r"[\w.-]+/[\w.-]+", paper):
        return f"[{paper}]({ADDRESSES['github'].format(paper)})"
    return paper
