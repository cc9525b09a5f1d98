"""What a dense trial takes beside what every trial does."""

from dataclasses import dataclass
from typing import Annotated

from twinbench.runtime.options import Option


@dataclass(frozen=True)
class Options:
    """The options of `twinbench dense`, and of `twinbench.evaluate` on a dense protocol."""

    deterministic: Annotated[
        bool,
        Option("have a GPU repeat every bit, too, so that a run that was killed ends with the same numbers; slower"),
    ] = False
