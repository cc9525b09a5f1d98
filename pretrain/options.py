"""How a pretraining is carried out; what it computes is the recipe's matter."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from twinbench.protocols.house import UserError
from twinbench.runtime.options import Option
from twinbench.runtime.tracking import TRACKERS, parse_trackers


class OptionsError(UserError):
    """Options that exclude each other."""


@dataclass(frozen=True)
class Options:
    """The options of `twinbench pretrain` that move no number."""

    workers: Annotated[
        int | None,
        Option("loader processes (default: 2, or every core this process may use beside a GPU, at most 16)", least=0),
    ] = None
    compile: Annotated[bool, Option("compile the network (torch.compile)")] = False
    deterministic: Annotated[
        bool,
        Option("have a GPU repeat every bit, too, so that a run that was killed ends with the same weights; slower"),
    ] = False
    save_seconds: Annotated[float, Option("checkpoint at least this often, beside every epoch", "S")] = 600.0
    keep_every: Annotated[
        int, Option("keep the backbone of each E-th epoch, and of the last, as OUT/epoch0010.pth", "E", least=0)
    ] = 0
    log_steps: Annotated[int, Option("steps between log lines", least=1)] = 20
    skip_corrupt: Annotated[int, Option("leave out up to N damaged images", least=0)] = 0
    monitor: Annotated[
        Path | None, Option("log k-NN accuracy on this folder of class folders, leave-one-out", "DIR")
    ] = None
    monitor_epochs: Annotated[int, Option("how often", "E", least=1)] = 10
    tensorboard: Annotated[bool, Option("short for --track tensorboard: curves in OUT/tensorboard")] = False
    track: Annotated[str, Option(f"show the log's numbers to trackers, too: {', '.join(TRACKERS)}", "NAME[,NAME]")] = ""

    @property
    def trackers(self) -> tuple[str, ...]:
        """Who is shown the log's numbers."""
        return tuple(dict.fromkeys([*(("tensorboard",) if self.tensorboard else ()), *parse_trackers(self.track)]))

    def __post_init__(self) -> None:
        """Raise OptionsError for what cannot be promised together."""
        if self.deterministic and self.compile:
            raise OptionsError(
                "--deterministic with --compile: compiled kernels are chosen by timing and promise no equal bits;"
                " leave one of them out"
            )
