"""The report of a check: counts against what a complete copy holds, problems, and what is worth knowing beside them."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from twinbench.data.checking.surveys import Problem, Survey
from twinbench.data.checking.targets import Target
from twinbench.protocols.datasets import PUBLISHED, DataSet

TRAINING = ("trainval07+12", "train", "2007-trainval")  # the count of all training images, the first that is there
TESTS = ("test", "val", "2007-test")


@dataclass(frozen=True)
class Report:
    """The outcome of a check. `counts` and `expected` go by split, and `classes`."""

    layout: str
    root: str
    expected_from: str
    counts: dict[str, int]
    expected: dict[str, int]
    problems: tuple[Problem, ...]
    optional: tuple[str, ...] = ()  # names in `expected` that need not be there
    left_out: dict[str, int] | None = None  # "split: why" -> files that lie there and are no images of the data
    constant: int = 0  # images of one colour
    in_both: int | None = None  # test images that train, too, byte for byte; None: not looked for
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """True if nothing is wrong."""
        return not self.problems

    def as_dict(self) -> dict[str, object]:
        """Return the report as plain data for JSON."""
        return {**asdict(self), "complete": self.complete}

    def as_text(self) -> str:
        """Return the report for people: a line a count, a line for what else was seen, a line a problem."""
        state = "complete" if self.complete else "not complete"
        if not self.expected:
            state = "usable" if self.complete else "not usable"
        lines = [f"{self.layout} at {self.root}: {state} (expected: {self.expected_from})"]
        for name in {**self.expected, **self.counts}:
            expected = f" of {self.expected[name]:,}" if name in self.expected else ""
            if name in self.counts or name not in self.optional:
                lines.append(f"  {name:14} {self.counts.get(name, 0):>11,}{expected}")
        lines += [f"  {line}" for line in self._beside()]
        for problem in self.problems:
            lines.append(f"  {problem.kind}: {problem.count:,} problem{'s' * (problem.count > 1)}")
            lines += [f"    {line}" for line in problem.examples]
            lines += ["    ..."] * (problem.count > len(problem.examples))
        return "\n".join(lines)

    def _beside(self) -> Iterator[str]:
        """Yield what is no problem and yet worth knowing."""
        for why, count in (self.left_out or {}).items():
            yield f"left out, {why}: {count:,}"
        if self.constant:
            yield f"images of one colour: {self.constant:,}"
        if self.in_both:
            yield f"test images that are training images, too, byte for byte: {self.in_both:,}"
        yield from self.notes


def compare(aim: Target, findings: Survey) -> tuple[tuple[Problem, ...], tuple[str, ...]]:
    """Return all problems, counts that are not as expected among them, and what the counts tell besides."""
    for name, count in aim.expected.items():
        found = findings.counts.get(name, count if name in aim.optional else 0)
        if found != count:
            findings.note("counts", f"{name}: {found:,}, expected {count:,}")
    notes = list(findings.remarks)
    images = _first(findings.counts, TRAINING), _first(findings.counts, TESTS)
    if aim.entry:
        notes += (f"these counts are known: {what}" for what in _other_copies(aim.entry, images))
    elif not findings.problems:
        notes += _resembled(images, findings.counts.get("classes", 0))
    return tuple(findings.problems.values()), tuple(notes)


def _first(counts: dict[str, int], names: tuple[str, ...]) -> int:
    """Return the first of the counts that is there."""
    return next((counts[name] for name in names if name in counts), 0)


def _other_copies(entry: DataSet, images: tuple[int, int]) -> Iterator[str]:
    """Yield what copies with these counts are; 0 in an entry stands for any number."""
    for copy in entry.about.others:
        if all(known in (0, found) for known, found in zip(copy.images, images, strict=True)):
            yield copy.what


def _resembled(images: tuple[int, int], classes: int) -> Iterator[str]:
    """Yield which published sets have these counts, and which known copies of others."""
    for entry in PUBLISHED:
        if entry.classes != classes:
            continue
        if entry.images == images:
            yield f"these are the counts of {entry.name}, {entry.about.title}: check it by that name"
        for what in _other_copies(entry, images):
            yield f"these are the counts of a copy of {entry.name}: {what}"
