"""What every room keeps to: how an error speaks, how a file is replaced, how a setting is changed.

This module needs nothing but the standard library, and on a terminal termcolor, so that tables and plans work on a
login node.
"""

import dataclasses
import difflib
import gc
import importlib
import os
import types
import typing
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeVar, cast

RecipeT = TypeVar("RecipeT")
LONGEST = 5000  # letters of a message
MANY = 40  # names: more are not listed in a message


class UserError(Exception):
    """A mistake of the user, told in one line: what was found, where, what was expected, what to do next.

    The front door prints the message without a traceback and exits with code 2. Each room derives its own.
    """

    def __init__(self, message: str) -> None:
        """Keep `message` as one printable line: what it quotes of a file may hold line ends and terminal codes.

        A torch loader raises a worker's error anew with the worker's whole traceback as its message; the error that was
        meant is the last line.
        """
        if message.startswith("Caught ") and "\nOriginal Traceback " in message:
            message = message.rstrip().rpartition(f"{type(self).__name__}: ")[2]
        if len(message) > LONGEST:  # what it quotes, in the middle, may be a name of a megabyte
            message = f"{message[: LONGEST // 2]} [...] {message[-LONGEST // 2 :]}"
        if not message.isprintable():
            message = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in message)
        super().__init__(message)


class RunEnded(Exception):
    """A run that ended without its result, through no mistake of the user; the message is one line.

    The front door prints it without a traceback and exits with `exit_code`.
    """

    exit_code = 1


class SettingError(UserError):
    """A setting that does not exist, or a value that does not fit it."""


def coloured(text: str, colour: str, stream: TextIO) -> str:
    """Return a text in a colour where it is written to a terminal, unless NO_COLOR is set."""
    if not (stream.isatty() or os.environ.get("FORCE_COLOR")):
        return text
    from termcolor import colored

    return colored(text, colour)  # which asks NO_COLOR, FORCE_COLOR and TERM


def unknown(kind: str, found: str, known: Iterable[str], listed_by: str = "") -> str:
    """Return the message for an unknown name: the nearest known ones first, then all, if any, or of MANY how many.

    `listed_by` is the command that prints them.
    """
    names = sorted(known)
    if not names:
        return f"unknown {kind} '{found}': there is none"
    is_long = len(names) > MANY
    near = [f"'{name}'" for name in nearest(found, names, 3 if is_long else 1)]
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    if not is_long:
        return f"unknown {kind} '{found}'.{hint} Known: {', '.join(names)}"
    told = f"; see: {listed_by}" if listed_by else ""
    return f"unknown {kind} '{found}'.{hint} {len(names):,} are known{told}"


def nearest(found: str, names: Sequence[str], most: int = 1) -> list[str]:
    """Return the names that hold what was found, if that has three letters, then those that are most like it."""
    holding = [name for name in names if len(found) > 2 and found.casefold() in name.casefold()]
    alike = difflib.get_close_matches(found, names, n=most)
    return list(dict.fromkeys([*sorted(holding, key=len), *alike]))[:most]


def some_of(names: Sequence[str], most: int = 5) -> str:
    """Return names with commas between, of more than `most` the first, and how many others there are."""
    others = len(names) - most
    return ", ".join(names) if others <= 1 else f"{', '.join(names[:most])} and {others} others"


@contextmanager
def replacing(path: Path | str) -> Generator[Path]:
    """Yield a path beside `path` to write to; move it over `path` when the block ends, remove it when it fails.

    The move is one step of the file system and the contents are on disk before it: a reader, or a run that starts
    after a kill, finds the old file or the new one, never half of either. No two writers share what lies beside:
    containers on one disk may have equal process ids, those on one node the node's name, too.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = f"{os.uname().nodename}.{os.getpid()}.{os.urandom(4).hex()}"
    beside = path.with_name(f".{path.name}.{writer}.part")
    try:
        yield beside
        with open(beside, "rb") as written:
            os.fsync(written.fileno())
        os.replace(beside, path)
    except OSError as error:  # of a full disk it names no file
        if str(error.filename) in ("None", str(beside)):
            error.filename = str(path)
        raise
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def uncollected() -> Generator[None]:
    """Leave Python's collector of cycles out of the block: it looks at millions of values that all stay again and
    again, which takes longer than making them. What stays after the first such block, it never looks at."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            if not gc.get_freeze_count():  # once: garbage in cycles would stay as well
                gc.freeze()
            gc.enable()


