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

    @property
    def path(self) -> str:
        """The dotted name of what would have been called."""
        return self.of.path


@dataclass(eq=False, slots=True)
class Persistent:
    """A reference to something outside the pickle: in torch's files, a storage."""

    key: Any
