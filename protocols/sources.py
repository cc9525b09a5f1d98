"""The sources of a protocol's constants: the comments that stand beside them in this package.

A constant and its source are written once, on one line of a module of FILES or of pretraining.py; what shows sources
reads them there.
"""

import ast
import io
import tokenize
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.pretraining import PretrainRecipe
from twinbench.protocols.schema import Protocol, flat

FILES = (  # where the paper's protocols are written; one may build on recipes of those before it
    "svm.py",
    "layers.py",
    "classification.py",
    "neighbors.py",
    "finetuning.py",
    "linear12.py",
    "labels.py",
    "heads.py",
    "attentive.py",
    "finetune12.py",
    "robustness.py",
    "detection/__init__.py",
    "detection/c4.py",
    "detection/pyramids.py",
    "detection/sets.py",
    "detection/vitdet.py",
    "segmentation.py",
    "dense.py",
    "nearest_patches.py",
    "patches_logistic.py",
    "depth.py",
)
Notes = dict[str, str]  # field of a recipe -> the comment beside its value


@cache
def recipe_sources() -> dict[str, Notes]:
    """Return, for each protocol that is written out, field -> source.

    A field without a comment is left out.
    """
    found: dict[str, Notes] = {}
    recipes: dict[str, Notes] = {}
    for name in FILES:
        module = _Module((Path(__file__).parent / name).read_text(encoding="utf-8"), recipes)
        found |= module.protocols()
        recipes = module.recipes
    return found


def sources_of(protocol: Protocol) -> Notes:
    """Return field -> source of a protocol.

    A demo protocol has the paper's where it kept the paper's value.
    """
    if protocol.name in recipe_sources():
        return recipe_sources()[protocol.name]
    paper = PROTOCOLS.get(protocol.name.removeprefix("demo-"))
    if paper is None:
        return {}
    kept = dict(flat(paper.recipe))
    notes = recipe_sources().get(paper.name, {})
    found: Notes = {}
    for name, text in flat(protocol.recipe):
        if text != kept[name]:
            found[name] = "scaled down for the demo"
        elif notes.get(name):
            found[name] = notes[name]
    return found


def pretraining_values(recipe: PretrainRecipe) -> list[tuple[str, str]]:
    """Return the settings of a pretraining recipe, with values as --set takes them."""
    return [(name, text) for name, text in flat(recipe) if name not in ("name", "version", "source")]


@cache
def pretraining_sources(recipe: PretrainRecipe) -> Notes:
    """Return field -> source of a pretraining recipe.

    A value that differs from the flagship's has its own, or none.
    """
    module = _Module(Path(__file__).with_name("pretraining.py").read_text(encoding="utf-8"))
    notes = module.defaults("PretrainRecipe")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and recipe.name in _texts(node):
            for keyword in node.keywords:
                notes[keyword.arg or ""] = module.comments.get(keyword.value.end_lineno or 0, "ours")
    return notes


def _texts(call: ast.Call) -> list[str]:
    """Return the plain texts that a call is given."""
    return [str(value.value) for value in _given(call) if isinstance(value, ast.Constant)]


def _given(call: ast.Call) -> list[ast.expr]:
    """Return the values that a call is given, by place and by name."""
    return [*call.args, *(keyword.value for keyword in call.keywords)]


class _Module:
    """One file of protocols: its comments by line and its recipes by name, those of earlier files among them."""

    def __init__(self, text: str, recipes: Mapping[str, Notes] | None = None) -> None:
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        self.comments: dict[int, str] = {}  # by line
        for token in tokens:
            if token.type == tokenize.COMMENT:
                self.comments[token.start[0]] = token.string.lstrip("# ")
        self.tree = ast.parse(text)
        self.recipes: dict[str, Notes] = dict(recipes or {})
        for statement in self.tree.body:
            if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
                for target in statement.targets:
                    if isinstance(target, ast.Name):
                        self.recipes[target.id] = self.notes(statement.value)

    def protocols(self) -> dict[str, Notes]:
        """Return the notes of every call that is given the name of a protocol and a recipe."""
        found: dict[str, Notes] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                names = [text for text in _texts(node) if text in PROTOCOLS]
                notes = [note for note in map(self.notes, _given(node)) if note]
                if names and notes:
                    found[names[0]] = notes[0]
        return found

    def defaults(self, name: str) -> Notes:
        """Return the notes beside the defaults of a dataclass."""
        found: Notes = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ClassDef) and node.name == name:
                for field in node.body:
                    if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                        found[field.target.id] = self.comments.get(field.end_lineno or 0, "")
        return found

    def notes(self, value: ast.expr) -> Notes:
        """Return the notes of a recipe: a name, `SomeRecipe(field=...)`, or `replace(base, field=...)`."""
        if isinstance(value, ast.Name):
            return self.recipes.get(value.id, {})
        if not isinstance(value, ast.Call):
            return {}
        found = dict(self.notes(value.args[0])) if value.args else {}
        for keyword in value.keywords:
            field = keyword.arg or ""
            for name in list(found):
                if name.partition(".")[0] == field:  # the base's note is of a value that no longer stands
                    del found[name]
            comment = self.comments.get(keyword.value.end_lineno or 0)
            nested = self.notes(keyword.value)
            for name, note in nested.items():
                found[f"{field}.{name}"] = comment or note
            if comment and not nested:
                found[field] = comment
        return found
