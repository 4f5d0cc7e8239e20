"""Writes ``docs/parameters.md``, the reference of ``params.yaml``.

Types and meanings are those of the schema (``echodistill/params``): the annotation of a field and
the docstring below it. Defaults are the values of ``params.yaml``.
"""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from echodistill.core.yaml12 import load_yaml
from echodistill.params.meanings import meanings_of, one_line
from echodistill.params.whole import Params

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/parameters.md"
INTRODUCTION = """# Parameters

All that is computed is set in `params.yaml`. An unknown key or a bad value stops a command before
anything runs. `echodistill run -S KEY=VALUE` overrides a value for one run.

<!-- written by `python -m docs.generate_parameters` -->
"""
WORDS = {"str": "text", "int": "integer", "float": "number", "bool": "`true` or `false`"}
BOUNDS = (
    (annotated_types.Gt, ">", "gt"),
    (annotated_types.Ge, "≥", "ge"),
    (annotated_types.Lt, "<", "lt"),
    (annotated_types.Le, "≤", "le"),
    (annotated_types.MultipleOf, "a multiple of", "multiple_of"),
)
"""The bounds that annotations may have, with the word for each and the attribute that holds it."""
MAX_DEFAULT_LENGTH = 100
"""Characters of a default beyond which the page refers to the file."""


def page() -> str:
    """Return the text of the page. Raise ``ValueError`` for a key without a meaning."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    return INTRODUCTION + "".join(sections(Params, load_yaml(text), ""))


def sections(section: type[BaseModel], values: object, prefix: str) -> Iterator[str]:
    """Yield a heading and a table for ``section``, and for each section below it."""
    below: list[tuple[str, type[BaseModel], object]] = []
    rows: list[str] = []
    meanings = meanings_of(section)
    for name, field in section.model_fields.items():
        key = f"{prefix}{name}"
        value = values.get(name) if isinstance(values, dict) else None
        if inner := section_in(field.annotation):
            is_list = inner is not field.annotation
            below.append((f"{key}[]" if is_list else key, inner, None if is_list else value))
            if not is_list:
                continue
        default = _default(value) if isinstance(values, dict) else "required"
        rows.append(_row(key, _type(field), default, _meaning(key, meanings)))
    if prefix:
        about = one_line(getattr(section, "description", "") or inspect.getdoc(section) or "")
        yield f"\n## {prefix[:-1]}\n\n{about}\n"
    if rows:
        yield "\n| key | type | default | meaning |\n|---|---|---|---|\n" + "".join(rows)
    for key, inner, value in below:
        yield from sections(inner, value, f"{key}.")


def _row(key: str, *cells: str) -> str:
    return f"| `{key}` | " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |\n"


def _meaning(key: str, meanings: dict[str, str]) -> str:
    if not (meaning := meanings.get(key.rpartition(".")[2], "")):
        raise ValueError(f"{key} has no docstring in echodistill/params")
    return meaning if meaning.endswith(".") else f"{meaning}."


def _default(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return f"`{text}`" if len(text) <= MAX_DEFAULT_LENGTH else "see `params.yaml`"


def section_in(annotation: object) -> type[BaseModel] | None:
    """Return the section that an annotation is, or is a list of; ``None`` for values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (section_in(each) for each in get_args(annotation))
    return next((each for each in found if each), None)


def _type(field: FieldInfo) -> str:
    return _words(field.annotation, tuple(field.metadata))


def _words(annotation: object, metadata: tuple[object, ...] = ()) -> str:
    """Return a type in words, with its bounds."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(inner[0], (*inner[1:], *metadata))
    if origin is Literal:
        return ", ".join(f"`{each}`" for each in inner)
    if origin in (Union, UnionType):
        words = [_words(each) for each in inner if each is not NoneType]
        return " or ".join([*words, "`null`"] if NoneType in inner else words)
    if origin is tuple:
        return f"list of {_words(inner[0])}"
    if origin is dict:
        return "mapping"
    if section_in(annotation):
        return "section"
    name = WORDS[getattr(annotation, "__name__", "")]
    return " ".join([name, ", ".join(_bounds(metadata))]).strip()


def _bounds(metadata: tuple[object, ...]) -> Iterator[str]:
    """Yield the bounds of a number in words."""
    for each in metadata:
        for part in each.metadata if isinstance(each, FieldInfo) else [each]:
            for kind, word, name in BOUNDS:
                if isinstance(part, kind):
                    yield f"{word} {getattr(part, name)}".removesuffix(".0")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
