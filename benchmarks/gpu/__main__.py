"""Speeds and memory on one CUDA device, in 8 minutes at most; appends a section to benchmarks/RESULTS.md.

Examples:
    python -m benchmarks.gpu                            # everything
    python -m benchmarks.gpu svm loss                   # two of them
    python -m benchmarks.gpu --rehearse                 # tiny sizes on the processor: does it run at all?

Exit codes: 0 done, 1 a target was missed or a benchmark failed or was cut, 2 the call was wrong, 130 interrupted.
"""

import argparse
import shlex
import signal
import sys
from pathlib import Path

from benchmarks.gpu.runner import BENCHMARKS, Outcome, run_all
from benchmarks.gpu.section import RESULTS, append, section
from twinbench.protocols.house import UserError, unknown
from twinbench.report import provenance


def main(words: list[str]) -> int:
    """Measure, print, append; return the exit code."""
    arguments = _parser().parse_args(words)
    for name in arguments.names:
        if name not in BENCHMARKS:
            raise UserError(unknown("benchmark", name, BENCHMARKS))
    out = arguments.out or (None if arguments.rehearse else RESULTS)
    if out and out.is_dir():
        raise UserError(f"--out {out}: a folder; expected a file to append to, such as {out / RESULTS.name}")
    device = "cpu" if arguments.rehearse else _device()
    wanted = {name: limit for name, limit in BENCHMARKS.items() if not arguments.names or name in arguments.names}
    # What was measured so far is written where SIGTERM ends the loan of a card, too.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        outcomes = run_all(wanted, device)
    finally:
        signal.signal(signal.SIGTERM, before)
    if out and any(outcome.figures for outcome in outcomes.values()):
        command = shlex.join(["python", "-m", "benchmarks.gpu", *words])
        commit = provenance.code()["commit"][:12]
        append(out, section(outcomes, date=provenance.now(), code=commit, command=command))
        print(f"appended to {out}")
    return exit_code(outcomes)


def exit_code(outcomes: dict[str, Outcome]) -> int:
    """Return 130 after an interruption, 1 after a failure or a missed target, which are told."""
    if any(outcome.interrupted for outcome in outcomes.values()):
        return 130
    failed = [name for name, outcome in outcomes.items() if outcome.failure]
    missed = [figure.name for outcome in outcomes.values() for figure in outcome.missed]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    if missed:
        print(f"targets missed: {'; '.join(missed)}", file=sys.stderr)
    return int(bool(failed or missed))


def _device() -> str:
    """Return the first CUDA device; UserError where there is none. Asks for no memory on it."""
    import torch

    if not torch.cuda.is_available():
        raise UserError(
            "no CUDA device on this machine; expected one; run it where there is one, or try it here with --rehearse"
        )
    return "cuda:0"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(BENCHMARKS)} (default all)")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on the processor, no target judged")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help=f"append there (default {RESULTS.name}; of a rehearsal, nowhere)"
    )
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"benchmarks.gpu: {error}", file=sys.stderr)
        sys.exit(2)
