"""The comparison table of every result below some folders.

Examples:
twinbench report demo                                        the table on the terminal
twinbench report demo --format html --out report.html        one page with trials, curves and pictures
twinbench report suite --published --same mine="Barlow Twins"    published numbers beside the measured ones
twinbench report suite --baseline random                     differences, with their 95 % intervals
twinbench report suite --serve                               the page, live over a running suite, for this machine only
twinbench report suite --format parquet --out trials.parquet     every trial and metric, for pandas
twinbench report suite --format hub --out hub --leaderboard me/probes     .eval_results/*.yaml for the Hub
twinbench report suite --fail-below mine/voc07-svm=85.0      for CI: exit code 1 if it is not reached
"""

import argparse
import shutil
import sys
from pathlib import Path

from twinbench.protocols.catalogue import load_own
from twinbench.protocols.house import UserError, replacing
from twinbench.protocols.published import BARLOW_TWINS
from twinbench.report.beside import Options, require_matches
from twinbench.report.grid import Table
from twinbench.report.result import read_results

PEOPLE = ("text", "markdown", "latex")  # formats in which several tables may follow one another
TABLES = (*PEOPLE, "csv", "json", "html")
TRIALS = ("parquet", "hub")  # of the trials by themselves, into files


class ReportError(UserError):
    """An option of `twinbench report` that says nothing it could act on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `twinbench report` takes."""
    parser.add_argument(
        "results", metavar="RESULTS", nargs="*", default=[], type=Path, help="result.json files, or folders of them"
    )
    parser.add_argument(
        "--protocols", action="append", default=[], metavar="FILE", help="own protocols, as YAML or Python"
    )
    parser.add_argument("--format", choices=(*TABLES, *TRIALS), default="text", help="default: text")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there instead of printing; of hub a folder")
    parser.add_argument(
        "--leaderboard",
        action="append",
        default=[],
        metavar="[PROTOCOL=]ORG/NAME[:TASK]",
        help="of hub: the data set that keeps a protocol's leaderboard, and the task there (default: the protocol)",
    )
    parser.add_argument("--title", default="twinbench", help="heading of the page (html)")
    parser.add_argument(
        "--serve", action="store_true", help="serve the page to this machine, made anew as results come; Ctrl-C ends it"
    )
    parser.add_argument("--port", type=int, metavar="N", help="of --serve; default: a free one")
    beside = parser.add_argument_group("beside the measured numbers")
    beside.add_argument(
        "--published", action="store_true", help="rows of published numbers, and measured minus published"
    )
    beside.add_argument(
        "--source",
        default=BARLOW_TWINS,
        metavar="TEXT",
        help=f"published numbers whose paper, place or method holds TEXT; '' for all (default: {BARLOW_TWINS})",
    )
    beside.add_argument(
        "--same",
        action="append",
        default=[],
        metavar="METHOD=NAME",
        help="the published name of a measured method, where it is not the same but for case and punctuation",
    )
    beside.add_argument("--rank-published", action="store_true", help="let published numbers be best or second too")
    beside.add_argument("--baseline", default="", metavar="METHOD", help="subtract this method from the others")
    parser.add_argument(
        "--paper",
        action="store_true",
        help="Tables 1-4 of the Barlow Twins paper; in text, Markdown and LaTeX its ablations; no RESULTS: a skeleton",
    )
    parser.add_argument(
        "--fail-below",
        action="append",
        default=[],
        metavar="[METHOD/]PROTOCOL[:METRIC]=NUMBER",
        help="exit with code 1 if a mean lies below (of an error: above), or is missing",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print or write the table; 1 if a number asked for by --fail-below is too low."""
    from twinbench.report.gate import failures, parse_gates

    load_own(arguments.protocols)
    if arguments.leaderboard and arguments.format != "hub":
        raise ReportError("--leaderboard says nothing without --format hub; leave it out")
    if arguments.serve:
        return _serve(arguments)
    if arguments.port is not None:
        raise ReportError(f"--port {arguments.port}: nothing to listen for; expected it beside --serve")
    if arguments.format in TRIALS:
        return _trials(arguments)
    gates = parse_gates(arguments.fail_below)
    tables = _tables(arguments)
    to_file = arguments.out is not None
    parts: list[str] = []
    failed: list[str] = []
    for title, table in tables:
        text = render(table, arguments.format, arguments.title, to_file=to_file)
        parts.append(f"{_heading(title, arguments.format)}\n\n{text}" if title else text)
        failed += failures(table, gates)
    answer = "\n".join(parts)
    if arguments.out is None:
        sys.stdout.write(answer)
    else:
        _write(arguments.out, answer)
    for line in failed:
        print(f"twinbench report: {line}", file=sys.stderr)
    return 1 if failed else 0


def _heading(title: str, form: str) -> str:
    """Return the title above one of several tables."""
    if form == "latex":
        from twinbench.report.latex import escape

        return escape(title)
    return title


def _serve(arguments: argparse.Namespace) -> int:
    """Serve the page of the results until it is interrupted."""
    from twinbench.report import html
    from twinbench.report.files import find
    from twinbench.report.serve import serve
    from twinbench.report.table import build

    unfit = {"--out": arguments.out, "--fail-below": arguments.fail_below, "--paper": arguments.paper}
    unfit["--format"] = arguments.format not in ("html", "text")  # text is the default
    for name, given in unfit.items():
        if given:
            raise ReportError(f"{name} and --serve: a page that is served is not written; expected one of them")
    paths: list[Path] = arguments.results
    for path in paths:
        if not path.exists():
            raise ReportError(f"{path}: no such file or folder; expected a result.json or a folder of them")
    if not paths:
        raise ReportError("no RESULTS given; expected result.json files or folders of them")
    _require_shown(arguments)
    port = arguments.port or 0
    if not 0 <= port < 1 << 16:
        raise ReportError(f"--port {port}: expected a number from 1 to 65535, or leave it out for a free one")
    options = options_of(arguments)
    serve(paths, lambda edition: html.render(build(find(paths), options), arguments.title, live=edition), port)
    return 0


def _trials(arguments: argparse.Namespace) -> int:
    """Write the trials by themselves, without anything beside them: as Parquet, or as entries for the Hub."""
    from twinbench.report import frame, hub
    from twinbench.report.files import find
    from twinbench.report.table import build

    asked = {"--published": arguments.published, "--baseline": arguments.baseline, "--paper": arguments.paper}
    asked |= {"--fail-below": arguments.fail_below, "--same": arguments.same}
    asked |= {"--source": arguments.source != BARLOW_TWINS, "--rank-published": arguments.rank_published}
    for option, value in asked.items():
        if value:
            raise ReportError(f"{option} says nothing with --format {arguments.format}; leave one out")
    if not arguments.results or arguments.out is None:
        what = "--out" if arguments.results else "RESULTS"
        raise ReportError(
            f"--format {arguments.format} writes results to a file or folder, but there is no {what}; name it"
        )
    try:
        if arguments.format == "parquet":
            frame.write_parquet(read_results(arguments.results), arguments.out)
        else:
            places = hub.parse_leaderboards(arguments.leaderboard)
            print("\n".join(hub.write(build(find(arguments.results)), places, arguments.out)))
    except OSError as error:
        what = "file" if arguments.format == "parquet" else "folder"
        raise _unwritten(arguments.out, error, what) from None
    return 0


def _write(path: Path, answer: str) -> None:
    """Replace a file by the answer, whole or not at all."""
    try:
        with replacing(path) as beside:
            beside.write_text(answer, encoding="utf-8")
    except OSError as error:
        raise _unwritten(path, error, "file") from None


def _unwritten(path: Path, error: OSError, what: str) -> ReportError:
    """Return the error of an answer that cannot be written to a file or a folder."""
    return ReportError(f"--out {path}: cannot be written ({error.strerror}); expected the name of a {what}")


def _tables(arguments: argparse.Namespace) -> list[tuple[str, Table]]:
    """Return the table or tables that were asked for, each under its title; a lone one has none."""
    from twinbench.report import paper
    from twinbench.report.ablations import published_names
    from twinbench.report.files import Found, find
    from twinbench.report.table import build

    if not arguments.results and not arguments.paper:
        raise ReportError("no RESULTS given; expected result.json files or folders of them, or --paper for a skeleton")
    found = find(arguments.results) if arguments.results else Found(())
    options = options_of(arguments)
    shows_published = _require_shown(arguments)
    table = paper.one_table(found, options) if arguments.paper else build(found, options)
    several = arguments.paper and arguments.format in PEOPLE and not arguments.fail_below
    if shows_published:
        require_matches(table, options, published_names() if several else ())
    return list(paper.tables(found, options)) if several else [("", table)]


def _require_shown(arguments: argparse.Namespace) -> bool:
    """Say whether published rows are shown; ReportError for an option of theirs where none are."""
    if arguments.published or arguments.paper:
        return True
    if arguments.same:
        raise ReportError(f"--same {arguments.same[0]}: names a published row, and none is shown; add --published")
    if arguments.source != BARLOW_TWINS:
        raise ReportError(f"--source {arguments.source}: is of published rows, and none is shown; add --published")
    if arguments.rank_published:
        raise ReportError("--rank-published: is of published rows, and none is shown; add --published")
    return False


def options_of(arguments: argparse.Namespace) -> Options:
    """Return what the options ask to show beside the measured numbers."""
    return Options(
        published=arguments.published,
        source=arguments.source,
        rank_published=arguments.rank_published,
        baseline=arguments.baseline,
        same=dict(_pair(pair) for pair in arguments.same),
    )


def _pair(text: str) -> tuple[str, str]:
    """Split METHOD=NAME."""
    method, equals, name = text.partition("=")
    if not (method and equals and name):
        raise ReportError(f'--same {text}: expected METHOD=NAME, for example --same mine="Barlow Twins"')
    return method, name


def render(table: Table, form: str, title: str, *, to_file: bool) -> str:
    """Return the table in one of TABLES; text fits the terminal, or 100 characters in a file."""
    if form == "html":
        from twinbench.report import html

        return html.render(table, title)
    from twinbench.report import csvfile, jsonfile, latex, markdown, text

    if form == "text":
        width = 100 if to_file or not sys.stdout.isatty() else shutil.get_terminal_size((100, 24)).columns
        return text.render(table, width)
    writers = {"markdown": markdown, "latex": latex, "csv": csvfile, "json": jsonfile}
    return writers[form].render(table)
