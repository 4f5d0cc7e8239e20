"""Which code and data a result comes from, and its headline figures: what the registry records
about a model.
"""

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
"""Tags by the variables that a flow sets for what it starts."""


@dataclass(frozen=True)
class Lineage:
    """Which code and data a run comes from."""

    lock_sha256: str
    """Of ``dvc.lock``."""
    inputs: Mapping[str, str]
    """DVC's hash of each input, by path."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """More tags, such as the orchestrator's run id."""


def read_lineage(folder: Path, stage: str, tags: Mapping[str, str] | None = None) -> Lineage:
    """Return what ``dvc.lock`` in ``folder`` knows about a stage's inputs."""
    lock = read_lock(folder)
    if stage not in lock.stages:
        raise UserError(f"{folder / LOCK} has no stage {stage!r}: run `echodistill run`")
    return Lineage(lock.sha256, lock.stages[stage].deps, tags or {})


def flow_run_tags() -> dict[str, str]:
    """Id and URL of the flow run this process belongs to; none outside one."""
    return {tag: value for tag, variable in FLOW_RUN.items() if (value := os.environ.get(variable))}


def headline(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The top figures of ``reports/metrics.json`` as flat numbers: ``student.acc``,
    ``difference.acc``, ``difference.acc.low``.
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
