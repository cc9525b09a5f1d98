"""Where the datasets library keeps its copies, opened without the network: its cache, and folders.

Tables are files of Arrow, mapped into memory. No code comes with data: of the library's builders only the one for
Parquet files is called, for a folder of them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from twinbench.data.errors import DataError
from twinbench.data.source import Source
from twinbench.protocols.house import optional, unknown
from twinbench.protocols.text import read_text

# What the library and Arrow raise on a damaged copy, besides the library's own
DAMAGED = (ValueError, OSError, LookupError, TypeError, AttributeError)


class Tables(NamedTuple):
    """A data set of the library: some splits, each a table."""

    features: Any  # datasets.Features
    splits: tuple[str, ...]
    read: Callable[[str], Any]  # the name of a split, or a slice of it -> pyarrow.Table
    files: tuple[Path, ...]


@lru_cache(maxsize=8)
def tables_at(source: Source) -> Tables:
    """Return the tables at a place; DataError where there are none."""
    datasets = library(source)
    with _offline(datasets):
        try:
            return _opened(datasets, source)
        except (*DAMAGED, datasets.exceptions.DatasetsError) as error:
            raise DataError(f"{source}: not a readable copy ({first_line(error)}); fetch it again") from None


def _opened(datasets: Any, source: Source) -> Tables:
    """Open a folder, or a copy in the library's cache."""
    if not source.path.is_dir():
        return _prepared(datasets, _cached(datasets, source))
    folder, config = source.path, source.options.get("config")
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return _saved(datasets, folder)
    if not any(folder.rglob("*.parquet")):
        raise DataError(
            f"{source}: no dataset_dict.json, state.json or .parquet in it; expected a folder of save_to_disk or of"
            " Parquet files; give a folder of images without hf:"
        )
    builder = datasets.load_dataset_builder(str(folder), config)
    builder.download_and_prepare()
    return _prepared(datasets, Path(builder.cache_dir))


def _saved(datasets: Any, folder: Path) -> Tables:
    """Open what save_to_disk has written: several splits, or one that is called train."""
    saved = datasets.load_from_disk(str(folder))
    splits = dict(saved) if isinstance(saved, datasets.DatasetDict) else {"train": saved}
    files = [Path(file["filename"]) for each in splits.values() for file in each.cache_files]
    return Tables(
        next(iter(splits.values())).features, tuple(splits), lambda name: splits[name].data.table, tuple(files)
    )


def _prepared(datasets: Any, folder: Path) -> Tables:
    """Open what the library has prepared in its cache."""
    from datasets.arrow_reader import ArrowReader

    info = datasets.DatasetInfo.from_directory(str(folder))
    splits = list(info.splits.values())
    name = info.dataset_name or info.builder_name

    def read(wanted: str) -> Any:
        return ArrowReader(str(folder), info).read(name, wanted, splits)["arrow_table"].table

    return Tables(info.features, tuple(split.name for split in splits), read, tuple(sorted(folder.glob("*.arrow"))))


def _cached(datasets: Any, source: Source) -> Path:
    """Return the folder of one configuration and revision in the library's cache.

    The library itself takes the newest where several are there, whatever revision is asked for: a number would move
    with the cache.
    """
    from datasets.naming import camelcase_to_snakecase

    organisation, _, name = source.place.rpartition("/")
    lead = f"{organisation}___" if organisation else ""
    cache = Path(datasets.config.HF_DATASETS_CACHE).expanduser()
    found = sorted(
        path.parent for path in (cache / f"{lead}{camelcase_to_snakecase(name)}").glob("*/*/*/dataset_info.json")
    )
    if not found:
        config = f"?config={source.options['config']}" if "config" in source.options else ""
        raise DataError(
            f"{source}: no copy in {cache}; expected one that was fetched before: twinbench data fetch"
            f" hf:{source.place}{config}"
        )
    found = _one_of(source, "config", found, lambda path: path.parts[-3], lambda text: text)
    found = _one_of(source, "revision", found, lambda path: path.name, lambda text: _commit(source, text))
    return found[-1]  # of one revision several versions of the builder may be there


def _one_of(
    source: Source, option: str, found: list[Path], name: Callable[[Path], str], meaning: Callable[[str], str]
) -> list[Path]:
    """Return the folders of the one value of an option, the user's or the only one there."""
    names = sorted({name(path) for path in found})
    given = source.options.get(option)
    if given is None and len(names) > 1:
        raise DataError(f"{source}: {len(names)} of {option} are in the cache: {', '.join(names)}; add ?{option}=NAME")
    kept = [path for path in found if given is None or name(path).startswith(meaning(given))]
    if option == "config":
        kept = [path for path in kept if given in (None, name(path))]
    if not kept:
        raise DataError(f"{source}: {unknown(option, str(given), names)}; of the copies in the cache")
    return kept


def _commit(source: Source, revision: str) -> str:
    """Return the commit that a branch or tag was when it was fetched; the revision itself, if it is none."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"datasets--{source.place.replace('/', '--')}" / "refs"
    path = folder / revision
    return read_text(path, "fetch it again").strip() if ".." not in revision and path.is_file() else revision


def library(source: Source) -> Any:
    """Return the datasets library, which is optional."""
    return optional("datasets", "hf", f"{source}", DataError)


@contextmanager
def _offline(datasets: Any) -> Iterator[None]:
    """Keep the library from the network for the block, whatever the environment said when it was imported."""
    from huggingface_hub import constants

    flags = [
        (datasets.config, "HF_HUB_OFFLINE"),
        (datasets.config, "HF_DATASETS_OFFLINE"),
        (constants, "HF_HUB_OFFLINE"),
    ]
    before = [getattr(module, name) for module, name in flags]
    for module, name in flags:
        setattr(module, name, True)
    try:
        yield
    finally:
        for (module, name), value in zip(flags, before, strict=True):
            setattr(module, name, value)


def first_line(error: Exception) -> str:
    """Return what an error says, in short."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(". ")[:200]
