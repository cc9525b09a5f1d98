"""How a pretraining is carried out; what it computes is the recipe's matter."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from twinbench.runtime.options import Option


@dataclass(frozen=True)
class Options:
    """The options of `twinbench pretrain` that move no number."""

    workers: Annotated[int, Option("loader processes", least=0)] = 2
    compile: Annotated[bool, Option("compile the network (torch.compile)")] = False
    save_seconds: Annotated[float, Option("checkpoint at least this often, beside every epoch", "S")] = 600.0
    log_steps: Annotated[int, Option("steps between log lines", least=1)] = 20
    skip_corrupt: Annotated[int, Option("leave out up to N damaged images", least=0)] = 0
    monitor: Annotated[
        Path | None, Option("log k-NN accuracy on this folder of class folders, leave-one-out", "DIR")
    ] = None
    monitor_epochs: Annotated[int, Option("how often", "E", least=1)] = 10
    tensorboard: Annotated[bool, Option("draw the log's numbers in OUT/tensorboard too")] = False
