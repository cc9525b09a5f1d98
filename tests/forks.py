"""Several processes of one run, forked: importing torch takes seconds."""

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

FORK = multiprocessing.get_context("fork")


def start(world: int, out: Path, work: Callable[..., object], *words: object) -> list[multiprocessing.Process]:
    """Start `work(*words)` in `world` processes, as torchrun would; what they say on stderr is in `out`.

    What `work` returns is its exit code; nothing is 0.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def child(rank: int) -> None:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        sys.stderr = (out / f"said{rank}.txt").open("w", buffering=1)
        sys.exit(work(*words))

    out.mkdir(exist_ok=True)
    runs = [FORK.Process(target=child, args=(rank,)) for rank in range(world)]
    for run in runs:
        run.start()
    return runs  # type: ignore[return-value]


def launch(world: int, out: Path, work: Callable[..., object], *words: object, fails: bool = False) -> None:
    """Run `work(*words)` in `world` processes, all of which must end well, or none."""
    for rank, run in enumerate(start(world, out, work, *words)):
        run.join(240)
        assert run.exitcode is not None
        assert (run.exitcode != 0) == fails, (out / f"said{rank}.txt").read_text()[-2000:]
