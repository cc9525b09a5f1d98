"""The JSON Schema of a result file, published as result.schema.json beside this module.

  python -m twinbench.report.schema > report/result.schema.json

It is written from the dataclass: names, types and which fields are required; the comments beside the fields describe
them. Third parties can check their files with any JSON Schema validator.
"""

import ast
import dataclasses
import inspect
import io
import json
import tokenize
import typing
from typing import Any

from twinbench.protocols.metrics import ERRORS, PERCENT
from twinbench.report import result
from twinbench.report.result import REQUIRED, SCHEMA, Result


def json_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of the result files of this version."""
    hints = typing.get_type_hints(Result)
    notes = _notes()
    properties: dict[str, dict[str, Any]] = {}
    for field in dataclasses.fields(Result):
        note = notes.get(field.name, "")
        properties[field.name] = {**_type(hints[field.name]), "description": note}
    properties["schema"] |= {"minimum": 1, "maximum": SCHEMA}
    properties["metrics"]["properties"] = {name: {"type": "number", "minimum": 0} for name in ERRORS}
    properties["metrics"]["additionalProperties"] |= {"minimum": 0, "maximum": PERCENT.most}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "twinbench result",
        "description": "A trial: percent, higher is better, or errors of depth. The headline names one of the metrics.",
        "type": "object",
        "properties": properties,
        "required": sorted(REQUIRED),
        "additionalProperties": False,
    }


def _type(hint: Any) -> dict[str, Any]:
    """Return a declared type as JSON Schema."""
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is dict:
        return {"type": "object", "additionalProperties": _type(parts[1])}
    if typing.get_origin(hint) is list:
        return {"type": "array", "items": _type(parts[0])}
    names = {str: "string", int: "integer", float: "number", bool: "boolean"}
    return {"type": names[hint]} if hint in names else {}


def _notes() -> dict[str, str]:
    """Return field -> the comment at the end of its line in the dataclass, or on the line above."""
    source = inspect.getsource(result)
    comments: dict[int, str] = {}  # by line
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments[token.start[0]] = token.string.lstrip("# ")
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    (body,) = (node.body for node in classes if node.name == Result.__name__)
    notes: dict[str, str] = {}
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            notes[node.target.id] = comments.get(node.lineno) or comments.get(node.lineno - 1, "")
    return notes


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=1))
