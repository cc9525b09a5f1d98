"""What a suite asks of a trial's result: whose numbers they are, what of, and whether they can be read at all."""

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from twinbench.protocols.house import uncollected
from twinbench.protocols.identity import NOT_RECORDED, Identity
from twinbench.protocols.text import TextError, read_text
from twinbench.report.result import ADVICE, Result, ResultError, parse_result, read_result
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


_whole: dict[str, Result] = {}  # by the sha256 of its text
_wanted = False


@contextmanager
def whole_results() -> Generator[None]:
    """Keep the results that are read in the block whole: a table of them, made in it, reads none twice."""
    global _wanted
    _wanted = True
    try:
        with uncollected():
            yield
    finally:
        _wanted = False
        _whole.clear()


def whole_result(path: Path, sha256: str) -> Result:
    """Return the result in the file `path`, whose text had that `sha256` when it was last read."""
    return _whole.get(sha256) or read_result(path)


def _read(path: Path) -> Measured:
    """Return the result in the file `path` in short, or why it is none."""
    try:
        text = read_text(path, ADVICE)
        result, sha256 = parse_result(text, path), hashlib.sha256(text.encode()).hexdigest()
        if _wanted:
            _whole[sha256] = result
        return measured_of(result, sha256)
    except (TextError, ResultError) as error:
        return Measured(problem=str(error))


read_measured = Kept(_read, Measured(), lambda found: not found.problem)
