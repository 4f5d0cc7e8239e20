"""Texts among the fields of a manifest's row."""

import unicodedata
from typing import Any

from echodistill.datasets.manifest import Fields, RowError

NO_VALUE = ("nan", "-nan", "#n/a", "#na", "<na>", "nat")
"""What data frames and spreadsheets alone write for an empty cell, in lower case."""
NOTHING = ("", "none", "null", "n/a", "na", *NO_VALUE)
"""How it is written where a text may be missing. As a choice some of these say something."""


def text_of(fields: Fields, *names: str) -> str:
    """Return the first of the fields that is there, as text."""
    for name in names:
        if name in fields:
            return as_text(fields[name], f"field {name!r}")
    given = ", ".join(fields).encode("utf-8", "backslashreplace").decode()
    raise RowError(f"no field {' or '.join(map(repr, names))} among {given}")


def optional_text(fields: Fields, *names: str) -> str:
    """Return the first of the fields that holds something, as text; empty where none does, however that is written.

    Whole numbers are one text, written as 7 or 7.0, and so are texts that differ in their Unicode form alone.
    """
    for name in names:
        value = fields.get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if value is None or value in ([], {}, ()) or str(value).strip().casefold() in NOTHING:
            continue
        return unicodedata.normalize("NFC", as_text(value, f"field {name!r}"))
    return ""


def as_text(value: Any, what: str) -> str:
    """Return a text or number as text. Raises ``RowError``, saying ``what`` is no text."""
    if not isinstance(value, str | int | float):
        kind = {list: "a list", tuple: "a list", type(None): "null"}.get(type(value), "an object")
        raise RowError(f"{what} is {kind}, not text")
    text = str(value).strip()
    if not text or value != value:  # NaN
        raise RowError(f"{what} is empty")
    if any(unicodedata.category(character) == "Cs" for character in text):
        raise RowError(f"{what} holds half a character (a lone surrogate)")
    return text
