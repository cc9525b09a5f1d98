"""Which calls a pickle may ask for before its file is refused.

Nothing that a pickle names is ever imported or called here (`pickles`), so that no file can do harm by being read, and
this list protects nobody from twinbench. It is a service to those who hand the same file to `torch.load` or
`pickle.load` afterwards: a file whose pickle would call `os.system` is reported, not read over.

Names alone tell what a call may do, so the rule is about names:

- A name that is only named may be anything: `torch.nn.functional.gelu` among the settings of a run is data.
- A call of a class of somebody else's package, recognised by its capital, is an instance: the enumerations,
  dataclasses, callbacks and configurations which Lightning, transformers and DeepSpeed save along.
- A call into the packages that every machine has (the standard library, torch, numpy) or that exist to run pickled code
  must be on the list below. So must what a `partial` or a `defaultdict` would call later.
- A call of any other function is refused, and one that reaches through a module (`somebody.utils` `subprocess.Popen`).
"""

import _compat_pickle
import re
import sys

# What any machine can import. An unpickler translates Python 2's names (`commands.getoutput`) before it imports them.
COMMON = sys.stdlib_module_names | _compat_pickle.IMPORT_MAPPING.keys() | {"exceptions", "distutils"}
# Packages with functions that run or load what they are given.
LOADERS = {"torch", "numpy", "dill", "cloudpickle", "joblib", "pickle5", "jsonpickle", "pip", "setuptools", "IPython"}
GUARDED = COMMON | LOADERS

CALLS = re.compile(
    "|".join(
        (
            # tensors
            r"torch\._utils\._rebuild_\w+",
            r"torch\._tensor\._rebuild_from_type(_v2)?",
            r"torch\.(Size|device|Generator|_C\.Generator|serialization\._get_layout|storage\._load_from_bytes)",
            r"torch\.jit\._pickle\.\w+",  # lists in TorchScript archives
            r"numpy\.(ndarray|dtype|dtypes\.\w+)",
            r"numpy\.(core|_core)\.(multiarray\.(_reconstruct|scalar)|numeric\._frombuffer)",
            r"numpy\.random\.(_pickle\.__\w+_ctor|bit_generator\.__pyx_unpickle_SeedSequence)",  # random states
            r"_codecs\.encode",  # how protocol 2 spells bytes
            # modules, optimizers and sharded tensors that were saved whole
            r"torch\.(nn|optim|amp|cuda\.amp|utils\.hooks)\.[\w.]+",
            r"torch\._C\._VariableFunctionsClass\.(?!from_file)\w+",  # torch.relu and its like, in a partial
            r"torch\.distributed\.(_shard|_tensor|tensor|_mesh_layout|device_mesh|remote_device|fsdp)\.[\w.]+",
            r"torch\.distributed\.checkpoint\.(metadata|filesystem)\.\w+",  # the table of contents of a folder
            # plain data
            r"collections\.(OrderedDict|defaultdict|Counter|deque|ChainMap|UserDict|UserList)",
            r"UserDict\.(Iterable)?UserDict",
            r"(__builtin__|builtins)\.(object|set|frozenset|complex|long|dict|list|tuple|int|float|str|unicode|bool)",
            r"(__builtin__|builtins)\.(bytes|range|xrange|slice|type|len|min|max|sum|abs|round|sorted)",
            r"(__builtin__|builtins|exceptions)\.\w*(Error|Exception|Warning|Interrupt|Iteration|Exit)",
            r"(__builtin__|builtins)\.getattr",  # how protocols below 4 spell a method or a nested class
            r"(copy_reg|copyreg)\._reconstructor",
            r"pathlib\.(_local\.)?(Posix|Pure|PurePosix|Windows|PureWindows)?Path",
            r"typing\.\w+",
            r"datetime\.(datetime|date|time|timedelta|timezone)",
            r"(decimal\.Decimal|fractions\.Fraction|uuid\.(UUID|SafeUUID)|types\.SimpleNamespace)",
            r"(functools\.partial|re\._compile|logging\.getLogger)",
            # arguments, configurations and logs that trainers save along
            r"argparse\.Namespace",  # DINO, PyContrast, PixPro
            r"deepspeed\.utils\.tensor_fragment\.\w+",  # dataclasses without a capital
            r"omegaconf\.[\w.]+",  # solo-learn
            r"haiku\._src\.data_structures\.\w+",  # BYOL
            r"(optax|byol\.utils\.optimizers|jax|jaxlib)\.[\w.]+",
            r"__torch__\.[\w.]+",  # the classes of a TorchScript archive: no module has this name
        )
    )
)


def may_be_called(module: str, qualname: str) -> bool:
    """Return whether a pickle may call a name: a class of a foreign package, or what is on the list."""
    if not _is_direct(qualname):
        return False
    if CALLS.fullmatch(f"{module}.{qualname}"):
        return True
    return not _is_guarded(module) and _is_class(qualname.rpartition(".")[2])


def may_be_kept(module: str, qualname: str) -> bool:
    """Return whether a pickle may keep a name to be called later: as `may_be_called`, or a foreign function."""
    return may_be_called(module, qualname) or (_is_direct(qualname) and not _is_guarded(module))


def _is_direct(qualname: str) -> bool:
    """Return whether a name lies in its module or in classes there, not in a module which that one imports."""
    return all(_is_class(part) for part in qualname.split(".")[:-1])


def _is_class(name: str) -> bool:
    """Return whether a name is spelled as a class is: `Config`, `_Config`."""
    return name.lstrip("_")[:1].isupper()


def _is_guarded(module: str) -> bool:
    return module.partition(".")[0] in GUARDED
