"""What a student must reach to be promoted, and whether a written decision is true to it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echodistill.gates.expect import HOLDS, Between, Expect, Table, number, read_json
from echodistill.params import Params

TOLERANCE = 1e-6  # a written value may have been rounded


@dataclass(frozen=True)
class Criterion:
    """One figure of ``metrics["difference"]`` (student less base) that a promotion hangs on."""

    name: str
    metric: str
    part: str
    """``value``, or ``low``: the lower end of the paired interval."""
    strict: bool
    """The bound itself does not count as met."""

    def read(self, metrics: dict[str, Any]) -> float:
        return number(metrics["difference"].get(self.metric, {}).get(self.part))


CRITERIA = (
    Criterion("acc_low", "acc", "low", strict=True),
    Criterion("gsr_low", "gsr", "low", strict=True),
    Criterion("clean_acc", "clean_acc", "value", strict=False),
)


def promotion_criteria(metrics: dict[str, Any], params: Params) -> list[Expect]:
    """What promotes a student, one expectation a criterion, in the order of ``CRITERIA``."""
    margin = params.promote.clean_acc_margin
    table = Table.of(
        "criteria", "name", {"name": ["student less base"], **{row.name: [row.read(metrics)] for row in CRITERIA}}
    )
    above_zero = Between(0.0, strict_minimum=True)
    return [
        table.expect("acc_low", above_zero, "Acc in noise is better than the base's, its interval above 0"),
        table.expect("gsr_low", above_zero, "GSR in noise is better than the base's, its interval above 0"),
        table.expect("clean_acc", Between(-margin), f"clean accuracy falls by at most {margin:g}"),
    ]


def decided(checks: Sequence[Expect], met: Sequence[bool]) -> list[dict[str, Any]]:
    """The rows for ``promotion.json``: each criterion's name, value, bound, and whether it was met."""
    rows = []
    for check, is_met in zip(checks, met, strict=True):
        assert isinstance(check.rule, Between)
        value = float(check.frame[check.column].iloc[0])
        rows.append({"name": check.column, "value": value, "bound": check.rule.minimum, "met": is_met})
    return rows


def promotion_checks(path: Path, metrics_path: Path) -> list[Expect]:
    """Expectations about a written decision: made from these metrics, by these criteria, and following from them."""
    promotion = read_json(path, "promote", "criteria", "metrics_sha256")
    metrics = read_json(metrics_path, "difference")
    known = {criterion.name: criterion for criterion in CRITERIA}
    rows = promotion["criteria"]
    shared = [(row, known[row["name"]]) for row in rows if row.get("name") in known]
    criteria = Table.of(
        "criteria",
        "name",
        {
            "name": [row["name"] for row, _ in shared],
            "value_agrees": [_same(number(row.get("value")), criterion.read(metrics)) for row, criterion in shared],
            "met_agrees": [row.get("met") == _is_met(row, criterion) for row, criterion in shared],
        },
    )
    decision = Table.of(
        "decision",
        "file",
        {
            "file": [path.name],
            "criteria_complete": [sorted(str(row.get("name")) for row in rows) == sorted(known)],
            "promote_agrees": [promotion["promote"] == all(row.get("met") is True for row in rows)],
            "metrics_agree": [promotion["metrics_sha256"] == hashlib.sha256(metrics_path.read_bytes()).hexdigest()],
        },
    )
    return [
        criteria.expect("value_agrees", HOLDS, "every criterion's value is the one in the metrics"),
        criteria.expect("met_agrees", HOLDS, "a criterion counts as met where its value reaches its bound"),
        decision.expect("criteria_complete", HOLDS, "the decision weighs every criterion once"),
        decision.expect("promote_agrees", HOLDS, "the student is promoted where all criteria are met, and only there"),
        decision.expect("metrics_agree", HOLDS, "the decision was made from these metrics"),
    ]


def _same(written: float, computed: float) -> bool:
    return abs(written - computed) <= TOLERANCE


def _is_met(row: dict[str, Any], criterion: Criterion) -> bool:
    value, bound = number(row.get("value")), number(row.get("bound"))
    return value > bound if criterion.strict else value >= bound
