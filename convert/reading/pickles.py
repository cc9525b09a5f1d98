"""Reading a pickle as data: the opcodes are interpreted, nothing is imported and nothing is called.

A pickle is a small program whose GLOBAL, REDUCE and BUILD opcodes import names, call them and set attributes. Here
those opcodes only note down what they would have done (`Object`), and a call that is not `allowed` ends the reading.
`torch.load(weights_only=True)` calls what it allows, among it `bytearray(n)` and `_codecs.encode`, with which a file of
a hundred bytes takes any amount of memory; this reader's memory is bounded by the file's size and MAX_OPERATIONS.
"""

import pickletools
import re
from collections.abc import Callable
from typing import Any

from twinbench.convert.files import CheckpointError
from twinbench.convert.reading import allowed
from twinbench.convert.reading.nodes import Name, Object, Persistent, is_key
from twinbench.convert.reading.window import Window

# A full checkpoint of a ResNet-50 has 30,000, one of 48 transformer blocks with teacher and AdamW's state 90,000, and
# some hold logs of every step. Three million take the worst file 6 s and 250 MB.
MAX_OPERATIONS = 3_000_000
MAX_CLASSES = 10_000  # distinct names; a checkpoint has dozens
MAX_NAME = 1000  # letters
PARTIAL = "functools.partial"
GETATTR = ("builtins.getattr", "__builtin__.getattr")


def read(window: Window, name: str, references: list[Any] | None = None) -> Any:
    """Return the next pickle of `window` as data: dicts, lists, tuples, texts, numbers and `Object`s.

    `name` is the file's, for errors; the keys of persistent references are added to `references`. Raises
    CheckpointError for a damaged pickle and for a call that is not allowed.
    """
    machine = _Machine(name, [] if references is None else references)
    try:
        return machine.run(window)
    except CheckpointError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, AssertionError, OverflowError) as error:
        # What pickletools and the stack raise for streams that no pickler writes.
        raise CheckpointError(f"{name}: damaged or truncated pickle ({type(error).__name__}); get it again") from error


_STOP = ord(".")
_SET, _FROZENSET = Name("builtins", "set"), Name("builtins", "frozenset")