def resolved(place: Any) -> Any:
    """Return what `MODULE:NAME` below twinbench means, imported only now: a login node has no torch.

    A kind from a user's own file gives the function itself.
    """
    if callable(place):
        return place
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"twinbench.{module}"), name)


def optional(module: str, extra: str, who: str, error: type[UserError] = UserError) -> Any:
    """Return a module of a package that an extra of twinbench brings; an error, which `who` begins, where it is not."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if not f"{module}.".startswith(f"{missing.name}."):  # there, but without what it needs itself
            raise
        package = module.partition(".")[0]
        raise error(
            f"{who}: needs the package {package}, which is not installed; run: pip install 'twinbench[{extra}]'"
        ) from None


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines whose columns stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines: list[str] = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines


def parse_settings(pairs: Sequence[str]) -> dict[str, str]:
    """Turn `["epochs=50", "lr=0.1"]`, as given to --set, into a dict of texts."""
    settings: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise SettingError(f"--set {pair}: expected key=value, for example --set epochs=50")
        settings[name.strip()] = value.strip()
    return settings


def with_settings(recipe: RecipeT, settings: Mapping[str, object]) -> RecipeT:
    """Return the frozen dataclass `recipe` with `settings` applied; a name or type that does not fit is an error.

    Values may be texts (from --set) or YAML values (from a suite file). Tuples are written `1,2,3`, a field of a
    nested dataclass `outer.inner`.
    """
    types_by_name = typing.get_type_hints(type(recipe))  # of class variables, too
    hints: dict[str, Any] = {}
    for field in dataclasses.fields(recipe):  # type: ignore[arg-type]
        hints[field.name] = types_by_name[field.name]
    changes: dict[str, Any] = {}
    for name, value in settings.items():
        outer, _, inner = name.partition(".")
        part = changes.get(outer, getattr(recipe, outer, None))
        if inner and dataclasses.is_dataclass(part):
            changes[outer] = with_settings(part, {inner: value})
        elif name not in hints or dataclasses.is_dataclass(part):
            raise SettingError(unknown("setting", name, setting_values(recipe)))
        else:
            changes[name] = _fit(name, value, hints[name])
    return dataclasses.replace(recipe, **changes)  # type: ignore[type-var]


def setting_values(recipe: object, prefix: str = "") -> dict[str, Any]:
    """Return the values of a recipe's settings by name, nested ones as `outer.inner`."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(recipe):  # type: ignore[arg-type]
        value: object = getattr(recipe, field.name)
        if dataclasses.is_dataclass(value):
            found |= setting_values(value, f"{prefix}{field.name}.")
        else:
            found[f"{prefix}{field.name}"] = value
    return found


def setting_text(value: object) -> str:
    """Return a value as --set takes it."""
    if isinstance(value, tuple):
        return ",".join(map(str, cast("tuple[object, ...]", value)))
    return str(value)


def _fit(name: str, value: object, hint: Any) -> Any:
    """Convert `value` to the type `hint` of setting `name`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if value is None or str(value).lower() == "none":
            return None
        hint = next(option for option in typing.get_args(hint) if option is not types.NoneType)
    if typing.get_origin(hint) is tuple:
        parts = value.split(",") if isinstance(value, str) else cast("list[object]", value)
        if not isinstance(value, str | list | tuple):
            parts = [value]
        kind = typing.get_args(hint)[0]
        try:
            return tuple(_fit(name, part, kind) for part in parts if part != "")
        except SettingError:
            words = kind.__name__ if isinstance(kind, type) else " or ".join(map(str, typing.get_args(kind)))
            raise SettingError(f"setting {name}={value}: expected {words} values with commas between") from None
    if typing.get_origin(hint) is typing.Literal:
        if value in typing.get_args(hint):
            return value
        raise SettingError(unknown(f"value for setting {name}:", str(value), map(str, typing.get_args(hint))))
    if hint is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if str(value).lower() in words:
            return words[str(value).lower()]
    elif hint in (int, float) and not isinstance(value, bool):
        try:
            return hint(str(value))
        except ValueError:
            pass
    elif hint is str:
        return str(value)
    raise SettingError(f"setting {name}={value}: expected {getattr(hint, '__name__', hint)}")
