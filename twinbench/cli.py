"""The front door: one subcommand per room, each room loaded only when it is called."""

import argparse
import errno
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from twinbench import __version__
from twinbench.protocols.house import RunEnded, UserError, coloured, unknown

COMMANDS = {
    # name: (module with add_arguments(parser) and run(arguments) -> exit code, one line for --help)
    "demo": ("suite.demo", "the whole pipeline on generated scenes: two methods, all tasks, one table"),
    "data": ("data.command", "make the demo scenes; prove a data set complete before any job runs"),
    "pretrain": ("pretrain.command", "pretrain a ResNet-50 with Barlow Twins; resumes by itself"),
    "inspect": ("convert.inspect", "say what a checkpoint holds, and prove its backbone complete"),
    "convert": ("convert.command", "any known checkpoint in, one proven backbone out"),
    "zoo": ("convert.zoo_command", "the public checkpoints: address, layout, licence, published number"),
    "protocols": ("protocols.command", "the benchmarks: data, recipe, version, fingerprint"),
    "transfer": ("transfer.command", "one classification trial of a backbone"),
    "dense": ("dense.command", "one trial of a frozen backbone's patches: a class or a depth a pixel"),
    "detection": ("detection.command", "one detection trial of a backbone (needs Detectron2)"),
    "predict": ("detection.predict", "draw what a finished detection trial finds on any images"),
    "suite": ("suite.command", "methods x protocols x seeds from one YAML file; run again to resume"),
    "import": ("report.importing", "results out of other programs' logs and tables, marked as imported"),
    "compare": ("report.compare", "two methods against each other, with a verdict on each task"),
    "doctor": (
        "suite.doctor.command",
        "versions, devices, Detectron2's origin, caches, disk, Slurm: what is wrong here",
    ),
    "report": ("report.command", "the comparison table, as text, Markdown, LaTeX, CSV, JSON or a page"),
}

CANNOT_WRITE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EFBIG),
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints take one line."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Print the complaint and where help is, and exit with code 2."""
        _complain(self.prog, f"{message}; see {self.prog} --help")
        raise SystemExit(2)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code: 0 done, 1 failed, 2 wrong input, 130 interrupted.

    75 is that of a run that was told to stop and goes on when it is started again, see runtime/stopping.py.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else "--help"
    try:
        if name in ("-h", "--help"):
            print(_help())
            return 0 if arguments else 2
        if name == "--version":
            print(f"twinbench {__version__}")
            return 0
        if name == "--completion":
            from twinbench.completion import script_for

            print(script_for(arguments[1:]))
            return 0
        if name not in COMMANDS:
            raise UserError(f"{unknown('command', name, COMMANDS)}; see twinbench --help")
        room = _load(name)
        given = parser_of(name, room).parse_args(arguments[1:])
        if given.verbose:
            _tell_on_stderr()
        code = room.run(given) or 0
        sys.stdout.flush()  # here, where a reader that has gone is understood
        return code
    except UserError as error:
        _complain(f"twinbench {name}", f"{error}")
        return 2
    except RunEnded as error:
        _complain(f"twinbench {name}", f"{error}")
        return error.exit_code
    except KeyboardInterrupt:
        _complain(f"twinbench {name}", "interrupted; the same command goes on from here")
        return 130
    except BrokenPipeError:  # the reader of our output, say `head`, has gone; the interpreter's end writes once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        _complain(f"twinbench {name}", f"{where}{error.strerror}; make room or name another place")
        return 2


def _complain(who: str, message: str) -> None:
    """Print a line on stderr; on a terminal its beginning is red."""
    print(f"{coloured(f'{who}:', 'red', sys.stderr)} {message}", file=sys.stderr)


def parser_of(name: str, room: Any) -> Parser:
    """Return the parser of a subcommand, whose module is `room`: what its --help tells."""
    parser = Parser(
        prog=f"twinbench {name}",
        description=room.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="tell on stderr what is found and done")
    room.add_arguments(parser)
    return parser


def _tell_on_stderr() -> None:
    """Show what the rooms log, each line with its time and module."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    log = logging.getLogger("twinbench")
    log.setLevel(logging.INFO)
    log.handlers = [handler]


def script() -> NoReturn:
    """Run `main` as a program of its own; to a shell that completes a line it answers what may follow."""
    if "_ARGCOMPLETE" in os.environ:
        from twinbench.completion import answer

        answer(COMMANDS)
    sys.exit(main())


def _load(name: str):
    """Import the module of a subcommand; a package that is not installed is named, with what brings it."""
    try:
        return importlib.import_module(f"twinbench.{COMMANDS[name][0]}")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in {"torch", "torchvision", "sklearn", "detectron2", "pycocotools", "submitit"}:
            raise UserError(
                f"this command needs the package {package}, which is not installed; run: make setup"
            ) from None
        raise


def _help() -> str:
    """Return the front page of the manual."""
    lines = [f"  {name:10} {line}" for name, (_, line) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: twinbench COMMAND ...",
            "",
            "How well does a vision backbone transfer, and is that number comparable with the published ones?",
            "",
            *lines,
            "",
            "  twinbench demo              try it: ten minutes on two cores (--quick: one) to a table and a page",
            "  twinbench COMMAND --help    what a command takes",
            "  twinbench doctor            what is installed here, and what is wrong with it",
            "  twinbench --version, --completion bash|zsh|fish",
        ]
    )
