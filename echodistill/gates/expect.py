"""Represent a gate's expectations as data: a sentence, a column of a table, a rule.
``gates.runner`` judges them.

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
    """The numbers are from ``minimum`` to ``maximum``; with ``strict_minimum`` the minimum itself
    is excluded.
    """

    minimum: float | None = None
    maximum: float | None = None
    strict_minimum: bool = False

    @property
    def bound(self) -> float | None:
        """The bound to show beside a value: the maximum, or the minimum if there is none."""
        return self.minimum if self.maximum is None else self.maximum


@dataclass(frozen=True)
class InSet:
    values: tuple[str | bool | int, ...]


@dataclass(frozen=True)
class Unique:
    """No value occurs twice."""


@dataclass(frozen=True)
class NotNull:
    """Every row has a value. The other rules require that too, so that a missing number never
    passes.
    """


Rule = Between | InSet | Unique | NotNull
HOLDS = InSet((True,))
ROUNDING = 1e-9
"""Tolerance for rounding: sums in another order differ in the last digit, and an interval has no
width if all clips agree.
"""


@dataclass(frozen=True, eq=False)
class Expect:
    """One expectation about one column."""

    table: str
    frame: pd.DataFrame
    id_column: str
    """Column whose values name offending rows."""
    column: str
    rule: Rule
    description: str
    """Sentence for people, e.g. ``no group in two splits``; unique within an artifact."""
    cure: str = ""
    """Possible reason of a failure and its remedy; shown only on failure."""


@dataclass(frozen=True, eq=False)
class Table:
    """A named table of rows to check. A table without rows fails every expectation."""

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
    """Return ``value`` as a float; NaN for anything that is no number, so that it fails every
    expectation.
    """
    return (
        float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    )


def in_interval(found: Mapping[str, Any] | None, tolerance: float = ROUNDING) -> bool:
    """Return whether a figure's ``value`` is from ``low`` to ``high``; false if one is missing,
    since comparisons with NaN are false.
    """
    low, value, high = (number((found or {}).get(name)) for name in ("low", "value", "high"))
    return low - tolerance <= value <= high + tolerance


def read_json(path: Path, *keys: str) -> dict[str, Any]:
    """Return the JSON object in the file ``path``. Raise ``UserError`` that names the file and the
    fault if it is missing, damaged or lacks one of ``keys``.
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
