"""Fixtures that tests of several rooms share."""

import os
import re
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

# Before torch is imported, and for the processes that tests start: on small work, threads wait for each other more
# than they compute.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest

from twinbench.data.scenes.make import make_scenes
from twinbench.protocols import catalogue
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.report.result import Result


@pytest.fixture(scope="module", autouse=True)
def known_protocols() -> Generator[None]:
    """Let no file of tests leave its own protocols to the next one."""
    registries = catalogue._REGISTRIES
    known = [registries.protocols, registries.data_sets, registries.kinds]
    before, files = [dict(each) for each in known], set(registries.files)
    yield
    for each, was in zip(known, before, strict=True):
        each.clear()
        each.update(was)
    registries.files.clear()
    registries.files.update(files)


@pytest.fixture(scope="session", autouse=True)
def own_history(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what tests run out of what this user's plans are estimated from."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what tests find out of what this user's runs take for known; matplotlib keeps its list of fonts."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    os.environ.setdefault("MPLCONFIGDIR", str(caches / "matplotlib"))
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo scenes at their smallest, 20 images or so a split: imagenet, VOCdevkit, coco, inat, places."""
    root = tmp_path_factory.mktemp("data") / "scenes"
    make_scenes(root, seed=0, scale=0.02)
    return root


@pytest.fixture(scope="session")
def write() -> Callable[..., None]:
    """Write one result a value, seeds counted from 0: `write(root, method, protocol's name, values, **fields)`.

    A value is the headline metric, or all metrics by name.
    """

    def written(root: Path, method: str, name: str, values: list[Any], **changes: Any) -> None:
        protocol = PROTOCOLS[name]
        for seed, value in enumerate(values):
            fields: dict[str, Any] = {
                "protocol": name,
                "version": protocol.version,
                "fingerprint": protocol.fingerprint,
                "method": method,
                "seed": seed,
                "metrics": value if isinstance(value, dict) else {protocol.metric: value},
                "headline": protocol.metric,
                "backbone_sha256": method,
                "data": "scenes",
                "data_sha256": "d" * 64,
            }
            Result(**fields | changes).write(root / re.sub(r"\W", "", method) / name / f"seed{seed}")

    return written
