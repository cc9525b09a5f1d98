"""What DATA may be, as help texts say it: written from the registry of forms."""

import textwrap

from twinbench.data.source import COMMON, FORMS

WIDTH, INDENT = 116, 6
COMMON_MEANING = (
    "?train=NAME&test=NAME name the splits, ?classes=FILE lists the classes to keep, ?limit=N is a "
    "trial run on N images of each split (quote ? and & in a shell)"
)


def sources_help() -> str:
    """Return the paragraph that names every way to give DATA, an example and a sentence each."""
    lines = ["DATA is one of", "  /datasets/imagenet", *_wrapped("a folder in a known layout, or with train/<class>/")]
    for form in FORMS.values():
        options = [name for name in form.options if name not in COMMON]
        told = f"; options: {', '.join(options)}" if options else ""
        lines += [f"  {form.example}", *_wrapped(f"{form.holds}{told}")]
    lines += ["Of all:", *_wrapped(COMMON_MEANING), "See docs/your-data.md. Prove it first: twinbench data check DATA"]
    return "\n".join(lines)


def _wrapped(text: str) -> list[str]:
    """Return a sentence as indented lines."""
    lead = " " * INDENT
    return textwrap.wrap(text, WIDTH, initial_indent=lead, subsequent_indent=lead, break_on_hyphens=False)
