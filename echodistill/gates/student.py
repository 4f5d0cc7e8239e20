"""Check a finished training: it logged every step, its losses are finite, and its rewards are not
all equal.
"""

import json
import math
from pathlib import Path
from typing import Any

from echodistill.core.errors import UserError
from echodistill.gates.expect import HOLDS, Between, Expect, Table, number, read_json


def student_checks(folder: Path) -> list[Expect]:
    """Return expectations about a student folder, from its ``run.json`` and ``metrics.jsonl``."""
    run = read_json(folder / "run.json", "steps")
    rows = _read_lines(folder / "metrics.jsonl")
    lines = range(1, len(rows) + 1)
    metrics = Table.of(
        "metrics",
        "line",
        {
            "line": lines,
            "step_follows": [
                row.get("step") == line for line, row in zip(lines, rows, strict=True)
            ],
            "loss_finite": [math.isfinite(number(row.get("loss"))) for row in rows],
        },
    )
    missing = Table.of(
        "run", "file", {"file": ["run.json"], "steps_missing": [number(run["steps"]) - len(rows)]}
    )
    checks = [
        metrics.expect("step_follows", HOLDS, "the logged steps count up from 1 without a gap"),
        metrics.expect(
            "loss_finite",
            HOLDS,
            "every training loss is a finite number",
            "lower the method's learning rate",
        ),
        missing.expect("steps_missing", Between(0, 0), "every step of the run is logged"),
    ]
    spreads = [spread for row in rows if math.isfinite(spread := number(row.get("reward_std")))]
    if any("reward_std" in row for row in rows):
        rewards = Table.of(
            "rewards", "name", {"name": ["reward_std"], "largest": [max(spreads, default=0.0)]}
        )
        # equal rewards give no advantage: the policy part of the loss then teaches nothing
        description = "the rewards are not all equal over the whole run"
        cure = (
            "the samples of a prompt are all right, or all wrong: raise train.temperature or"
            " train.rollouts"
        )
        checks.append(
            rewards.expect("largest", Between(0.0, strict_minimum=True), description, cure)
        )
    return checks


def _read_lines(path: Path) -> list[dict[str, Any]]:
    cure = "run `echodistill run train`"
    if not path.is_file():
        raise UserError(f"{path} is missing: {cure}")
    rows = []
    for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(text)
        except ValueError as error:
            raise UserError(f"{path}, line {line} is no JSON: {cure}") from error
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {line} is no JSON object: {cure}")
        rows.append(row)
    return rows
