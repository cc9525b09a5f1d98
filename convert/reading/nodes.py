"""What stands in a pickle's data for names, calls and references, none of which is ever followed."""

from dataclasses import dataclass
from typing import Any


@dataclass(eq=False, slots=True)
class Name:
    """A name that the pickle would have imported, of a module and in it (`Outer.Inner`)."""

    module: str
    qualname: str

    @property
    def path(self) -> str:
        """The dotted name."""
        return f"{self.module}.{self.qualname}"


@dataclass(eq=False, slots=True)
class Object:
    """A call that the pickle would have made: of what, with what, and what it would have put into the result."""

    of: Name
    arguments: tuple[Any, ...]
    state: Any = None
    items: "list[Any] | tuple[()]" = ()  # a list once there are some: files hold many objects without any
    flat: dict[str, Any] | None = None  # of a module, its state dict: made when somebody asks, and kept

    @property
    def path(self) -> str:
        """The dotted name of what would have been called."""
        return self.of.path

    def held(self) -> list[Any]:
        """Return the list of its items, to add to."""
        if not isinstance(self.items, list):
            self.items = []
        return self.items


@dataclass(eq=False, slots=True)
class Persistent:
    """A reference to something outside the pickle: in torch's files, a storage."""

    key: Any


KEYS = (str, bytes, float, bool, type(None), Name, Object)  # of a dict, beside numbers of a usual size


def mapping(node: Object) -> dict[Any, Any]:
    """Return the items of a dict-like object."""
    found = dict(zip(node.items[::2], node.items[1::2], strict=False))
    if node.path == "collections.OrderedDict" and node.arguments and isinstance(node.arguments[0], list):
        pairs = node.arguments[0]  # how Python 2 pickles it
        found |= {key: value for key, value in pairs if isinstance(key, str)} if all(map(_is_pair, pairs)) else {}
    return found


def _is_pair(node: Any) -> bool:
    return isinstance(node, list | tuple) and len(node) == 2


def is_key(key: Any) -> bool:
    """Return whether a dict takes a key in constant time: texts keep their hash; nested tuples may be endless."""
    if isinstance(key, tuple):
        return len(key) <= 16 and not any(isinstance(item, tuple) or not is_key(item) for item in key)
    return isinstance(key, KEYS) or (isinstance(key, int) and abs(key) < 2**64)
