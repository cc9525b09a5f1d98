"""Section 4 of the Barlow Twins paper (arXiv:2103.03230): Tables 5 and 6, Figures 2 to 5, of 300 epochs each.

Their rows are the methods of docs/paper.md's suite, in the paper's order. They are tables of their own, as the same
probe's column in Table 1 would mix the paper's numbers with those of 1000 epochs. Measured rows stand in Table 1, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from twinbench.protocols.published import ABLATIONS, published
from twinbench.report.beside import Options, plain
from twinbench.report.files import Found

BASELINE = "baseline"  # the recipe as it is, to which each ablation compares


@dataclass(frozen=True)
class Ablation:
    """One table or figure: where its numbers stand, and what is measured."""

    title: str
    source: str  # text that the place or the method of its published numbers holds
    rows: Mapping[str, str]  # method -> its published name; empty: drawn in the paper, and not printed


TABLES = (
    Ablation(
        "Table 5: the loss, 300 epochs",
        "Table 5",
        {
            BASELINE: "Baseline",
            "invariance": "Only invariance (on-diag)",
            "redundancy": "Only redundancy reduction (off-diag)",
            "feature-norm": "Normalization along feature dim",
            "no-bn": "No BN in MLP",
            "no-bn-no-norm": "No BN in MLP + no normalization",
            "cross-entropy": "Cross-entropy with temperature",
        },
    ),
    Ablation(
        "Table 6: asymmetry, 300 epochs",
        "Table 6",
        {
            BASELINE: "Baseline",
            "stop-gradient": "(a) stop-gradient",
            "predictor": "(b) predictor",
            "both": "(c) stop-gradient + predictor",
        },
    ),
    Ablation(
        "Figure 2: the batch size, 300 epochs",
        "batch size",
        {
            "batch-128": "Barlow Twins, batch size 128",
            "batch-256": "Barlow Twins, batch size 256",
            "batch-512": "Barlow Twins, batch size 512",
            "batch-1024": "Barlow Twins, batch size 1024",
            BASELINE: "Barlow Twins, batch size 2048",
            "batch-4096": "Barlow Twins, batch size 4096",
        },
    ),
    Ablation(
        "Figure 3: augmentations left out one after the other, 300 epochs",
        "Figure 3",
        {BASELINE: "", "no-gray": "", "no-gray-blur": "", "crop-flip": ""},
    ),
    Ablation(
        "Figure 4: the size of the projector, 300 epochs",
        "Figure 4",
        {"projector-512": "", "projector-2048": "", BASELINE: "", "projector-16384": ""},
    ),
    Ablation(
        "Figure 5: lambda, 300 epochs",
        "Figure 5",
        {"lambda-0.001": "", BASELINE: "", "lambda-0.02": ""},
    ),
)


def of_results(found: Found, options: Options) -> list[Ablation]:
    """Return the ablations of which something was measured, each with its rows as --same names them.

    The baseline alone is none of them, as others call a method so, too. Without any results they are all returned.
    """
    measured = {method for method, _ in found.trials}
    renamed = {plain(name): method for method, name in options.same.items()}
    asked: list[Ablation] = []
    for entry in TABLES:
        rows = {renamed.get(plain(name), method): name for method, name in entry.rows.items()}
        if not measured or measured.intersection(rows) - {BASELINE}:
            asked.append(replace(entry, rows=rows))
    return asked


def published_names() -> set[str]:
    """Return the methods whose numbers the ablations print."""
    return {entry.method for entry in published() if entry.task == ABLATIONS}
