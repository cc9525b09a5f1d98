"""Completion in a shell, by argcomplete: commands, options, and names of protocols and data sets.

The shell runs the program at each press of the key, so only the room of the command that is typed is loaded. A person
says once, in ~/.bashrc or the like:

    eval "$(twinbench --completion bash)"         or zsh; in fish: twinbench --completion fish | source
"""

import argparse
import importlib
import os
from collections.abc import Iterator, Mapping, Sequence

from twinbench.protocols.house import UserError, unknown

SHELLS = ("bash", "zsh", "fish")


def script_for(words: Sequence[str]) -> str:
    """Return what a shell evaluates; UserError for one that argcomplete does not know."""
    shell = " ".join(words)
    if shell not in SHELLS:
        wrong = unknown("shell", shell, SHELLS) if shell else f"no shell named; expected {', '.join(SHELLS)}"
        raise UserError(f'{wrong}; as in: eval "$(twinbench --completion bash)"')
    from argcomplete.shell_integration import shellcode

    return shellcode(["twinbench"], shell=shell)


def answer(commands: Mapping[str, tuple[str, str]]) -> None:
    """Tell the shell, which asks through the environment, what the line may go on with; end this process."""
    import argcomplete

    typed = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])].split()
    words = typed[int(os.environ["_ARGCOMPLETE"]) :]  # 1, or 3 of python -m twinbench
    parser = argparse.ArgumentParser("twinbench")
    for flag in ("--version", "--completion"):
        parser.add_argument(flag, action="store_true")
    added = parser.add_subparsers()
    for name, (module, line) in commands.items():
        each = added.add_parser(name, help=line)
        if words[:1] == [name]:
            importlib.import_module(f"twinbench.{module}").add_arguments(each)
            _complete_names(name, each)
    argcomplete.autocomplete(parser)


def _complete_names(command: str, parser: argparse.ArgumentParser) -> None:
    """Have the arguments of a command that name a protocol or a data set complete to one."""
    for action in parser._actions:  # argparse has no other way to them
        if isinstance(action, argparse._SubParsersAction):
            for name, each in action.choices.items():
                _complete_names(f"{command} {name}", each)
        elif (command, action.dest) in NAMES:
            setattr(action, "completer", lambda prefix, **_: _names(command, prefix))  # noqa: B010 - its way to ask


NAMES = {  # (command, argument)
    ("transfer", "protocol"),
    ("dense", "protocol"),
    ("detection", "protocol"),
    ("protocols", "name"),
    ("data show", "name"),
    ("data fetch", "name"),
    ("data check", "layout"),
}


def _names(command: str, prefix: str) -> Iterator[str]:
    """Yield the names that a command takes, of protocols its own room's."""
    from twinbench.protocols.catalogue import PROTOCOLS, load_own
    from twinbench.protocols.datasets import DATA_SETS

    load_own()
    if command.startswith("data "):
        yield from (name for name in DATA_SETS if name.startswith(prefix))
    for name, entry in PROTOCOLS.items():
        if name.startswith(prefix) and command in (entry.room, "protocols"):
            yield name
