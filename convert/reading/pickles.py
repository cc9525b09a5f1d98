"""Reading a pickle as data: the opcodes are interpreted, nothing is imported and nothing is called.

A pickle is a small program whose GLOBAL, REDUCE and BUILD opcodes import names, call them and set attributes. Here
those opcodes only note down what they would have done (`Object`), and a name not on the allow-list ends the reading.
`torch.load(weights_only=True)` calls what it allows, among it `bytearray(n)` and `_codecs.encode`, with which a file of
a hundred bytes takes any amount of memory; this reader's memory is bounded by the file's size and MAX_OPERATIONS.
"""

import pickletools
import re
from dataclasses import dataclass, field
from typing import IO, Any, Protocol, cast

from twinbench.convert.files import CheckpointError

MAX_OPERATIONS = 500_000  # a full checkpoint of a ResNet-50 has about 30,000

# What the checkpoints of the zoo are known to name. Nothing of this is ever imported for the sake of a file.
ALLOWED = re.compile(
    "|".join(
        (
            # tensors
            r"torch\._utils\._rebuild_(tensor|tensor_v2|parameter)",
            r"torch\.(storage\.)?(\w*Storage|Size|device|dtype|float16|float32|float64|bfloat16|int\d+|uint8|bool)",
            r"torch\.serialization\._get_layout",
            r"numpy\.(ndarray|dtype|dtypes\.\w+)",
            r"numpy\.(core|_core)\.(multiarray\.(_reconstruct|scalar)|numeric\._frombuffer)",
            r"_codecs\.encode",  # how protocol 2 spells bytes
            # the table of contents of torch.distributed.checkpoint; until torch 2.2 a part of it lay in _shard
            r"torch\.distributed\.(checkpoint\.(metadata|filesystem)|_shard\.sharded_tensor\.metadata)\.\w+",
            # plain data
            r"collections\.(OrderedDict|defaultdict|Counter)",
            r"(__builtin__|builtins)\.(object|set|frozenset|complex|long|dict|list|tuple|int|float|str|bool|bytes)",
            r"(copy_reg|copyreg)\._reconstructor",
            r"pathlib\.(_local\.)?(Posix|Pure|PurePosix|Windows)?Path",
            r"typing\.\w+",
            # arguments, configurations and logs that trainers save along
            r"argparse\.Namespace",  # DINO, PyContrast, PixPro
            r"__main__\.exclude_bias_and_norm",  # Barlow Twins before commit 21149b4: in the optimizer's state
            r"(pytorch_lightning|lightning\.pytorch)\.utilities\.parsing\.AttributeDict",
            r"(lightning_fabric|lightning\.fabric)\.utilities\.data\.AttributeDict",
            r"omegaconf\.[\w.]+",  # solo-learn
            r"mmengine\.logging\.history_buffer\.HistoryBuffer",
            r"(__builtin__|builtins)\.getattr",  # how HistoryBuffer pickles its static methods
            r"(mmengine|mmcv)\.[\w.]+\.ConfigDict",
            r"vissl\.(config|utils)\.[\w.]*AttrDict",
            # Haiku
            r"(byol\.)?byol_experiment\._ByolExperimentState",
            r"haiku\._src\.data_structures\.(FlatMapping|FlatComponents|frozendict|to_immutable_dict)",
            r"(optax|byol\.utils\.optimizers|jax|jaxlib)\.[\w.]+",
        )
    )
)


@dataclass(eq=False, slots=True)
class Name:
    """A name that the pickle would have imported."""

    path: str


@dataclass(eq=False, slots=True)
class Object:
    """A call that the pickle would have made: of what, with what, and what it would have put into the result."""

    of: "Name | Object"
    arguments: tuple[Any, ...]
    state: Any = None
    items: list[Any] = field(default_factory=list)

    @property
    def path(self) -> str:
        """The dotted name of what would have been called; empty for the result of another call."""
        return self.of.path if isinstance(self.of, Name) else ""


@dataclass(eq=False, slots=True)
class Persistent:
    """A reference to something outside the pickle: in torch's files, a storage."""

    key: Any


class Source(Protocol):
    """What `read` reads from: an open file, or a window on a mapped one."""

    def read(self, size: int, /) -> Any:
        """Return the next `size` bytes, fewer at the end."""
        ...

    def readline(self) -> bytes:
        """Return the bytes up to and including the next newline."""
        ...


