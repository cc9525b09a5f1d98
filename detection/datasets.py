"""The data of a trial as a detector is trained and tested on them: records in files that all its processes share."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as _run_lengths

from twinbench.data.errors import DataError
from twinbench.data.objects.find import find_objects, objects_layout
from twinbench.data.objects.packed import Record, Records
from twinbench.data.objects.shapes import shows_an_area
from twinbench.data.objects.sizes import require_sizes
from twinbench.data.objects.split import Findings, KeypointNames, Rule
from twinbench.data.required import nothing_to_train_on, require_measured, require_same_objects
from twinbench.data.source import Source
from twinbench.protocols.house import UserError
from twinbench.protocols.kinds.detector import DetectionRecipe
from twinbench.protocols.schema import Protocol
from twinbench.runtime.distributed import from_main
from twinbench.runtime.process import Process
from twinbench.runtime.shared import is_there

SPLITS = ("train", "test")
run_lengths: Any = _run_lengths  # its types know only the compressed form


@dataclass(frozen=True)
class DetectionData:
    """A data set as a detector is trained and tested on it."""

    classes: tuple[str, ...]
    train: Records  # with at least one object that is no crowd, unless the recipe keeps empty images
    test: Records
    images: dict[str, int]  # split -> images of the data set, those without an object included
    layout: str
    rule: Rule  # whose AP
    mask_format: str = "polygon"  # or bitmask, where the data hold run-length codes
    keypoints: KeypointNames | None = None
    category_ids: tuple[int, ...] = ()  # what the test file calls each class; empty: 1, 2, ...
    frequencies: tuple[str, ...] = ()  # of LVIS's classes: r, c or f
    notes: tuple[str, ...] = ()  # what a reader of the result must know


def open_data(
    protocol: Protocol,
    source: Source | Path,
    folder: Path | None = None,
    process: Process | None = None,
    identity: str = "",
) -> DetectionData:
    """Return the data of `protocol` at `source`, packed into `folder` by the main process, or without one in memory.

    DataError for what is missing, does not fit, or would end a training or an evaluation later. Classes and their
    number are those of the data; where the protocol's data set has a number of them, it must be that. `identity` is the
    data's: images whose sizes were compared with their annotations once are not opened again for that.
    """
    process = process or Process()
    recipe = protocol.recipe
    assert isinstance(recipe, DetectionRecipe)
    found = from_main(process, lambda: _packed_or_nothing(protocol, Source.of(source), folder, identity))
    if folder:
        found = replace(found, train=_shared(folder, "train", process), test=_shared(folder, "test", process))
    train = found.train.where(found.train.objects > 0)
    if "keypoint" in recipe.measures:
        train = train.where(np.array([_shows_a_keypoint(record) for record in train], bool))
    if not any(map(shows_an_area, train)):
        raise DataError(nothing_to_train_on(source, [note for note in found.notes if note.startswith("train: ")]))
    return found if recipe.keep_empty else replace(found, train=train)


def _shows_a_keypoint(record: Record) -> bool:
    """Say whether an image has a keypoint that is labelled: Detectron2 trains Keypoint R-CNN on these."""
    return any(seen > 0 for thing in record["annotations"] for seen in thing["keypoints"][2::3])


def _packed_or_nothing(protocol: Protocol, source: Source, folder: Path | None, identity: str) -> DetectionData:
    """Pack both splits; of data that are refused nothing is left behind."""
    try:
        return _packed(protocol, source, folder, identity)
    except UserError:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _shared(folder: Path, split: str, process: Process) -> Records:
    """Return the records that the main process has packed."""
    path = _file(folder, split)
    is_there(path, process)
    return Records.open(path)


def _file(folder: Path, split: str) -> Path:
    return folder / f"{split}.records"


def _packed(protocol: Protocol, source: Source, folder: Path | None, identity: str) -> DetectionData:
    """Read, check and pack both splits; what lies in `folder` is opened by each process for itself."""
    recipe = protocol.recipe
    assert isinstance(recipe, DetectionRecipe)
    layout = objects_layout(protocol.data_set.layout, source)
    splits = {name: find_objects(layout, source, name, protocol.data_set.subset) for name in SPLITS}
    for split in splits.values():
        require_measured(protocol, source, split)
    require_same_objects(source, splits["train"], splits["test"])
    notes: list[str] = []
    packed: dict[str, Records] = {}
    forms = _Forms()
    for name, split in splits.items():
        findings = Findings()
        prepared = forms.prepared(split.read(findings, recipe.measures), counted=name == "train")
        records = Records.pack(prepared, _file(folder, name)) if folder else Records.of(prepared)
        require_sizes(f"{identity} {name}" if identity else "", split.paths, records.shapes, findings)
        packed[name] = Records.of(()) if folder else records  # other processes may see the files later
        notes += [f"{name}: {note}" for note in findings.notes]
    test = splits["test"]
    images = {name: len(split.paths) for name, split in splits.items()}
    return DetectionData(
        test.classes,
        packed["train"],
        packed["test"],
        images,
        layout,
        test.rule,
        "bitmask" if forms.has_run_lengths else "polygon",
        test.keypoints,
        test.category_ids,
        test.frequencies,
        tuple(notes),
    )


class _Forms:
    """Brings run lengths into the form that Detectron2 decodes, and sees whether there are any."""

    has_run_lengths = False

    def prepared(self, records: Iterator[Record], *, counted: bool) -> Iterator[Record]:
        """Yield the records; `counted` are those that are trained on."""
        for record in records:
            if "void" in record:
                record["void"] = _compressed(record["void"], record)
            for thing in record["annotations"]:
                mask = thing.get("segmentation")
                if isinstance(mask, dict):
                    thing["segmentation"] = _compressed(mask, record)
                    self.has_run_lengths |= counted and not thing["iscrowd"]
            yield record


def _compressed(mask: dict[str, Any], record: Record) -> dict[str, Any]:
    """Return run lengths as a text; DataError for a text that is none."""
    height, width = record["height"], record["width"]
    try:
        if isinstance(mask["counts"], list):
            mask = run_lengths.frPyObjects(mask, height, width)
        assert run_lengths.decode(mask).shape == (height, width)
    except (AssertionError, ValueError, TypeError) as error:
        raise DataError(
            f"{record['file_name']}: run lengths that cannot be decoded ({error}); correct the file"
        ) from None
    counts = mask["counts"]
    return {"size": [height, width], "counts": counts.decode() if isinstance(counts, bytes) else counts}
