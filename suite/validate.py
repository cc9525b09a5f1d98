"""Every mistake of a suite file at once, each entry read for itself: nothing is written, and no scheduler is asked.

`read_suite` ends at the first one: whoever writes a file of fifty entries would see them one run after the other.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from twinbench.data.source import FORMS, Source
from twinbench.protocols.catalogue import load_own
from twinbench.protocols.house import UserError
from twinbench.suite.cluster import Cluster, read_cluster
from twinbench.suite.entries import as_mapping, as_name, as_path, parsed
from twinbench.suite.families import members
from twinbench.suite.graph import build_jobs
from twinbench.suite.measurements import read_measurements
from twinbench.suite.methods import read_methods
from twinbench.suite.preflight import root_problems
from twinbench.suite.suite import (
    KEYS,
    Suite,
    protocol_files,
    read_data,
    read_report,
    read_suite,
    read_trackers,
    require_keys,
)

ReadT = TypeVar("ReadT")


class Mistakes:
    """The lines of the mistakes that were met."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.found: list[str] = []

    def add(self, where: str, error: UserError) -> None:
        """Note a mistake at a place of the file, which its words may begin with already."""
        text = str(error)
        names_file = text.startswith((f"{self.file}: ", f"{self.file}, line "))
        if not names_file and not text.startswith(f"{where}: "):
            text = f"{where}: {text}"
        told = text if names_file else f"{self.file}: {text}"
        if told not in self.found:
            self.found.append(told)

    def read(self, where: str, reader: Callable[[], ReadT], otherwise: ReadT) -> ReadT:
        """Return what a reader returns; where it refuses, note why and return something else."""
        try:
            return reader()
        except UserError as error:
            self.add(where, error)
            return otherwise


def validate(file: Path) -> tuple[Suite | None, list[str]]:
    """Return the suite, if it can be read, and what is wrong with its file and the places that it names."""
    file = file.absolute()
    mistakes = Mistakes(file)
    content = mistakes.read("file", lambda: parsed(file), None)
    if isinstance(content, dict) and not mistakes.found:
        _each_entry(file, content, mistakes)
    if mistakes.found:
        return None, mistakes.found
    suite = mistakes.read("file", lambda: read_suite(file), None)
    if suite is None:
        return None, mistakes.found
    return suite, [f"{file}: {problem}" for problem in (*root_problems(suite), *_places(suite))]


def _each_entry(file: Path, content: dict[str, object], mistakes: Mistakes) -> None:
    """Read every key of a file, and every entry of its maps, as `read_suite` does, but each alone."""
    for key in content:
        mistakes.read(key, lambda key=key: as_mapping({key: None}, f"{file}", Suite, **KEYS), {})
    mistakes.read("file", lambda: require_keys(file, content), None)
    if "name" in content:
        mistakes.read("name", lambda: as_name(content["name"], f"{file}: name"), "")
    site = content.get("site", True) is not False
    cluster = mistakes.read("cluster", lambda: read_cluster(content.get("cluster") or {}, site=site), Cluster())
    mistakes.read("report", lambda: read_report(file, content, cluster), cluster)
    mistakes.read("track", lambda: read_trackers(file, content.get("track") or ""), ())
    files = mistakes.read("protocol_files", lambda: protocol_files(file, content.get("protocol_files") or []), ())
    mistakes.read("protocol_files", lambda: load_own(files), None)
    protocols, methods, named = (_map(content.get(key)) for key in ("protocols", "methods", "data"))
    own = [name.partition("@")[2] for name in protocols]
    data: dict[str, Source] = {}
    for name, place in named.items():
        # a place that is wrong is told once, and not again by all that need it
        data |= mistakes.read(f"data.{name}", lambda n=name, p=place: read_data(file, {n: p}, own), {name: Source("/")})
    stands_for: dict[str, tuple[str, ...]] = {name: (name,) for name in protocols}
    for name, entry in protocols.items():
        where = f"protocols.{name}"
        pairs, names = mistakes.read(where, lambda n=name, e=entry: members(file, [(n, e)], data), ([], {}))
        stands_for |= names
        mistakes.read(where, lambda p=pairs: read_measurements(file, data, cluster, p, methods=1), ())
    root = mistakes.read("root", lambda: as_path(content.get("root", "."), file, f"{file}: root"), Path("/"))
    for name, entry in methods.items():
        reader = lambda n=name, e=entry: read_methods(file, root, data, cluster, stands_for, [(n, e)])  # noqa: E731
        mistakes.read(f"methods.{name}", reader, ((), ()))


def _map(value: object) -> dict[str, object]:
    """Return the entries of a map; of what is none `read_suite` speaks."""
    return {str(key): entry for key, entry in value.items()} if isinstance(value, dict) else {}


def _places(suite: Suite) -> list[str]:
    """Return the data whose places are not there, or are empty folders; patterns of names are left to `plan`."""
    wrong: list[str] = []
    for name, source in suite.data.items():
        is_path = source.is_folder or FORMS[source.form].is_path
        for place in source.places if is_path else ():
            if not place.exists() and not any(letter in str(place) for letter in "{*?["):
                wrong.append(f"data.{name}: {place}: no such file or folder; check the path")
            elif source.is_folder and not any(place.iterdir()):
                wrong.append(f"data.{name}: {place}: an empty folder; expected the data set's root folder")
    return wrong


def print_mistakes(file: Path, *, as_json: bool) -> int:
    """Print what is wrong with a suite file, a line a mistake; return 2 if anything is."""
    suite, problems = validate(file)
    if as_json:
        print(json.dumps({"file": str(file.absolute()), "problems": problems}, indent=1))
    for problem in problems:
        print(f"twinbench suite: {problem}", file=sys.stderr)
    if suite is None or problems:
        return 2
    if not as_json:
        trials = sum(job.kind == "trial" for job in build_jobs(suite))
        print(f"{suite.name}: no mistake in the file; {trials} trials; `plan` reads the data and proves checkpoints")
    return 0