def read(file: Source, name: str, references: list[Any] | None = None) -> Any:
    """Return the next pickle of `file` as data: dicts, lists, tuples, texts, numbers and `Object`s.

    `name` is the file's, for errors; the keys of persistent references are added to `references`. Raises
    CheckpointError for a damaged pickle and for a name that is not allowed.
    """
    machine = _Machine(name, [] if references is None else references)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(cast(IO[bytes], file))):
            if count > MAX_OPERATIONS:
                raise CheckpointError(f"{name}: a pickle of more than {MAX_OPERATIONS} operations; not a checkpoint")
            machine.step(opcode.name, argument)
        return machine.stack[-1]
    except CheckpointError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, AssertionError, OverflowError) as error:
        # What genops and the stack raise for streams that no pickler writes.
        raise CheckpointError(f"{name}: damaged or truncated pickle ({type(error).__name__}); get it again") from error


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERAL = re.compile(r"(SHORT_|LONG_)?(BIN)?(INT|LONG|FLOAT|STRING|BYTES|UNICODE)[1248]*|BYTEARRAY8")
_LITERALS = frozenset(opcode.name for opcode in pickletools.opcodes if _LITERAL.fullmatch(opcode.name))
# A deeply nested tuple as a key would exhaust the C stack when hashed; an Object is hashed by its place in memory.
_KEYS = (str, bytes, int, float, type(None), Object)


class _Machine:
    """The stack machine of a pickle, in which every opcode only moves data."""

    def __init__(self, name: str, references: list[Any]) -> None:
        self.name = name
        self.references = references
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # what lies under each mark
        self.memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> None:
        """Interpret one opcode."""
        if opcode in _LITERALS:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode])
        elif opcode in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif opcode in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif opcode not in ("PROTO", "FRAME", "STOP"):
            operation = getattr(self, f"_{opcode.lower()}", None)
            if operation is None:
                raise CheckpointError(f"{self.name}: pickle opcode {opcode}, which no checkpoint uses; refused")
            operation(argument)

    def _since_mark(self) -> list[Any]:
        """Pop and return everything above the topmost mark, and the mark."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def _mark(self, _: None) -> None:
        self.below.append(self.stack)
        self.stack = []

    def _pop(self, _: None) -> None:
        self.stack.pop()

    def _pop_mark(self, _: None) -> None:
        self._since_mark()

    def _dup(self, _: None) -> None:
        self.stack.append(self.stack[-1])

    def _memoize(self, _: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _empty_list(self, _: None) -> None:
        self.stack.append([])

    def _empty_dict(self, _: None) -> None:
        self.stack.append({})

    def _empty_set(self, _: None) -> None:
        self.stack.append(Object(Name("builtins.set"), ()))

    def _list(self, _: None) -> None:
        items = self._since_mark()  # first of all: it brings back the stack below the mark
        self.stack.append(items)

    def _tuple(self, _: None) -> None:
        items = self._since_mark()
        self.stack.append(tuple(items))

    def _frozenset(self, _: None) -> None:
        items = self._since_mark()
        self.stack.append(Object(Name("builtins.frozenset"), tuple(items)))

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
        target = target.items if isinstance(target, Object) else target
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
        if len(items) % 2 or not all(isinstance(key, _KEYS) for key in items[::2]):
            raise ValueError("dict items")
        if isinstance(target, Object):
            target.items.extend(items)
        else:
            target.update(zip(items[::2], items[1::2], strict=True))

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(self._allowed(f"{module}.{name}"))

    def _stack_global(self, _: None) -> None:
        module, name = self.stack[-2:]
        del self.stack[-2:]
        self.stack.append(self._allowed(f"{module}.{name}"))

    def _allowed(self, path: str) -> Name:
        """Return the name if it is on the allow-list."""
        if not ALLOWED.fullmatch(path):
            raise CheckpointError(
                f"{self.name}: its pickle names {path[:80]!r}, which is not on the allow-list; nothing of it was run; "
                "save the state dict alone, or report this class if the file is a public checkpoint"
            )
        return Name(path)

    def _object(self, of: Any, arguments: Any) -> None:
        """Note down a call."""
        if not isinstance(of, Name | Object) or not isinstance(arguments, tuple):
            raise ValueError("call")
        self.stack.append(Object(of, arguments))

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
        self._object(self._allowed(argument.replace(" ", ".", 1)), arguments)

    def _build(self, _: None) -> None:
        state = self.stack.pop()
        self.stack[-1].state = state

    def _binpersid(self, _: None) -> None:
        key = self.stack.pop()
        self.references.append(key)
        self.stack.append(Persistent(key))
