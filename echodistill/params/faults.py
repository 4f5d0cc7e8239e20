"""Describe the faults of ``params.yaml`` in words: the key, what is wrong, and the value that was
given.
"""

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher, get_close_matches
from functools import reduce
from operator import getitem
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

MAX_SUGGESTIONS = 3
"""Maximum number of keys that are proposed for an unknown one."""


class BadKey(ValueError):
    """A fault that depends on other keys of the section; ``key`` is the dotted key to name."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def describe(fault: ErrorDetails, known: Sequence[str]) -> str:
    """Return one of pydantic's faults as text such as ``mixes.unseen: ['hum'] are not in kinds (got
    ...)``.

    For an unknown key, a similar one of the ``known`` keys is proposed.
    """
    key, given = fault["loc"], fault["input"]
    if isinstance(cause := fault.get("ctx", {}).get("error"), BadKey):
        key, given = (*key, cause.key), reduce(getitem, cause.key.split("."), given)
    path = ".".join(str(part) for part in key) or "(top level)"
    if fault["type"] == "extra_forbidden":
        return f"{path}: unknown key{did_you_mean(path, known)}"
    if fault["type"] == "tuple_type":
        return f"{path}: {_no_list(given)}"
    message = f"{path}: {fault['msg'].removeprefix('Value error, ')}"
    return message if fault["type"] == "missing" else f"{message} (got {given!r:.60})"


def _no_list(given: object) -> str:
    """Return text that states that a list is required and how to write the given value as one."""
    if given is None:
        return "a list is needed, and nothing is given: write [] for an empty one"
    if isinstance(given, str | int | float):
        return f"a list is needed, not a single value: write [{given}] (got {given!r:.60})"
    return f"a list is needed: write [..., ...] (got {given!r:.60})"


def keys_of(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the dotted name of every key and section below ``section``."""
    for name, field in section.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys_of(field.annotation, f"{prefix}{name}.")


def holds_text(section: type[BaseModel], key: str) -> bool:
    """Return whether the dotted ``key`` below ``section`` takes only text, or text or nothing."""
    annotation: object = section
    for part in key.split("."):
        fields = (
            annotation.model_fields
            if isinstance(annotation, type) and issubclass(annotation, BaseModel)
            else {}
        )
        if part not in fields:
            return False
        annotation = fields[part].annotation
    return _is_text(annotation)


def _is_text(annotation: object) -> bool:
    if get_origin(annotation) is Literal:
        return all(isinstance(value, str) for value in get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return all(part is NoneType or _is_text(part) for part in get_args(annotation))
    return annotation is str


def did_you_mean(key: str, known: Sequence[str]) -> str:
    """Return ``: did you mean X?`` for an unknown dotted ``key``, or an empty string where none of
    ``known`` is similar.

    A known key with the same last part is proposed first, because a forgotten section name gives
    such a key; otherwise spellings are compared.
    """
    last = key.rpartition(".")[2]
    alike = sorted(
        (name for name in known if name.rpartition(".")[2].casefold() == last.casefold()),
        key=lambda name: (-SequenceMatcher(None, key, name).ratio(), name),
    )
    if not alike:
        alike = get_close_matches(key, known, n=1, cutoff=0.75)
    if not alike:
        of_name = {name.rpartition(".")[2]: name for name in reversed(known)}
        alike = [of_name[name] for name in get_close_matches(last, of_name, n=1, cutoff=0.75)]
    return f": did you mean {' or '.join(alike[:MAX_SUGGESTIONS])}?" if alike else ""
