"""What a detection trial takes beside what every trial does."""

from dataclasses import dataclass
from typing import Annotated

from twinbench.protocols.kinds.detector import Evaluator
from twinbench.runtime.options import Option

BEFORE_TRAINING = ("log.txt", "data", "config.yaml", "backbone.pth")  # what OUT holds until something is learned
SECONDS = 300.0  # at most this much work is lost to what comes without a warning, such as a kill -9


@dataclass(frozen=True)
class Options:
    """The options of `twinbench detection`, and of `twinbench.evaluate` on a detection protocol."""

    evaluator: Annotated[
        Evaluator,
        Option("who computes COCO's AP (default hotcoco; the others, slower, give the same numbers)"),
    ] = "hotcoco"
    deterministic: Annotated[
        bool,
        Option("have a GPU repeat every bit, too, so that a run that was killed ends with the same weights; slower"),
    ] = False
    checkpoint_seconds: float = SECONDS
