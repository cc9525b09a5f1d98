"""The section of RESULTS.md that a run of benchmarks/gpu appends: the machine, ratios first, then the rest."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.gpu.figures import TIMES, Figure
from benchmarks.gpu.runner import Outcome
from twinbench.protocols.house import replacing

RESULTS = Path(__file__).resolve().parent.parent / "RESULTS.md"
# Stands in RESULTS.md until the first section of a card does.
NOT_YET = "No figure of a GPU has been measured yet.\n"


def append(path: Path, section: str) -> None:
    """Put `section` at the end of the file at `path`, which then no longer says that nothing was measured."""
    before = path.read_text().replace(NOT_YET, "") if path.exists() else ""
    with replacing(path) as beside:
        beside.write_text(f"{before.rstrip()}\n\n{section}".lstrip())


def section(outcomes: Mapping[str, Outcome], *, date: str, code: str, command: str) -> str:
    """Return the section in Markdown; `date` is ISO 8601, `code` the commit."""
    machine = next((outcome.machine for outcome in outcomes.values() if outcome.machine), {})
    seconds = sum(outcome.seconds for outcome in outcomes.values())
    figures = [figure for outcome in outcomes.values() for figure in outcome.figures]
    ratios = [figure for figure in figures if figure.unit == TIMES]
    others = [figure for figure in figures if figure.unit != TIMES]
    driver = f"driver {machine['driver']}, " if machine.get("driver") else ""
    parts = [
        f"## gpu: {machine.get('card', 'unknown')}, {date[:10]}",
        f"{driver}torch {machine.get('torch', 'unknown')}, torchvision {machine.get('torchvision', 'unknown')}, "
        f"Python {machine.get('python', 'unknown')}; {machine.get('processor', 'unknown')}, "
        f"{machine.get('cores', 'unknown')} cores; code {code}; `{command}`, {seconds:.0f} s.",
        _table(("ratio", "", "of", "target"), [[f.name, f.text, f.of, _target(f)] for f in ratios]),
        _table(("figure", "", "target"), [[f.name, f.text, _target(f)] for f in others]),
        *_failures(outcomes),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _target(figure: Figure) -> str:
    return f"{figure.target}: MISSED" if figure.missed else figure.target


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, nothing where it has no rows."""
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _failures(outcomes: Mapping[str, Outcome]) -> list[str]:
    """Return a line for each module that did not come to its end."""
    lines: list[str] = []
    for name, outcome in outcomes.items():
        if outcome.failure:
            lines.append(
                f"`{name}` did not come to its end: {outcome.failure}; {len(outcome.figures)} of its figures are above."
            )
    return lines
