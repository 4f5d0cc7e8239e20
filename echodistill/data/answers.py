"""Find the right choice of a manifest's row, which is given as its text, its letter, both ("(A)
red"), or its number.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_uppercase as LETTERS
from typing import Any, Literal

from echodistill.core.counted import counted as number_of
from echodistill.core.errors import UserError
from echodistill.data.choices import LABEL, Choices, label_of
from echodistill.data.fields import as_text
from echodistill.data.manifest import RowError
from echodistill.models.prompts import normalize_choice

AnswersAs = Literal["text", "letter", "number"]
"""How a manifest writes its answers, where that is known."""
_NUMBER = re.compile(r"([0-9]{1,3})(?:\.0+)?")
_QUANTITY = re.compile(r"[-+]?[0-9]{1,15}(?:\.[0-9]{1,15})?")


@dataclass
class _Counted:
    """Numeric answers of one manifest that are read as counted from a given number."""

    rows: int = 0
    zeros: list[str] = field(default_factory=list)
    """Places of the rows whose answer is 0."""
    last: list[str] = field(default_factory=list)
    """Places of the rows whose answer equals the number of choices."""


class Answers:
    """Reader of one manifest's answers, which notices where numbers seem to count from another
    number than the one they are read from.
    """

    def __init__(self, written_as: AnswersAs | None, first_number: int | None) -> None:
        """Store ``written_as``, the reading that is preferred where an answer has several, and
        ``first_number``, the first choice's number where ``corpus.answers_from`` states it.
        """
        self._written_as = written_as
        self._stated = first_number
        self._counted = {0: _Counted(), 1: _Counted()}

    def check(self, manifest: Path) -> None:
        """Raise ``UserError`` where the numbers seem to count from 1 and are read from 0, or the
        other way round.

        With the wrong reading some rows would be refused, and all others would silently be off by
        one choice.
        """
        if self._stated is not None:
            return
        for first, counted in self._counted.items():
            fit, off = (
                (counted.zeros, counted.last) if first == 0 else (counted.last, counted.zeros)
            )
            if off and len(off) >= len(fit):
                raise UserError(
                    f"{manifest}: {number_of(counted.rows, 'answer', 'is a number/are numbers')}"
                    f" that would be read as counted"
                    f" from {first}, yet {len(counted.zeros)} of them are 0 and {len(counted.last)}"
                    f" equal the number of choices ({off[0]}): they seem to count from {1 - first}."
                    f" State it: corpus.answers_from={1 - first}, or {first} where they do not"
                )

    def index(self, value: Any, asked: Choices, row: str) -> int:
        """Return the index of the right choice. Raise ``RowError`` where the answer names no
        choice, or may name several.
        """
        choices, text = asked.texts, as_text(value, "field 'answer'")
        names = [normalize_choice(choice) for choice in choices]
        letters = LETTERS[: len(choices)]
        always_numbers = self._written_as == "number"
        first_number = (
            self._stated
            if self._stated is not None
            else 0
            if always_numbers
            else asked.first_number
        )
        readings: dict[AnswersAs, set[int]] = {"text": set(), "number": set(), "letter": set()}
        if normalize_choice(text) in names:
            readings["text"] = {names.index(normalize_choice(text))}
        elif _QUANTITY.fullmatch(text):  # The answer 2 names the choice 2.0.
            readings["text"] = {
                index
                for index, name in enumerate(names)
                if _QUANTITY.fullmatch(name) and float(name) == float(text)
            }
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        written = _NUMBER.fullmatch(text)
        if written and (is_number or always_numbers or not readings["text"]):
            number = int(written[1])
            readings["number"] = {number - first_number} & set(range(len(choices)))
            if (
                always_numbers or not (readings["text"] or asked.labels)
            ) and first_number in self._counted:
                self._note(self._counted[first_number], number, len(choices), row)
        if (bare := re.fullmatch(r"\(?([A-Za-z])[.):]?", text)) and bare[1].upper() in letters:
            readings["letter"] = {letters.index(bare[1].upper())}
        label = text.strip("().:").upper()
        labelled = {
            index
            for index, name in enumerate(asked.labels)
            if not readings["text"] and label == name
        }
        if (
            asked.labels
            and not labelled
            and readings["letter"] | readings["number"]
            and not readings["text"]
        ):
            raise RowError(
                f"answer {text!r} is no label of the choices {list(choices)}, and they have labels"
            )
        if labelled and labelled != (readings["letter"] | readings["number"] or labelled):
            raise RowError(
                f"answer {text!r} is the label of one choice of {list(choices)} and the place of"
                " another: label them A, B, C .. in order, or write the choice's text"
            )
        named = (
            (readings[self._written_as] if self._written_as else set())
            or set.union(*readings.values())
            or labelled
        )
        if (
            (match := LABEL.match(text))
            and not named
            and (behind := normalize_choice(text[match.end() :])) in names
        ):
            named = {names.index(behind)}
            if label_of(match) not in (
                letters[names.index(behind)],
                str(names.index(behind) + first_number),
            ):
                raise RowError(
                    f"answer {text!r}: the letter is not that choice's letter among {list(choices)}"
                )
        if len(named) > 1:
            raise RowError(
                f"answer {text!r} is the text of one choice and the letter or number of another:"
                " write '(B) red'"
            )
        if not named:
            raise RowError(f"answer {text!r} is not among the choices {list(choices)}")
        return named.pop()

    @staticmethod
    def _note(counted: _Counted, number: int, choices: int, row: str) -> None:
        counted.rows += 1
        if number == 0:
            counted.zeros.append(row)
        elif number == choices:
            counted.last.append(row)
