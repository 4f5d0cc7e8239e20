"""Check that a written decision matches the answers it was made from, and follows from its own
figures.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from echodistill.champion_answers import ANSWERS, STATUS, read_status
from echodistill.core.records import Answer, read_rows
from echodistill.evaluation.criteria import AGAINST_BASE, AGAINST_CHAMPION, CRITERIA, Criterion
from echodistill.gates.expect import (
    HOLDS,
    Expect,
    Table,
    in_interval,
    number,
    read_json,
)

BASE, STUDENT, CHAMPION = "base.parquet", "student.parquet", "champion"
"""Names below the folder of the decision's answers."""


def promotion_checks(path: Path, answers: Path) -> list[Expect]:
    """Return expectations about a decision: it was made from these answers, weighs all criteria
    that apply, and follows from them.
    """
    promotion = read_json(path, "promote", "champion", "criteria", "obstacles", "inputs_sha256")
    status = read_status(answers / CHAMPION)
    rows = promotion["criteria"]
    known = {criterion.name: criterion for criterion in CRITERIA}
    shared = [(row, known[row["name"]]) for row in rows if row.get("name") in known]
    has_answers = bool(read_rows(answers / STUDENT, Answer))
    wanted = _wanted(has_answers, status.has_answered)
    decision = Table.of(
        "decision",
        "file",
        {
            "file": [path.name],
            "criteria_complete": [
                Counter(str(row.get("name")) for row in rows) == Counter(one.name for one in wanted)
            ],
            "champion_agrees": [promotion["champion"].get("version") == status.version],
            "obstacles_stated": [
                bool(promotion["obstacles"]) or (has_answers and not status.fault)
            ],
            "promote_agrees": [promotion["promote"] == _is_promotable(promotion)],
            "inputs_agree": [promotion["inputs_sha256"] == _hashes(answers)],
        },
    )
    found = [
        decision.expect(
            "criteria_complete", HOLDS, "the decision weighs every criterion that applies once"
        ),
        decision.expect(
            "champion_agrees",
            HOLDS,
            "the decision names the champion whose answers it was made from",
        ),
        decision.expect(
            "obstacles_stated",
            HOLDS,
            "a decision without answers of the student or the champion names the obstacle",
        ),
        decision.expect(
            "promote_agrees",
            HOLDS,
            "the student is promoted where there is no obstacle and all criteria are met",
        ),
        decision.expect("inputs_agree", HOLDS, "the decision was made from these answers"),
    ]
    if not wanted:
        return found
    criteria = Table.of(
        "criteria",
        "name",
        {
            "name": [row["name"] for row, _ in shared],
            "in_interval": [in_interval(row, tolerance=0.0) for row, _ in shared],
            "met_agrees": [row.get("met") == _is_met(row, criterion) for row, criterion in shared],
        },
    )
    return [
        criteria.expect("in_interval", HOLDS, "every criterion's value lies within its interval"),
        criteria.expect(
            "met_agrees",
            HOLDS,
            "a criterion counts as met where its interval's low end reaches its bound",
        ),
        *found,
    ]


def _wanted(has_answers: bool, champion_answered: bool) -> tuple[Criterion, ...]:
    if not has_answers:
        return ()
    return (*AGAINST_BASE, *AGAINST_CHAMPION) if champion_answered else AGAINST_BASE


def _is_promotable(promotion: Mapping[str, Any]) -> bool:
    rows = promotion["criteria"]
    return bool(rows) and not promotion["obstacles"] and all(row.get("met") is True for row in rows)


def _is_met(row: Mapping[str, Any], criterion: Criterion) -> bool:
    return criterion.is_met(number(row.get("low")), number(row.get("bound")))


def _hashes(answers: Path) -> dict[str, str]:
    names = (BASE, STUDENT, f"{CHAMPION}/{ANSWERS}", f"{CHAMPION}/{STATUS}")
    return {name: hashlib.sha256((answers / name).read_bytes()).hexdigest() for name in names}
