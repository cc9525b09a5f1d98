"""What a suite asks of a trial's result: whose numbers they are, what of, and whether they can be read at all."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from twinbench.protocols.identity import NOT_RECORDED, Identity
from twinbench.protocols.text import TextError, read_text
from twinbench.report.result import ADVICE, Result, ResultError, parse_result
from twinbench.suite.kept import Kept


@dataclass(frozen=True)
class Measured:
    """A result in short. A `problem` says why the file that is there is none."""

    recipe: str = ""
    backbone: str = NOT_RECORDED
    data: str = NOT_RECORDED
    seed: int = 0
    method: str = ""
    protocol: str = ""
    backbone_sha256: str = ""
    sampled: bool = False  # its low-shot samples are part of its data
    sha256: str = ""  # of the file's text
    problem: str = ""

    @property
    def identity(self) -> Identity:
        """What the numbers are numbers of."""
        return Identity(self.recipe, self.backbone, self.data, self.seed)


def measured_of(result: Result, sha256: str = "") -> Measured:
    """Return a result in short."""
    identity = result.identity
    told = result.method, result.protocol, result.backbone_sha256, "samples" in result.details, sha256
    return Measured(identity.recipe, identity.backbone, identity.data, identity.seed, *told)


def _read(path: Path) -> Measured:
    """Return the result in the file `path` in short, or why it is none."""
    try:
        text = read_text(path, ADVICE)
        return measured_of(parse_result(text, path), hashlib.sha256(text.encode()).hexdigest())
    except (TextError, ResultError) as error:
        return Measured(problem=str(error))


read_measured = Kept(_read, Measured(), lambda found: not found.problem)
