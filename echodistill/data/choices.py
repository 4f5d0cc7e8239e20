"""Read the choices of a manifest's row from a list, its JSON, Python or NumPy text, or from
columns, and remove labels that are in order.
"""

import ast
import io
import json
import re
import tokenize
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from string import ascii_uppercase as LETTERS
from typing import Any

from echodistill.core.counted import counted
from echodistill.data.fields import NO_VALUE, as_text, missing
from echodistill.data.manifest import DuplicateField, Fields, RowError
from echodistill.models.prompts import normalize_choice

LABEL = re.compile(
    r"(?:[(（]([A-Za-z]|\d{1,2})[)）]\s*|([A-Za-z]|\d{1,2})(?:[.):]\s+|[.)](?=[^\W\d]{2})|[．）：、]\s*))(?=\S)"
)
_WRAPPER = re.compile(r"np|numpy|array|str_|bytes_|u?int\d+|float\d+")
"""Names with which NumPy prints the type of a value: ``array(['a', 'b'], dtype=object)``,
``[np.str_('a'), np.str_('b')]``.
"""


@dataclass(frozen=True)
class Choices:
    """The choices of one question."""

    texts: tuple[str, ...]
    """Texts of the choices, without their labels where these are A, B, C .. or 1, 2, 3 .. in
    order.
    """
    first_number: int
    """Number of the first choice."""
    labels: tuple[str, ...] = ()
    """Labels that are in another order or have gaps. They are left in the texts, and determine
    which choice a letter or number means.
    """


def choices_of(fields: Fields) -> Choices:
    """Return a row's choices. Raise ``RowError`` where they are not a list of 2 to 26 different
    texts.
    """
    first_number = 0
    if "choices" in fields:
        raw = _parsed_list(fields["choices"])
    else:
        raw, first_number = _column_choices(fields)
    choices = [as_text(choice, f"choice {number}") for number, choice in enumerate(raw, start=1)]
    if not 2 <= len(choices) <= len(LETTERS):
        raise RowError(f"{counted(len(choices), 'choice')}; 2 to {len(LETTERS)} can be asked")
    matches = [match for choice in choices if (match := LABEL.match(choice))]
    labels = tuple(label_of(match) for match in matches) if len(matches) == len(choices) else ()
    numbers = [[str(number) for number in range(first, first + len(choices))] for first in (0, 1)]
    bare = [choice[match.end() :] for choice, match in zip(choices, matches, strict=False)]
    # Choices such as "1: 30 pm" and "2: 30 pm" are no labelled choices: they would all be "30 pm".
    numbered = list(labels) in numbers and len(
        {normalize_choice(choice) for choice in bare}
    ) == len(choices)
    if numbered or list(labels) == list(LETTERS[: len(choices)]):
        choices = bare
        first_number = int(labels[0]) if labels[0].isdigit() else first_number
        labels = ()
    names = [normalize_choice(choice) for choice in choices]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise RowError(f"choice {repeated[0]!r} is given twice")
    return Choices(tuple(choices), first_number, labels)


def has_choices(fields: Fields) -> bool:
    """Return whether a row gives any choice, in a list or in columns."""
    return any(
        value is not None and str(value).strip() not in ("", "[]", "()", *NO_VALUE)
        for name, value in fields.items()
        if name.startswith("choice") or name in ("a", "b")
    )


def label_of(match: re.Match[str]) -> str:
    """Return the letter or number that a match of ``LABEL`` found."""
    return (match[1] or match[2]).upper()


def _parsed_list(value: Any) -> Sequence[Any]:
    if isinstance(value, str | DuplicateField):
        value = _parsed(str(value))
    if not isinstance(value, list | tuple) or any(
        isinstance(choice, list | tuple) for choice in value
    ):
        raise RowError("field 'choices' is no list of texts: write ['red', 'blue']")
    return value


def _parsed(text: str) -> Any:
    """Return the list that ``text`` writes, or ``text`` itself where it writes none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    # This precedes Python's own reading, which would join the texts of ['red' 'blue'] into one.
    with suppress(ValueError, SyntaxError, tokenize.TokenError):
        if (printed := _printed_list(text)) is not None:
            return printed
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _printed_list(text: str) -> list[Any] | None:
    """Return the list of texts and numbers that Python or NumPy prints as ``text``, or ``None`` for
    anything else.

    Raise ``RowError`` where only some of the items are separated by commas. Text that is not Python
    may also raise ``SyntaxError``, ``ValueError`` or ``TokenError``.
    """
    items: list[Any] = []
    commas, depth = 0, 0
    end, sign = (0, 0), ""
    for token in tokenize.generate_tokens(io.StringIO(text.strip()).readline):
        touches, end = token.start == end, token.end
        if token.type in (tokenize.STRING, tokenize.NUMBER) and depth == 1:
            if sign and token.type == tokenize.STRING:
                return None
            item = ast.literal_eval(sign + token.string)
            items.append(item.decode("utf-8", "replace") if isinstance(item, bytes) else item)
            sign = ""
        elif token.type == tokenize.NAME and token.string == "dtype":
            break
        elif token.type == tokenize.OP and token.string in ("[", "]"):
            depth += 1 if token.string == "[" else -1
        elif token.type == tokenize.OP and token.string == ",":
            commas += depth
        elif token.type == tokenize.OP and token.string in ("+", "-"):
            if touches and items:  # The text "1-2" is not a list of 1 and -2.
                return None
            sign = token.string
        elif token.type in (tokenize.NAME, tokenize.OP):
            if token.string not in ("(", ")", ".") and not _WRAPPER.fullmatch(token.string):
                return None
        elif token.type not in (tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER):
            return None
    if depth or not items:
        return None
    if 0 < commas < len(items) - 1:
        raise RowError(
            "field 'choices' has two texts without a comma between: write ['red', 'blue']"
        )
    return items


def _column_choices(fields: Fields) -> tuple[list[Any], int]:
    """Return the choices in columns, and the number of the first one.

    Raise ``RowError`` where a column between others is empty, since later letters would shift.
    """
    for names, first_number in (
        ([f"choice_{letter}" for letter in LETTERS.lower()], 0),
        (list(LETTERS.lower()), 0),
        *(
            ([f"choice_{number}" for number in range(first, first + len(LETTERS))], first)
            for first in (0, 1)
        ),
    ):
        if names[0] == "choice_0" and names[0] not in fields:
            continue  # The columns are numbered from 1.
        if found := [
            name for name in names if name in fields and str(fields[name]) not in NO_VALUE
        ]:
            if found != names[: len(found)]:
                raise RowError(f"choices are in {', '.join(found)}: one between is empty")
            return [fields[name] for name in found], first_number
    raise missing(fields, "choices")
