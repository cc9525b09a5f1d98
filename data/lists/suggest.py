"""What a folder that is in no layout may hold all the same: the spec to give instead."""

import os
import re
from pathlib import Path

from twinbench.data.folders.leavings import is_leaving

LISTS = (".csv", ".tsv", ".txt", ".lst")
TABLES = (".csv", ".tsv")
_TRAIN = re.compile(r"(?:^|[^a-z])(?:trainval|training|train)(?:[^a-z]|$)", re.IGNORECASE)
_TEST = re.compile(r"(?:^|[^a-z])(?:val|valid|validation|test|testing)(?:[^a-z]|$)", re.IGNORECASE)


def suggested(folder: Path) -> str:
    """Return the end of an error's line that names the spec; empty where nothing is known of the folder."""
    files = _files(folder)
    for suffix in LISTS:
        lists = [path for path in files if path.suffix.lower() == suffix]
        trains = [path for path in lists if _TRAIN.search(path.stem)]
        tests = [path for path in lists if _TEST.search(path.stem)]
        if len(trains) == 1 and tests:
            several = " (or the other one)" if len(tests) > 1 else ""
            return f"for the lists in it give list:{trains[0]},{tests[0]}{several}"
        if len(lists) == 1 and suffix in TABLES:
            return f"for the table in it, if it names the splits, give list:{lists[0]}"
    jsons = [path for path in (*files, *_files(folder / "annotations")) if path.suffix.lower() == ".json"]
    if any(_TRAIN.search(path.stem) for path in jsons) and any(_TEST.search(path.stem) for path in jsons):
        return f"for COCO's JSON in it, as several labels an image, give coco:{folder}"
    return ""


def _files(folder: Path) -> list[Path]:
    """Return the files in a folder by name; none where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_file() and not is_leaving(entry.name)]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]
