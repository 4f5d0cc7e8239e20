"""Describe the faults of ``params.yaml`` in words: the key, what is wrong, and the value that was
given.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher, get_close_matches
from functools import reduce
from operator import getitem
from types import NoneType, UnionType
from typing import Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from echodistill.core.similar import meant

MAX_SUGGESTIONS = 3
"""Maximum number of keys that are proposed for an unknown one."""
CHOICE = re.compile(r"'([^']*)'")
"""One of the choices in pydantic's list of them."""


class BadKey(ValueError):
    """A fault that depends on other keys of the section; ``key`` is the dotted key to name."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def describe(faults: Sequence[ErrorDetails], known: Sequence[str]) -> str:
    """Return pydantic's faults as one text such as ``mixes.unseen: ['hum'] are not in kinds (got
    ...)``.

    For an unknown key, a similar one of the ``known`` keys is proposed.
    """
    return "; ".join(
        f"{path}: {text}{_got(given)}"
        for path, text, given in (_part(fault, known) for fault in faults)
    )


def describe_overridden(
    faults: Sequence[ErrorDetails], known: Sequence[str], overrides: Sequence[str], name: str
) -> str:
    """Return pydantic's faults as one text, first those that one of ``overrides`` contains, such as
    ``-S train.steps=0: Input should be greater than 0``.

    Any other fault is one of the combination of the overrides with the file ``name``.
    """
    own, others = [], []
    for path, text, given in (_part(fault, known) for fault in faults):
        causes = [one for one in overrides if _concern_the_same(path, _key(one))]
        if causes:
            where = "" if _key(causes[-1]) == path else f"{path}: "
            own.append(f"-S {causes[-1]}: {where}{text}{_got(given) if where else ''}")
        else:
            others.append(f"{path}: {text}{_got(given)}")
    if others:
        options = shlex.join(word for one in overrides for word in ("-S", one))
        own.append(f"{name} with {options}: {'; '.join(others)}")
    return "; ".join(own)


def _key(override: str) -> str:
    return override.partition("=")[0].strip()


def _concern_the_same(path: str, key: str) -> bool:
    """Return whether two dotted names are equal, or one contains the other."""
    return f"{path}.".startswith(f"{key}.") or f"{key}.".startswith(f"{path}.")


class _Given(NamedTuple):
    """A given value, which a message may end with."""

    value: object


def _got(given: _Given | None) -> str:
    return f" (got {given.value!r:.60})" if given else ""


def _part(fault: ErrorDetails, known: Sequence[str]) -> tuple[str, str, _Given | None]:
    """Return the dotted key of a fault, what is wrong, and the value given, where it adds
    anything.
    """
    key, given = fault["loc"], fault["input"]
    if isinstance(cause := fault.get("ctx", {}).get("error"), BadKey):
        key, given = (*key, cause.key), reduce(getitem, cause.key.split("."), given)
    path = ".".join(str(part) for part in key) or "(top level)"
    if fault["type"] == "extra_forbidden":
        return path, f"unknown key{did_you_mean(path, known)}", None
    if fault["type"] == "tuple_type":
        return path, _no_list(given), None
    text = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "literal_error" and isinstance(given, str):
        text += meant(given, CHOICE.findall(fault["ctx"]["expected"]))
    return path, text, None if fault["type"] == "missing" else _Given(given)


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
