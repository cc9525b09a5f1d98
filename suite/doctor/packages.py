"""What is installed, told from its metadata: nothing is imported."""

import importlib.metadata
import importlib.util
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

# As pyproject.toml has them (a test compares): the oldest version that works, empty for any.
REQUIRED = {
    "argcomplete": "",
    "jinja2": "",
    "kornia": "",
    "numpy": "",
    "pillow": "",
    "pyyaml": "",
    "safetensors": "",
    "scikit-learn": "",
    "scipy": "",
    "submitit": "",
    "termcolor": "",
    "torch": "2.6",
    "torchvision": "0.21",
    "tqdm": "",
}
OPTIONAL = {  # what it brings, and how it comes
    "fvcore": ("detection", "pip install 'twinbench[detection]'"),
    "pycocotools": ("detection", "pip install 'twinbench[detection]'"),
    "hotcoco": ("detection: --evaluator hotcoco, the default", "pip install 'twinbench[detection]'"),
    "faiss-cpu": ("dense --search faiss", "pip install 'twinbench[faiss]'"),
    "faster-coco-eval": ("detection: --evaluator faster-coco-eval", "pip install 'twinbench[faster]'"),
    "timm": ("backbones timm:NAME", "pip install 'twinbench[models]'"),
    "datasets": ("data hf:ORG/NAME", "pip install 'twinbench[hf]'"),
    "huggingface_hub": ("backbones hf:ORG/MODEL, report --format hub", "pip install 'twinbench[hf]'"),
    "pandas": ("twinbench.frame, report --format parquet", "pip install 'twinbench[frames]'"),
    "pyarrow": ("report --format parquet", "pip install 'twinbench[frames]'"),
    "transformers": ("its models as modules, from Python", "pip install transformers"),
    "tensorboard": ("--track tensorboard; detection", "pip install 'twinbench[detection]'"),
}
PINNED = ("sal-detectron2", "0.7.2")  # detectron2.txt


@dataclass(frozen=True)
class Detectron2:
    """The Detectron2 that an import would find. All is empty where there is none."""

    place: str = ""  # its folder
    version: str = ""
    origin: str = ""  # in words
    compiled: tuple[str, ...] = field(default_factory=tuple)  # its compiled parts, which may be for another Python

    @property
    def fits(self) -> bool:
        """Say whether a compiled part has the name that this Python looks for."""
        return any(name.removeprefix("_C") in EXTENSION_SUFFIXES for name in self.compiled)


def installed(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those distributions that are installed."""
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def unfit(found: dict[str, str]) -> list[str]:
    """Return what is missing of the required packages, or older than what works, each with what to do."""
    wrong: list[str] = []
    for name, least in REQUIRED.items():
        if name not in found:
            wrong.append(f"{name} is not installed, which twinbench needs; run: pip install '{name}'")
        elif least and _numbers(found[name]) < _numbers(least):
            wrong.append(f"{name} is {found[name]}, expected {least} or newer; run: pip install '{name}>={least}'")
    return wrong


def find_detectron2() -> Detectron2:
    """Return which Detectron2 is there, where it lies and where it came from."""
    spec = importlib.util.find_spec("detectron2")
    if not spec or not spec.origin:  # a clone's own folder, of that name, is a package without an origin
        return Detectron2()
    place = Path(spec.origin).parent
    compiled = tuple(sorted(path.name for path in place.glob("_C*") if path.suffix in (".so", ".pyd")))
    names = {PINNED[0], "detectron2", *importlib.metadata.packages_distributions().get("detectron2", ())}
    for distribution in (each for name in sorted(names) for each in importlib.metadata.distributions(name=name)):
        if _owns(distribution, place):
            version = f"{distribution.name} {distribution.version}"
            return Detectron2(str(place), version, _origin(distribution), compiled)
    return Detectron2(str(place), "", "a folder on the path, which no installed package owns", compiled)


def _owns(distribution: importlib.metadata.Distribution, place: Path) -> bool:
    """Say whether a folder is an installed package's: of several on the path the first is imported, which need not be
    the one that was installed last. An editable one's lies in the folder that it was installed from."""
    if Path(str(distribution.locate_file("detectron2"))).resolve() == place.resolve():
        return True
    direct = _direct_url(distribution)
    return "dir_info" in direct and place.resolve().is_relative_to(direct["url"].removeprefix("file://"))


def _direct_url(distribution: importlib.metadata.Distribution) -> dict[str, Any]:
    """Return what its installer wrote down of where it came from (PEP 610); nothing of an index."""
    return json.loads(distribution.read_text("direct_url.json") or "{}")


def _origin(distribution: importlib.metadata.Distribution) -> str:
    """Say where an installed Detectron2 came from."""
    if (distribution.name, distribution.version) == PINNED:
        return "the pinned wheel (its Python part)"
    direct = _direct_url(distribution)
    if "vcs_info" in direct:
        return f"a source build of {direct['url']} at {direct['vcs_info'].get('commit_id', '?')[:12]}"
    if "dir_info" in direct:
        editable = ", editable" if direct["dir_info"].get("editable") else ""
        return f"a source build of the folder {direct['url'].removeprefix('file://')}{editable}"
    if direct:
        return f"a wheel or archive that was named by its address or path: {direct['url']}"
    return "a third-party wheel: its authors have none for today's torch"


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with: 2.14.1+cu130 as (2, 14, 1)."""
    parts: list[int] = []
    for part in version.partition("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        parts.append(int(digits))
    return tuple(parts)
