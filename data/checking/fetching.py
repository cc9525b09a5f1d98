"""A published data set from its public address into a folder: resumed, proven by its digests, unpacked."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from twinbench.data.checking.unpack import is_archive, unpack
from twinbench.data.errors import DataError
from twinbench.data.source import FORMS, Source
from twinbench.protocols.datasets import DATA_SETS, DataSet, File
from twinbench.protocols.datasets.entry import FOLDER
from twinbench.protocols.house import replacing, resolved, unknown
from twinbench.runtime.download import FetchError, alone, digest, fetch_file

# Libraries that fetch their own copies: "module:function" below twinbench, (place, options) -> Path of the copy
LIBRARIES = {"torchvision": "data.libraries.torchvision_sets:fetch", "hf": "data.libraries.hugging_face:fetch"}


class Fetched(NamedTuple):
    """How DATA is typed for what was fetched, and how many links in its archives were left out."""

    data: str
    links: int = 0


def fetch(what: str, folder: Path | None) -> Fetched:
    """Fetch a data set of the registry into `folder`, or `torchvision:NAME`, `hf:ORG/NAME` as the library does.

    What is there already is proven and left alone. DataError for what has no public address, FetchError for an address
    that does not answer, or not with the file that was published.
    """
    form = what.partition(":")[0]
    if form in LIBRARIES and form in FORMS:
        return Fetched(_by_library(what, folder))
    if what not in DATA_SETS:
        forms = ", ".join(f"{form}:NAME" for form in LIBRARIES)
        raise DataError(f"{unknown('data set', what, DATA_SETS, 'twinbench data list')}; or give {forms}")
    if folder is None:
        raise DataError(f"{what}: no folder given; expected where to: twinbench data fetch {what} FOLDER")
    entry = DATA_SETS[what]
    if not entry.about.files:
        raise DataError(f"{what}: has no public address to fetch; {how_to_get(entry)}")
    links = sum(_fetch(file, folder) for file in entry.about.files)
    return Fetched(entry.about.form.replace(FOLDER, str(folder)) or str(folder), links)


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


def _fetch(file: File, folder: Path) -> int:
    """Fetch and unpack one file, unless that is done already; return how many links in it were left out.

    What was unpacked is marked beside the archive, which may then be removed.
    """
    path = folder / file.folder / file.name
    marker = path.with_name(f".{path.name}.unpacked")
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path):
        if marker.exists() and marker.read_bytes() == file.digest.encode():
            return 0
        if path.exists():
            _prove(file, path)
        else:
            algorithm, _, expected = file.digest.partition(":")
            fetch_file(file.address, path, what=file.name, **({algorithm: expected} if expected else {}))
        if not is_archive(path):
            return 0
        links = unpack(path, path.parent)
        with replacing(marker) as part:
            part.write_text(file.digest)
        return links


def _prove(file: File, path: Path) -> None:
    """Raise FetchError if a file that is there already is another one."""
    algorithm, _, expected = file.digest.partition(":")
    if expected and (found := digest(path, algorithm)) != expected:
        why = f"{path} is there, but its {algorithm} is {found[:12]}..., expected {expected[:12]}...; move it away"
        raise FetchError(file.address, path, why)
