"""What a student must reach to be promoted, and whether a written decision is true to it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echodistill.gates.expect import HOLDS, Between, Expect, Table, number, read_json
from echodistill.params import Params

TOLERANCE = 1e-6  # a written value may have been rounded


@dataclass(frozen=True)
class Criterion:
    """One figure of ``metrics["difference"]`` (student less base) that a promotion hangs on."""

    says: str
    """Names the criterion in ``promotion.json`` too."""
    metric: str
    part: str
    """``value``, or ``low``: the lower end of the paired interval."""
    strict: bool
    """The bound itself does not count as met."""

    def read(self, metrics: dict[str, Any]) -> float:
        return number(metrics["difference"].get(self.metric, {}).get(self.part))


CRITERIA = (
    Criterion("Acc in noise is better than the base's: the low end of the difference lies above 0", "acc", "low", strict=True),
    Criterion("GSR in noise is better than the base's: the low end of the difference lies above 0", "gsr", "low", strict=True),
    Criterion("clean accuracy does not fall by more than the margin", "clean_acc", "value", strict=False),
)


def promotion_criteria(metrics: dict[str, Any], params: Params) -> list[Expect]:
    """What promotes a student, one expectation a criterion, in the order of ``CRITERIA``."""
    columns = {f"{row.metric}_{row.part}": [row.read(metrics)] for row in CRITERIA}
    table = Table.of("difference", "name", {"name": ["student less base"], **columns})
    bounds = (0.0, 0.0, -params.promote.clean_acc_margin)
    return [
        table.expect(f"{row.metric}_{row.part}", Between(bound, strict_minimum=row.strict), row.says)
        for row, bound in zip(CRITERIA, bounds, strict=True)
    ]


def promotion_checks(path: Path, metrics_path: Path) -> list[Expect]:
    """Expectations about a written decision: made from these metrics, by these criteria, and following from them."""
    promotion = read_json(path, "promote", "criteria", "metrics_sha256")
    metrics = read_json(metrics_path, "difference")
    known = {criterion.says: criterion for criterion in CRITERIA}
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
