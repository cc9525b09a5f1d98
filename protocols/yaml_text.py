"""YAML from users' files: plain data within bounds, or one line that says what is wrong, and where.

PyYAML's safe loader runs no code, but it is not safe from texts made to hurt. Seen: 1 KB of aliases that stand for
gigabytes (billion laughs), depths that end in RecursionError, `!!int x`, `0b_` and `"\\UFFFFFFFF"`, which raise errors
that are none of YAML's, and a repeated key, of which the last wins in silence: a lost method.
"""

from pathlib import Path
from typing import Any, cast

import yaml

from twinbench.protocols.text import MAX_DEPTH, MAX_DIGITS, TextError, is_encodable, read_text

MAX_BYTES = 300_000  # takes a second; a suite of 500 methods has 50,000
MAX_VALUES = 20_000  # keys and values, with what aliases stand for; that many take a second, too
TAG = "tag:yaml.org,2002:"
NUMBERS = (f"{TAG}int", f"{TAG}float")


def read_yaml(path: Path, advice: str) -> Any:
    """Return what a YAML file holds; TextError names the line, or ends in `advice` where there is none to be read."""
    return parse_yaml(read_text(path, advice, MAX_BYTES), str(path))


def parse_yaml(text: str, where: str) -> Any:
    """Return what one YAML document means: mappings, lists, texts, numbers, truths and None. TextError otherwise."""
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = ", ".join(filter(None, (error.context, error.problem)))
    except yaml.reader.ReaderError as error:  # a control character
        line = text.count("\n", 0, error.position) + 1
        problem = f"character {ascii(chr(error.character))} is not allowed"
    except (ValueError, OverflowError):  # the scanner's, of \U with a number that is no letter's
        line = loader.line + 1 if loader else 1
        problem = "an escape that stands for no letter"
    raise TextError(f"{where}, line {line}: not valid YAML: {problem}")


class _Loader(yaml.SafeLoader):
    """A safe loader with bounds, checked as the text is read. Dates and times stay the texts that they are."""

    yaml_implicit_resolvers = {
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != f"{TAG}timestamp"]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.values = 0
        self.named: dict[str, int] = {}  # anchor: how many values its aliases stand for

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a value, counted with all that is in it."""
        event: Any = cast("Any", self).peek_event()  # PyYAML says no types
        if isinstance(event, yaml.AliasEvent):
            self._count_alias(event)
            return super().compose_node(parent, index)
        if event.tag:
            raise _mistake("a tag; expected none: text, in quotes if need be, or a number", event)
        before = self.values
        self.values += 1
        self.depth += 1
        self._require_bounds(event)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if event.anchor:
            self.named[event.anchor] = self.values - before
        return node

    def _count_alias(self, event: Any) -> None:
        """Count what an alias stands for. One that nothing has the name of is PyYAML's to tell."""
        if event.anchor in self.anchors and event.anchor not in self.named:
            raise _mistake("an alias of the very value that it stands in", event)
        self.values += self.named.get(event.anchor, 0)
        self._require_bounds(event)

    def _require_bounds(self, event: Any) -> None:
        if self.values > MAX_VALUES:
            raise _mistake(f"more than {MAX_VALUES} values, with what aliases stand for", event)
        if self.depth > MAX_DEPTH:
            raise _mistake(f"more than {MAX_DEPTH} values within each other", event)

    def compose_scalar_node(self, anchor: Any) -> Any:
        """Compose a text or number that can be written down and counted with."""
        node = super().compose_scalar_node(anchor)
        if not is_encodable(node.value) or any(letter < " " and letter not in "\t\n" for letter in node.value):
            raise _mistake(f"a control character, or half a letter, in {ascii(node.value)[:60]}", node)
        if node.tag in NUMBERS and ":" in node.value:  # YAML 1.1 reads 12:30 as 750, to the base of sixty
            node.tag = f"{TAG}str"
        if node.tag in NUMBERS:
            self._require_number(node)
        return node

    def _require_number(self, node: Any) -> None:
        """Raise unless a number has a sane length and can be read: PyYAML takes `0b_` for one."""
        if len(node.value) > MAX_DIGITS:
            raise _mistake(f"a number of {len(node.value)} digits; expected {MAX_DIGITS} at most", node)
        try:
            self._built(node)
        except ValueError:
            raise _mistake(f"{node.value} is no number; put a text into quotes", node) from None

    def _built(self, node: Any) -> Any:
        """Return what a text or number stands for."""
        return cast("Any", self).construct_object(node)

    def compose_mapping_node(self, anchor: Any) -> Any:
        """Compose a mapping whose keys are plain and differ."""
        node = super().compose_mapping_node(anchor)
        seen: set[Any] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _mistake("a list or mapping as a key; expected a name", key)
            name = key.value if key.tag == f"{TAG}merge" else self._built(key)
            if name in seen:
                raise _mistake(f"'{key.value[:60]}' is given twice", key)
            seen.add(name)
        return node


def _mistake(problem: str, at: Any) -> yaml.MarkedYAMLError:
    """Return the error for what stands at a node or event."""
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)
