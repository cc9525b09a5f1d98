"""The process that does a job's work: `twinbench ...`, ended by the kernel if the process that watches over it dies.

python -m twinbench.worker transfer voc07-svm ...        one process
python -m twinbench.worker --processes 8 pretrain ...    eight, through torchrun
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(argv: Sequence[str]) -> int:
    """Run one command of the front door in this process, or in several that torchrun starts."""
    die_with_parent()
    words = list(argv)
    if words[0] == "--processes":
        from torch.distributed.run import main as torchrun

        torchrun(["--standalone", f"--nproc-per-node={words[1]}", "--module", "twinbench.worker", *words[2:]])
        return 0
    sys.argv = ["twinbench", *words]  # what the result keeps as its command
    from twinbench.cli import main as twinbench

    return twinbench(words)


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent ends in whatever way; elsewhere the parent's word must do."""
    if sys.platform != "linux":
        return
    parent = os.environ.get("TWINBENCH_PARENT", "")
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent and int(parent) != os.getppid() and "LOCAL_RANK" not in os.environ:
        raise SystemExit(1)  # it was gone before we asked


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
