"""Whether OUT is of the run that is asked for, and whether that is finished: decided before anything is trained."""

import dataclasses
import sys
from pathlib import Path

from twinbench.convert import files
from twinbench.data.identity import identify
from twinbench.data.labelled import LabelledImages
from twinbench.data.source import Source
from twinbench.pretrain.record import NAME, REMEDY, Record, ResumeError, read_record, require_same, write_record
from twinbench.pretrain.state import OutError, recorded
from twinbench.protocols.identity import FRESH, NOT_RECORDED, Identity, data_identity
from twinbench.protocols.pretraining import PretrainRecipe

BACKBONE, CHECKPOINT = "resnet50.pth", "checkpoint.pth"


def record_of(data: Source, split: LabelledImages, recipe: PretrainRecipe, seed: int, precision: str) -> Record:
    """Return what a run that starts now is of. Every image is asked for its size: some minutes on a slow disk."""
    found = identify("imagenet", data, task="pretraining", read={"train": split}, anew=True)
    identity = Identity(recipe.fingerprint, FRESH, data_identity(found), seed)
    return Record(identity, precision, dataclasses.asdict(recipe), len(split.paths), str(data.absolute()))


def settle_start(out: Path, now: Record, recipe: PretrainRecipe) -> tuple[Record, bool]:
    """Return the record of the run in `out`, and whether it is finished; begin one where there is none.

    Raises ResumeError, with what differs, for a finished or begun run of something else. A run that died before its
    first checkpoint has left nothing, and gives way.
    """
    backbone, checkpoint = out / BACKBONE, out / CHECKPOINT
    then = None
    if backbone.exists() or checkpoint.exists():
        then = read_record(out) or _older_record(out, recipe)
    if then is not None:
        require_same(out, now, then)
        if then.identity.data == NOT_RECORDED:
            print(
                f"twinbench pretrain: {out}: made by an older twinbench, its data are not recorded; is it {now.data}?",
                file=sys.stderr,
            )
        now = now.going_on_with(then)
    if backbone.exists():
        return now, True
    _prepare(out)
    write_record(now, out)
    return now, False


def _older_record(out: Path, recipe: PretrainRecipe) -> Record:
    """Return the record of a run without one beside it, by its checkpoint."""
    path = out / CHECKPOINT
    if not path.exists():
        raise ResumeError(
            f"{out / BACKBONE}: neither {NAME} nor {CHECKPOINT} beside it tells which run made it; {REMEDY}"
        )
    return recorded(files.load(path), path, recipe)


def _prepare(out: Path) -> None:
    """Make the folder, and clear it of what a kill left half-written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for part in out.glob(".*.part"):
            part.unlink()
    except OSError as error:
        raise OutError(f"{out}: {error.strerror}; expected a folder that can be written; choose another OUT") from None
