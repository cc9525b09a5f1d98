"""A published data set from its public address into a folder: resumed, proven by its digests, unpacked."""

from collections.abc import Callable
from pathlib import Path

from twinbench.data.errors import DataError
from twinbench.data.source import FORMS, Source
from twinbench.data.unpack import is_archive, unpack
from twinbench.protocols.datasets import DATA_SETS, DataSet, File
from twinbench.protocols.datasets.entry import FOLDER
from twinbench.protocols.house import replacing, resolved, unknown
from twinbench.runtime.download import FetchError, alone, digest, fetch_file

# Libraries that fetch their own copies: "module:function" below twinbench, (place, options) -> Path of the copy
LIBRARIES = {"torchvision": "data.torchvision_sets:fetch", "hf": "data.hugging_face:fetch"}


def fetch(what: str, folder: Path | None) -> str:
    """Fetch a data set of the registry into `folder`, or `torchvision:NAME`, `hf:ORG/NAME`; return what DATA is then.

    What is there already is proven and left alone. DataError for what has no public address, FetchError for an address
    that does not answer, or not with the file that was published.
    """
    form = what.partition(":")[0]
    if form in LIBRARIES and form in FORMS:
        return _by_library(what, folder)
    if what not in DATA_SETS:
        raise DataError(f"{unknown('data set', what, DATA_SETS)}; or give {', '.join(f'{f}:NAME' for f in LIBRARIES)}")
    if folder is None:
        raise DataError(f"{what}: no folder given; expected where to: twinbench data fetch {what} FOLDER")
    entry = DATA_SETS[what]
    if not entry.about.files:
        raise DataError(f"{what}: has no public address to fetch; {how_to_get(entry)}")
    for file in entry.about.files:
        _fetch(file, folder)
    return entry.about.form.replace(FOLDER, str(folder)) or str(folder)


def how_to_get(entry: DataSet) -> str:
    """Say in words how a copy is come by."""
    words = [entry.about.get or "ask its authors", entry.about.home]
    return ", ".join(word for word in words if word)


def _by_library(what: str, folder: Path | None) -> str:
    """Have a library fetch its own copy; return what DATA is then."""
    source = Source.of(what)
    place = source.place
    if folder and source.form == "torchvision" and "=" not in place:
        place = f"{place}={folder}"
    elif folder:
        raise DataError(f"{what}: its copy goes where the library keeps it; leave {folder} out")
    library: Callable[[str, dict[str, str]], Path] = resolved(LIBRARIES[source.form])
    library(place, source.options)
    return str(Source(place, source.form, source.options))


def _fetch(file: File, folder: Path) -> None:
    """Fetch and unpack one file, unless that is done already.

    What was unpacked is marked beside the archive, which may then be removed.
    """
    path = folder / file.folder / file.name
    marker = path.with_name(f".{path.name}.unpacked")
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path):
        if is_archive(path) and _text(marker) == file.digest and marker.exists():
            return
        if path.exists():
            _prove(file, path)
        else:
            algorithm, _, expected = file.digest.partition(":")
            fetch_file(file.address, path, what=file.name, **({algorithm: expected} if expected else {}))
        if is_archive(path):
            unpack(path, path.parent)
            with replacing(marker) as part:
                part.write_text(file.digest)


def _prove(file: File, path: Path) -> None:
    """Raise FetchError if a file that is there already is another one."""
    algorithm, _, expected = file.digest.partition(":")
    if expected and (found := digest(path, algorithm)) != expected:
        why = f"{path} is there, but its {algorithm} is {found[:12]}..., expected {expected[:12]}...; move it away"
        raise FetchError(file.address, path, why)


def _text(path: Path) -> str:
    """Return a small file's text; nothing if it is not there."""
    return path.read_text() if path.exists() else ""