class _Machine:
    """The stack machine of a pickle, in which every opcode only moves data."""

    def __init__(self, name: str, references: list[Any]) -> None:
        self.name = name
        self.references = references
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # what lies under each mark
        self.memo: dict[int, Any] = {}
        self.names: dict[tuple[str, str], Name] = {}
        self.judged: set[Name] = set()  # may be called

    def run(self, window: Window) -> Any:
        """Interpret opcodes until STOP and return what is left on the stack."""
        view = window.view
        for _ in range(MAX_OPERATIONS):
            code = view[window.place]
            window.place += 1
            if code == _STOP:
                return self.stack[-1]
            argument, operation = _TABLE[code]
            operation(self, argument and argument(window))
        raise CheckpointError(f"{self.name}: a pickle of more than {MAX_OPERATIONS:,} operations; not a checkpoint")

    def _since_mark(self) -> list[Any]:
        """Pop and return everything above the topmost mark, and the mark."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def _literal(self, value: Any) -> None:
        self.stack.append(value)

    def _none(self, _: None) -> None:
        self.stack.append(None)

    def _newtrue(self, _: None) -> None:
        self.stack.append(True)

    def _newfalse(self, _: None) -> None:
        self.stack.append(False)

    def _proto(self, _: int) -> None:
        """Go on: what differs between protocols are the opcodes."""

    _frame = _proto

    def _get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    _binget = _long_binget = _get

    def _put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    _binput = _long_binput = _put

    def _memoize(self, _: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _mark(self, _: None) -> None:
        self.below.append(self.stack)
        self.stack = []

    def _pop(self, _: None) -> None:
        self.stack.pop()

    def _pop_mark(self, _: None) -> None:
        self._since_mark()

    def _dup(self, _: None) -> None:
        self.stack.append(self.stack[-1])

    def _empty_list(self, _: None) -> None:
        self.stack.append([])

    def _empty_dict(self, _: None) -> None:
        self.stack.append({})

    def _empty_tuple(self, _: None) -> None:
        self.stack.append(())

    def _empty_set(self, _: None) -> None:
        self.stack.append(Object(_SET, ()))

    def _list(self, _: None) -> None:
        items = self._since_mark()  # first of all: it brings back the stack below the mark
        self.stack.append(items)

    def _tuple(self, _: None) -> None:
        items = self._since_mark()
        self.stack.append(tuple(items))

    def _frozenset(self, _: None) -> None:
        items = self._since_mark()
        self.stack.append(Object(_FROZENSET, tuple(items)))

    def _dict(self, _: None) -> None:
        items = self._since_mark()
        self.stack.append({})
        self._set(items)

    def _tuple1(self, _: None) -> None:
        self.stack[-1:] = [(self.stack[-1],)]

    def _tuple2(self, _: None) -> None:
        self.stack[-2:] = [(self.stack[-2], self.stack[-1])]

    def _tuple3(self, _: None) -> None:
        self.stack[-3:] = [(self.stack[-3], self.stack[-2], self.stack[-1])]

    def _append(self, _: None) -> None:
        item = self.stack.pop()
        self._extend([item])

    def _appends(self, _: None) -> None:
        self._extend(self._since_mark())

    _additems = _appends

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        target = target.held() if isinstance(target, Object) else target
        if not isinstance(target, list):
            raise ValueError("list items")
        target.extend(items)

    def _setitem(self, _: None) -> None:
        items = self.stack[-2:]
        del self.stack[-2:]
        self._set(items)

    def _setitems(self, _: None) -> None:
        self._set(self._since_mark())

    def _set(self, items: list[Any]) -> None:
        """Put alternating keys and values into the dict, or the dict-like object, on top of the stack."""
        target = self.stack[-1]
        if len(items) % 2 or not all(map(is_key, items[::2])):
            raise ValueError("dict items")
        if isinstance(target, Object):
            target.held().extend(items)
        else:
            target.update(zip(items[::2], items[1::2], strict=True))

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(self._named(module, name))

    def _stack_global(self, _: None) -> None:
        module, name = self.stack[-2:]
        del self.stack[-2:]
        self.stack.append(self._named(module, name))

    def _named(self, module: str, qualname: str) -> Name:
        """Return the name, one and the same each time."""
        if not isinstance(module, str) or not isinstance(qualname, str) or len(module) + len(qualname) > MAX_NAME:
            raise ValueError("name")
        name = self.names.setdefault((module, qualname), Name(module, qualname))
        if len(self.names) > MAX_CLASSES:
            raise CheckpointError(f"{self.name}: a pickle that names more than {MAX_CLASSES:,} classes; refused")
        return name

    def _reduce(self, _: None) -> None:
        of, arguments = self.stack[-2:]
        del self.stack[-2:]
        self._object(of, arguments)

    _newobj = _reduce

    def _newobj_ex(self, _: None) -> None:
        of, arguments, _keywords = self.stack[-3:]
        del self.stack[-3:]
        self._object(of, arguments)

    def _obj(self, _: None) -> None:
        of, *arguments = self._since_mark()
        self._object(of, tuple(arguments))

    def _inst(self, argument: str) -> None:
        arguments = tuple(self._since_mark())
        self._object(self._named(*argument.split(" ", 1)), arguments)

    def _object(self, of: Any, arguments: Any) -> None:
        """Note down a call."""
        if not isinstance(of, Name) or not isinstance(arguments, tuple):
            raise ValueError("call")
        if of not in self.judged:
            self._judge(of, allowed.may_be_called)
            self.judged.add(of)
        if of.path in GETATTR and isinstance(arguments[0], Name | Object):
            owner, attribute = arguments
            owner = owner.of if isinstance(owner, Object) else owner  # an instance has the methods of its class
            self.stack.append(self._named(owner.module, f"{owner.qualname}.{attribute}"))
            return
        if of.path in (PARTIAL, "collections.defaultdict"):
            self._keep(arguments[:1])
        self.stack.append(Object(of, arguments))

    def _build(self, _: None) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if target.state is not None:  # after a first state of {"__setstate__": f}, a second would be a call of f
            raise ValueError("state")
        if target.path == PARTIAL:
            self._keep(state[:1])
        target.state = state

    def _keep(self, functions: tuple[Any, ...]) -> None:
        """Refuse what a partial or a defaultdict must not call later."""
        for function in functions:
            if isinstance(function, Name):
                self._judge(function, allowed.may_be_kept)
            elif function is not None and not isinstance(function, Object):
                raise ValueError("partial")

    def _judge(self, name: Name, may: Callable[[str, str], bool]) -> None:
        """Refuse a name that may not be called, or not be kept for a call."""
        if not may(name.module, name.qualname):
            raise CheckpointError(
                f"{self.name}: its pickle calls {name.path[:80]!r}, which is not on the allow-list; nothing of it was "
                "run; save the state dict alone, or report this class if the file is a public checkpoint"
            )

    def _binpersid(self, _: None) -> None:
        key = self.stack.pop()
        if isinstance(key, tuple) and len(key) == 4 and key[0] == "module":  # a class and its source, before 1.6
            self.stack.append(key[1])
            return
        self.references.append(key)
        self.stack.append(Persistent(key))


_LITERAL = re.compile(r"(SHORT_|LONG_)?(BIN)?(INT|LONG|FLOAT|STRING|BYTES|UNICODE)[1248]*|BYTEARRAY8")


def _table_entry(opcode: pickletools.OpcodeInfo) -> tuple[Any, Callable[[_Machine, Any], None]]:
    """Return what reads an opcode's argument, or None, and what the opcode does."""

    def refuse(machine: _Machine, _: Any) -> None:
        raise CheckpointError(f"{machine.name}: pickle opcode {opcode.name}, which no checkpoint uses; refused")

    method = "literal" if _LITERAL.fullmatch(opcode.name) else opcode.name.lower()
    return opcode.arg and opcode.arg.reader, getattr(_Machine, f"_{method}", refuse)


_TABLE = {ord(opcode.code): _table_entry(opcode) for opcode in pickletools.opcodes}
