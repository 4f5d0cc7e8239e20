"""What a gate expects, as data: a sentence, a column of a table, a rule. ``quality`` has it judged.

A fact about several rows becomes a derived column (e.g. a group's number of splits), so that the
offending rows can be named.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from echodistill.core.errors import UserError


@dataclass(frozen=True)
class Between:
    """Numbers from ``minimum`` to ``maximum``; a strict bound is itself outside."""

    minimum: float | None = None
    maximum: float | None = None
    strict_minimum: bool = False

    @property
    def bound(self) -> float | None:
        """The number to show beside a value: the maximum, or the minimum where there is none."""
        return self.minimum if self.maximum is None else self.maximum


@dataclass(frozen=True)
class InSet:
    values: tuple[str | bool | int, ...]


@dataclass(frozen=True)
class Unique:
    """No value twice."""


@dataclass(frozen=True)
class NotNull:
    """A value in every row. The other rules ask for that too: a missing number never passes for a
    good one.
    """


Rule = Between | InSet | Unique | NotNull
HOLDS = InSet((True,))
ROUNDING = 1e-9
"""Sums in another order differ in the last digit, and where all clips agree an interval has no
width.
"""


@dataclass(frozen=True, eq=False)
class Expect:
    """One expectation about one column."""

    table: str
    frame: pd.DataFrame
    id_column: str
    """Names offending rows."""
    column: str
    rule: Rule
    description: str
    """A sentence for people, e.g. ``no group in two splits``; unique within an artifact."""
    cure: str = ""
    """Why it may not be so, and what helps; said only where it is not so."""


@dataclass(frozen=True, eq=False)
class Table:
    """A frame under judgement. One without rows passes nothing."""

    name: str
    id_column: str
    frame: pd.DataFrame

    @classmethod
    def of(cls, name: str, id_column: str, columns: Mapping[str, Sequence[object]]) -> "Table":
        return cls(
            name,
            id_column,
            pd.DataFrame({column: list(values) for column, values in columns.items()}),
        )

    def expect(self, column: str, rule: Rule, description: str, cure: str = "") -> Expect:
        return Expect(self.name, self.frame, self.id_column, column, rule, description, cure)


def number(value: object) -> float:
    """``value`` as a float; NaN for anything that is no number, so that it fails whatever is
    expected of it.
    """
    return (
        float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    )


def in_interval(found: Mapping[str, Any] | None, tolerance: float = ROUNDING) -> bool:
    """Return whether a figure's ``value`` lies from ``low`` to ``high``; false where one is
    missing, since NaN compares false.
    """
    low, value, high = (number((found or {}).get(name)) for name in ("low", "value", "high"))
    return low - tolerance <= value <= high + tolerance


def read_json(path: Path, *keys: str) -> dict[str, Any]:
    """A JSON object that has ``keys``. Raises ``UserError`` naming the file and what is wrong with
    it.
    """
    cure = "delete it and run `echodistill run`"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is missing: run the stage that makes it with `echodistill run`"
        ) from error
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): {cure}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} does not hold a JSON object: {cure}")
    if missing := [key for key in keys if key not in content]:
        raise UserError(f"{path} has no {', '.join(missing)}: {cure}")
    return content
