"""What a suite asks of a trial's result: whose numbers they are, what of, and whether they can be read at all."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from twinbench.protocols.identity import NOT_RECORDED, Identity
from twinbench.protocols.text import TextError, read_text
from twinbench.report.result import ADVICE, Result, ResultError, parse_result

UNKNOWN = Identity(NOT_RECORDED, NOT_RECORDED, NOT_RECORDED, 0)


@dataclass(frozen=True)
class Measured:
    """A result in short. A `problem` says why the file that is there is none."""

    identity: Identity = UNKNOWN
    method: str = ""
    protocol: str = ""
    backbone_sha256: str = ""
    data_recorded: bool = False
    sampled: bool = False  # its low-shot samples are part of its data
    sha256: str = ""  # of the file's text
    problem: str = ""


def read_measured(path: Path) -> Measured | None:
    """Return what the result `path` says; None if there is none."""
    try:
        text = read_text(path, ADVICE)
        result = parse_result(text, path)
    except (TextError, ResultError) as error:
        return Measured(problem=str(error)) if path.exists() else None
    return measured_of(result, hashlib.sha256(text.encode()).hexdigest())


def measured_of(result: Result, sha256: str = "") -> Measured:
    """Return a result in short."""
    return Measured(
        result.identity,
        result.method,
        result.protocol,
        result.backbone_sha256,
        bool(result.data_sha256),
        "samples" in result.details,
        sha256,
    )
