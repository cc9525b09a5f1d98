"""Options of a command from one dataclass."""

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest

from twinbench.runtime.options import Option, add_options, read_options


@dataclass(frozen=True)
class Options:
    workers: Annotated[int, Option("loader processes", least=0)] = 2
    seconds: Annotated[float, Option("between two checkpoints", "S")] = 600.0
    fast: Annotated[bool, Option("be quick")] = False
    kind: Annotated[Literal["a", "b"], Option("which one")] = "a"
    folder: Annotated[Path | None, Option("look there", "DIR")] = field(default_factory=lambda: None)
    inner: int = 7  # for Python alone


def parsed(*words):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser, Options)
    return read_options(Options, parser.parse_args(words))


def test_without_a_word_the_defaults_are_the_dataclasses():
    assert parsed() == Options()


def test_each_type_is_read():
    words = ("--workers", "0", "--seconds", "1.5", "--fast", "--kind", "b", "--folder", "x")
    assert parsed(*words) == Options(0, 1.5, True, "b", Path("x"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--workers", "-1"), "-1 is below 0"),
        (("--workers", "x"), "invalid whole number value: 'x'"),
        (("--kind", "c"), "invalid choice: 'c'"),
    ],
)
def test_a_value_that_does_not_fit_is_told(words, said):
    with pytest.raises(argparse.ArgumentError, match=said):
        parsed(*words)


def test_a_field_without_an_option_has_none():
    parser = argparse.ArgumentParser()
    add_options(parser, Options)
    assert "--inner" not in parser.format_help()


def test_the_help_tells_defaults_once():
    parser = argparse.ArgumentParser()
    add_options(parser, Options)
    told = " ".join(parser.format_help().split())
    assert "loader processes (default 2)" in told
    assert "between two checkpoints (default 600)" in told
