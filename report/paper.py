"""The tables of the Barlow Twins paper (arXiv:2103.03230): published numbers that measured ones join."""

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.published import ABLATIONS
from twinbench.report import ablations
from twinbench.report.beside import Options
from twinbench.report.files import Found
from twinbench.report.grid import Column, Table
from twinbench.report.table import build


@dataclass(frozen=True)
class PaperTable:
    """One table of the paper: its subject, and (protocol, metric) of each column."""

    title: str
    columns: tuple[tuple[str, str], ...]


PROBE = (("imagenet-linear", "top1"), ("imagenet-linear", "top5"))

TABLES = (
    PaperTable("Table 1: linear classification on ImageNet", PROBE),
    PaperTable(
        "Table 2: ImageNet with 1 % and 10 % of the labels",
        (("imagenet-1pct", "top1"), ("imagenet-10pct", "top1"), ("imagenet-1pct", "top5"), ("imagenet-10pct", "top5")),
    ),
    PaperTable(
        "Table 3: linear classification on other data sets",
        (("places205-linear", "top1"), ("voc07-svm", "mAP"), ("inat18-linear", "top1")),
    ),
    PaperTable(
        "Table 4: detection and instance segmentation",
        (
            *(("voc0712-frcnn-c4", metric) for metric in ("AP", "AP50", "AP75")),
            *(("coco-mrcnn-c4-1x", metric) for metric in ("box-AP", "box-AP50", "box-AP75")),
            *(("coco-mrcnn-c4-1x", metric) for metric in ("mask-AP", "mask-AP50", "mask-AP75")),
        ),
    ),
)


def tables(found: Found, options: Options) -> Iterator[tuple[str, Table]]:
    """Yield each table of the paper with its title, then the ablations.

    A method of an ablation stands in Tables 1 to 4 only where it has trials: nobody asked it for others.
    """
    shown = ablations.of_results(found, options)
    ablated = {method for entry in shown for method in entry.rows}
    for entry in TABLES:
        protocols = {name for name, _ in entry.columns}
        methods = {method for method, protocol in found.trials if method not in ablated or protocol in protocols}
        yield entry.title, _table(found.of(methods), _fitting(options, methods), entry.columns)
    for entry in shown:
        printed = {method: name for method, name in entry.rows.items() if name}
        asked = replace(_fitting(options, entry.rows), source=entry.source, task=ABLATIONS, same=printed)
        yield entry.title, _table(found.of(entry.rows), asked, PROBE, tuple(entry.rows))


def one_table(found: Found, options: Options) -> Table:
    """Return the columns of Tables 1 to 4 side by side."""
    columns = itertools.chain.from_iterable(entry.columns for entry in TABLES)
    return _table(found, options, columns)


def _fitting(options: Options, methods: Collection[str]) -> Options:
    """Return the options without what they ask of methods that a table does not have."""
    same = {method: name for method, name in options.same.items() if method in methods}
    return replace(options, same=same, baseline=options.baseline if options.baseline in methods else "")


def _table(found: Found, options: Options, columns: Iterable[tuple[str, str]], rows: Sequence[str] = ()) -> Table:
    """Return a table of the given columns, each of the named recipe, published rows included."""
    wanted: list[Column] = []
    for name, metric in columns:
        if name in PROTOCOLS:
            protocol = PROTOCOLS[name]
            wanted.append(Column(name, protocol.version, protocol.fingerprint, metric))
    return build(found, replace(options, published=True), wanted, rows)
