"""Read texts from the fields of a manifest's row."""

import unicodedata
from typing import Any

from echodistill.data.manifest import DuplicateField, Fields, RowError

NO_VALUE = frozenset(
    "nan NaN NAN -nan -NaN #N/A #NA <NA> NaT #NULL! #VALUE! #REF! #DIV/0! #NAME? #NUM! 1.#IND"
    " -1.#IND 1.#QNAN -1.#QNAN".split()
) | {"#N/A N/A"}
"""Texts that only data frames and spreadsheets write, for an empty cell or a failed formula."""
NOTHING = frozenset(
    "none null (null) nil n/a n.a. na unknown undefined missing \\n - -- --- – — ? nan -nan"
    " <na> nat".split()
) | {""}
"""Texts, in lower case, that mean that an optional text is missing. As a choice some of these are
meaningful.
"""


def text_of(fields: Fields, *names: str) -> str:
    """Return the first of the fields that is present, as text. Raise ``RowError`` where none is."""
    for name in names:
        if name in fields:
            return as_text(fields[name], f"field {name!r}")
    raise missing(fields, *names)


def missing(fields: Fields, *names: str) -> RowError:
    """Return the fault of a row that has none of the fields ``names``, with those it has."""
    given = ", ".join(fields).encode("utf-8", "backslashreplace").decode()
    return RowError(f"no field {' or '.join(map(repr, names))} among {given}")


def optional_text(fields: Fields, *names: str) -> str:
    """Return the first of the fields that holds a text other than ``NOTHING`` and ``NO_VALUE``; an
    empty string where none does.

    The text is in Unicode's composed form, so that texts which differ only in their form are equal.
    """
    for name in names:
        value = fields.get(name)
        if (
            value is None
            or value in ([], {}, ())
            or (text := str(value).strip()).casefold() in NOTHING
            or text in NO_VALUE
        ):
            continue
        return unicodedata.normalize("NFC", as_text(value, f"field {name!r}"))
    return ""


def as_text(value: Any, what: str) -> str:
    """Return a text or number as text: a whole number without the decimal point that data frames
    write beside an empty cell.

    Raise ``RowError``, which names ``what``, where it is no text or is empty.
    """
    if isinstance(value, DuplicateField):
        str(value)  # The call raises `RowError`.
    if not isinstance(value, str | int | float):
        kind = {list: "a list", tuple: "a list", type(None): "null"}.get(type(value), "an object")
        raise RowError(f"{what} is {kind}, not text")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    if not text or text in NO_VALUE:
        raise RowError(f"{what} is empty")
    if any(unicodedata.category(character) == "Cs" for character in text):
        raise RowError(f"{what} holds half a character (a lone surrogate)")
    return text
