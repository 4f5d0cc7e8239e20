"""Collect what the registry records about a model: its code, its data and its headline figures."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from echodistill.core.errors import UserError
from echodistill.lineage.dvc_lock import LOCK, read_lock

FLOW_RUN = {
    "prefect.flow_run_id": "ECHODISTILL_FLOW_RUN_ID",
    "prefect.flow_run_url": "ECHODISTILL_FLOW_RUN_URL",
}
"""Names of tags, with the variables that a flow sets for the commands it starts."""


@dataclass(frozen=True)
class Lineage:
    """The code and data from which a run was made."""

    lock_sha256: str
    """SHA-256 of ``dvc.lock``."""
    inputs: Mapping[str, str]
    """DVC's hash of each input, by path."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Further tags, such as the orchestrator's run id."""


def read_lineage(folder: Path, stage: str, tags: Mapping[str, str] | None = None) -> Lineage:
    """Return a stage's inputs from ``dvc.lock`` in ``folder``.

    Raise ``UserError`` where the lock has no such stage.
    """
    lock = read_lock(folder)
    if stage not in lock.stages:
        raise UserError(f"{folder / LOCK} has no stage {stage!r}: run `echodistill run`")
    return Lineage(lock.sha256, lock.stages[stage].deps, tags or {})


def flow_run_tags() -> dict[str, str]:
    """Return the id and URL of the flow run to which this process belongs; empty outside a flow
    run.
    """
    return {tag: value for tag, variable in FLOW_RUN.items() if (value := os.environ.get(variable))}


def headline(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the top figures of ``reports/metrics.json`` as flat numbers.

    Their names are of the form ``student.acc``, ``difference.acc``, ``difference.acc.low``.
    """
    flat: dict[str, float] = {}
    for system in ("base", "student"):
        numbers = {
            name: value for name, value in metrics[system].items() if isinstance(value, int | float)
        }
        flat |= {f"{system}.{name}": float(value) for name, value in numbers.items()}
    for name, interval in metrics["difference"].items():
        for end, value in interval.items():
            if isinstance(value, int | float):
                flat[f"difference.{name}" if end == "value" else f"difference.{name}.{end}"] = (
                    float(value)
                )
    return flat
