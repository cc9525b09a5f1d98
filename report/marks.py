"""What a reader must be told about a result before comparing it: the texts of the footnotes."""

from collections.abc import Collection
from typing import cast

from twinbench.report.grid import catalogued
from twinbench.report.result import Result

NO_DATA = "on which data it was measured is not recorded, as in every result of an older twinbench"
REPEATED = "all seeds gave the same number to the last digit: they count as one trial"


def notes(result: Result) -> list[str]:
    """Return what sets a result apart from a plain trial of its protocol, one text each."""
    found: list[str] = []
    if result.overrides:
        changes = [f"{name}={value}" for name, value in sorted(result.overrides.items())]
        found.append(f"settings changed: {', '.join(changes)}")
    elif _is_other_edition(result):
        found.append(f"measured by another edition of {result.protocol} than this twinbench knows")
    if backbone := _other_backbone(result):
        found.append(f"the backbone is {backbone}")
    if not (result.data_sha256 or result.imported):
        found.append(NO_DATA)
    if result.limit:
        found.append(f"limited: a trial run on at most {result.limit} images of each split, no result of the protocol")
    elif is_partial(result):
        found.append(f"partial data: {_counts(result)}")
    if has_other_list(result):
        found.append("trained on another list of images than SimCLR's")
    if result.details.get("samples") == "from a file":
        found.append("low-shot samples from a file, neither published nor drawn from the seed")
    if left := _classes(result, "classes_left_out"):
        kept = _classes(result, "ap")
        found.append(f"{result.headline} averages {kept} of {kept + left} classes; the others have too few images")
    if result.imported:
        found += _imported(result)
    if not result.converged:
        found.append("a chosen solver stopped at its iteration limit before it converged")
    return found


def is_partial(result: Result) -> bool:
    """Say whether a result was measured on other image counts than the complete data set's."""
    return any(result.images.get(split) != count for split, count in result.images_expected.items())


def is_on_other_images(result: Result) -> bool:
    """Say whether a result is of other images than the protocol's, so that it takes no part in a ranking."""
    return bool(result.limit) or is_partial(result) or has_other_list(result)


def has_other_list(result: Result) -> bool:
    """Say whether a result was trained on another choice of ImageNet's images than SimCLR's 1 % or 10 %."""
    return result.details.get("list_is_simclrs") is False


def _imported(result: Result) -> list[str]:
    """Say where an imported number stands, what its source leaves unsaid, and what it adds of this one."""
    program, details = result.imported, result.details
    if "table" not in details:
        return [f"imported from a log of {program}: that it followed the protocol, on its data, is the importer's word"]
    version = f" {details['program_version']}" if "program_version" in details else ""
    unsaid = f"; not stated there: {details['unsaid']}" if details.get("unsaid") else ""
    found = [f"not measured here: imported from {program}{version}, {details['table']}{unsaid}"]
    return [*found, f"{program} says: {details['told']}"] if details.get("told") else found


def _other_backbone(result: Result) -> str:
    """Return what was measured if it is no ResNet-50, empty if it is one.

    Random weights are named as recorded.
    """
    architecture = result.architecture or str(result.details.get("backbone", ""))
    if not architecture or architecture == "resnet50" or architecture.startswith("resnet50-w"):
        return ""
    source = str(result.details.get("source", ""))
    return source if source == f"{architecture}=random" else architecture


def _classes(result: Result, detail: str) -> int:
    """Return how many classes a detail of a result names."""
    named = result.details.get(detail)
    return len(cast("Collection[object]", named)) if isinstance(named, list | dict) else 0


def _is_other_edition(result: Result) -> bool:
    """Say whether the catalogue's protocol of that name and version is another recipe."""
    named = catalogued(result.protocol)
    return named is not None and (named.version, named.fingerprint) != (result.version, result.fingerprint)


def _counts(result: Result) -> str:
    """Say which split lacks (or exceeds) what."""
    texts: list[str] = []
    for split, count in result.images_expected.items():
        if result.images.get(split) != count:
            texts.append(f"{result.images.get(split, 0)} of {count} {split} images")
    return ", ".join(texts)
