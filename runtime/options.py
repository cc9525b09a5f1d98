"""A command's options from one dataclass: type, default, range and help stand beside each field, once.

    @dataclass(frozen=True)
    class Options:
        workers: Annotated[int, Option("loader processes", least=0)] = 2
        compile: Annotated[bool, Option("compile the network (torch.compile)")] = False

Libraries that do the like were tried in November 2026 (tyro, typer, cyclopts): importing one takes 0.4 to 0.5 s, all of
what a command has for its --help.
"""

import argparse
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar

OptionsT = TypeVar("OptionsT")


@dataclass(frozen=True)
class Option:
    """What the command line says of a field, beside its type and default."""

    help: str
    metavar: str = ""  # by default N for numbers, and the type's name
    least: float | None = None  # of a number


def add_options(parser: argparse.ArgumentParser, options: type[Any]) -> None:
    """Add `--field-name` for each field of the dataclass `options` that has an Option; those without have no option."""
    hints = typing.get_type_hints(options, include_extras=True)
    for field in fields(options):
        notes = [note for note in getattr(hints[field.name], "__metadata__", ()) if isinstance(note, Option)]
        if not notes:
            continue
        (option,) = notes
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        kind = _plain(hints[field.name].__origin__)
        flag = f"--{field.name.replace('_', '-')}"
        if kind is bool:
            parser.add_argument(flag, action="store_true", help=option.help)
            continue
        known = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else None
        parser.add_argument(
            flag,
            type=str if known else _parser(kind, option.least),
            choices=known,
            default=default,
            metavar=None if known else option.metavar or _metavar(kind),
            help=option.help + _told(default, option.help),
        )


def read_options(options: type[OptionsT], arguments: argparse.Namespace) -> OptionsT:
    """Return the options that a command line has set; fields without an option keep their defaults."""
    given = vars(arguments)
    return options(**{field.name: given[field.name] for field in fields(options) if field.name in given})  # type: ignore[arg-type]


def _plain(hint: Any) -> Any:
    """Return the type of a field that may also be None."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not types.NoneType)
    return hint


def _parser(kind: Callable[[str], Any], least: float | None) -> Callable[[str], Any]:
    """Return what reads a value of a type, not below `least`."""

    def parse(text: str) -> Any:
        value = kind(text)
        if least is not None and not value >= least:
            raise argparse.ArgumentTypeError(f"{text} is below {least:g}")
        return value

    parse.__name__ = "whole number" if kind is int else getattr(kind, "__name__", "value")  # argparse names it
    return parse


def _metavar(kind: Any) -> str:
    """Return what stands for a value in the help."""
    return "N" if kind in (int, float) else str(getattr(kind, "__name__", kind)).upper()


def _told(default: Any, words: str) -> str:
    """Return the default in words, unless the help tells it itself."""
    if default is None or "default" in words:
        return ""
    return f" (default {default:g})" if isinstance(default, float) else f" (default {default})"
