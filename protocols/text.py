"""Text from files, whoever wrote them: read within bounds, or refused in one line.

A few kilobytes can mean gigabytes, or end in a traceback far from where they were read. Seen: 100,000 brackets within
each other (RecursionError), whole numbers too long for a float (OverflowError), half a pair of UTF-16 (`"\\ud800"`,
which nothing can print), a pipe for a file (waits for ever). YAML has more of this, see yaml_text.py.

This module needs nothing but the standard library.
"""

import json
import stat
from pathlib import Path
from typing import Any, cast

from twinbench.protocols.house import UserError

MAX_BYTES = 8_000_000  # of JSON, which takes a second at worst; a result has some thousands
MAX_DEPTH = 30  # of values within each other; what people and programs write has ten at most
MAX_DIGITS = 100  # of a number: it is still a float then


class TextError(UserError):
    """A text that cannot be read, or holds what nobody means."""


def read_text(path: Path, advice: str, at_most: int = MAX_BYTES) -> str:
    """Return a UTF-8 text file of up to `at_most` bytes; TextError, which ends in `advice`, if there is none."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise TextError(f"{path}: not a file; {advice}")
        if status.st_size > at_most:
            raise TextError(f"{path}: {status.st_size} bytes; expected {at_most} at most; {advice}")
        return path.read_text(encoding="utf-8-sig")  # Windows' editors put a mark first
    except UnicodeDecodeError:
        raise TextError(f"{path}: is no text file; expected UTF-8; {advice}") from None
    except OSError as error:
        raise TextError(f"{path}: {error.strerror}; {advice}") from None


def read_json(path: Path, advice: str = "remove it, or write it again", at_most: int = MAX_BYTES) -> Any:
    """Return what a JSON file holds; TextError as in `read_text` and `parse_json`."""
    return parse_json(read_text(path, advice, at_most), str(path), advice)


def parse_json(text: str, where: str, advice: str = "write it again") -> Any:
    """Return what JSON means; TextError, which begins with `where` and ends in `advice`, if it means nothing."""
    try:
        found: Any = json.loads(text)
        problem = "" if _is_plain(text) else _unfit(found)
    except json.JSONDecodeError as error:
        problem = str(error)
    except RecursionError:
        problem = _TOO_DEEP
    except ValueError:  # Python's own bound on digits
        problem = _TOO_LONG
    else:
        if not problem:
            return found
    raise TextError(f"{where}: not readable as JSON ({problem}); {advice}")


_TOO_DEEP = f"more than {MAX_DEPTH} values within each other"
_TOO_LONG = f"a number of more than {MAX_DIGITS} digits"


def _is_plain(text: str) -> bool:
    """Say of JSON whether its letters alone tell that `_unfit` would find nothing: it asks each value, which takes ten
    times what parsing does."""
    if not is_encodable(text):
        return False
    letters = text.encode()
    if b"\\" in letters:
        letters = letters.replace(rb"\\", b"").replace(rb"\"", b"")
        if rb"\u" in letters:
            return False
    if b"0" * MAX_DIGITS in letters.translate(_SHAPES):
        return False
    signs = letters.translate(_SHAPES, _NO_SIGNS)
    brackets = b"".join(signs.split(b'"')[::2])
    for _ in range(MAX_DEPTH - 1):
        if not brackets:
            return True
        brackets = brackets.replace(b"[]", b"")  # those that hold no others
    return False


_SHAPES = bytes.maketrans(b"{}123456789", b"[]000000000")
_NO_SIGNS = bytes(set(range(256)) - set(b'[]{}"'))


def _unfit(content: Any) -> str:
    """Return what in `content` nobody means; nothing if it is plain. Level by level: no depth of calls."""
    level: list[Any] = [content]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner.extend(cast("dict[str, Any]", value))
                inner.extend(cast("dict[str, Any]", value).values())
            elif isinstance(value, list):
                inner.extend(cast("list[Any]", value))
            elif isinstance(value, str) and not is_encodable(value):
                return f"half a letter, {ascii(value)[:60]}"
            elif isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
                return _TOO_LONG
        if not inner:
            return ""
        level = inner
    return _TOO_DEEP


def is_encodable(text: str) -> bool:
    """Say whether `text` can be written: half a pair of UTF-16, a lone surrogate, can not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
