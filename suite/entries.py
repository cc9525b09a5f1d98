"""The values of a suite file, one by one: each is what belongs in its place, or a SuiteError that says what does."""

import dataclasses
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeGuard

from twinbench.protocols.house import UserError, unknown
from twinbench.protocols.text import TextError
from twinbench.protocols.yaml_text import read_yaml
from twinbench.suite.cluster import MOST, Cluster, ClusterError, with_options

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,79}")  # becomes a folder, a job name and a table row
LONGEST_PATH = 4096  # letters, as Linux takes them
DEEPEST_PATH = 200  # to make 2,000 folders within each other ended in RecursionError


class SuiteError(UserError):
    """A suite file with a mistake in it."""


def parsed(file: Path) -> object:
    """Return what a YAML file holds; a mistake is reported with its line."""
    try:
        return read_yaml(file, "expected a suite file, see docs/clusters.md")
    except TextError as error:
        raise SuiteError(str(error)) from None


def as_mapping(
    value: object, where: str, kind: type, without: Iterable[str] = (), plus: Iterable[str] = ()
) -> dict[str, Any]:
    """Return `value` as a mapping whose keys are the fields of the dataclass `kind`, less `without`, and `plus`."""
    if not isinstance(value, dict):
        raise SuiteError(f"{where}: is {shown(value)}, expected a mapping")
    known = {entry.name for entry in dataclasses.fields(kind)} - set(without) | set(plus)
    for key in value:
        if key not in known:
            raise SuiteError(f"{where}: {unknown('key', str(key), known)}")
    return value


def as_entries(value: object, where: str) -> list[tuple[str, object]]:
    """Return the entries of a mapping that holds at least one and whose keys are usable names."""
    if not isinstance(value, dict) or not value:
        raise SuiteError(f"{where}: is {shown(value)}, expected at least one `name: {{...}}`")
    return [(as_name(key, where), entry) for key, entry in value.items()]


def as_name(value: object, where: str) -> str:
    """Check a name that will be a folder's: nothing that could leave the root or puzzle a shell."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise SuiteError(
            f"{where}: {shown(value)} is no usable name; expected letters, digits, '.', '_' or '-', "
            "at most 80, beginning with a letter or digit (quote a number: '1')"
        )
    return value


def is_text(value: object) -> TypeGuard[str]:
    """Say whether `value` is a text that may name a file or something of that length; a megabyte may not."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_PATH


def as_path(value: object, file: Path, where: str) -> Path:
    """Return an absolute path; a relative one starts at the suite file."""
    if not is_text(value) or value.count("/") > DEEPEST_PATH:
        expected = f"a path, at most {LONGEST_PATH} letters long and {DEEPEST_PATH} folders deep"
        raise SuiteError(f"{where}: is {shown(value)}, expected {expected}")
    path = Path(os.path.abspath(file.parent / os.path.expanduser(value)))
    if any(not character.isprintable() for character in str(path)):
        raise SuiteError(f"{where}: {value!r} holds a control character; expected a plain path")
    return path


def as_settings(value: object, where: str) -> tuple[tuple[str, str], ...]:
    """Return the entries of a `set` as pairs of texts, as --set takes them."""
    if value is None:
        return ()
    if not isinstance(value, dict):
        raise SuiteError(f"{where}: is {shown(value)}, expected settings, as {{epochs: 50}}")
    settings: list[tuple[str, str]] = []
    for key, entry in value.items():
        text = ",".join(map(str, entry)) if isinstance(entry, list) else str(entry)
        settings.append((str(key), text))
    return tuple(settings)


def as_count(value: object, where: str, at_least: int, at_most: int = MOST) -> int:
    """Return a whole number of at least `at_least` and at most `at_most`."""
    if isinstance(value, bool) or not isinstance(value, int) or not at_least <= value <= at_most:
        expected = f"a whole number of at least {at_least} and at most {at_most}"
        raise SuiteError(f"{where}: is {shown(value)}, expected {expected}")
    return value


def as_cluster(value: object, cluster: Cluster, where: str, without: Iterable[str] = ()) -> Cluster:
    """Return the suite's `cluster` with the options of one entry over it; `without` are of the whole suite."""
    options = value or {}
    for name in without:
        if isinstance(options, dict) and name in options:
            raise SuiteError(
                f"{where}: cluster: {name} does not belong to this entry; it stands in the suite's cluster"
            )
    try:
        return with_options(cluster, options)
    except ClusterError as error:
        raise SuiteError(f"{where}: {error}") from None


def shown(value: object) -> str:
    """Name a found value in a message."""
    return "empty" if value is None else repr(value)[:60]
