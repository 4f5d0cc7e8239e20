"""Which code and data a result comes from, and its headline figures: what the registry records about a model."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from echodistill.errors import UserError


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
    """What ``dvc.lock`` in ``folder`` knows about a stage's inputs; code files are left out, the git revision stands for them."""
    lock = folder / "dvc.lock"
    if not lock.is_file():
        raise UserError(f"{lock} is missing: run `echodistill run`")
    content = lock.read_bytes()
    entry = (yaml.safe_load(content) or {}).get("stages", {}).get(stage)
    if entry is None:
        raise UserError(f"{lock} has no stage {stage!r}: run `echodistill run`")
    inputs = {dep["path"]: str(dep.get("md5", "unknown")) for dep in entry.get("deps", []) if not dep["path"].endswith(".py")}
    return Lineage(hashlib.sha256(content).hexdigest(), inputs, tags or {})


def headline(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The top figures of ``reports/metrics.json`` as flat numbers: ``student.acc``, ``difference.acc``, ``difference.acc.low``."""
    flat: dict[str, float] = {}
    for system in ("base", "student"):
        numbers = {name: value for name, value in metrics[system].items() if isinstance(value, int | float)}
        flat |= {f"{system}.{name}": float(value) for name, value in numbers.items()}
    for name, interval in metrics["difference"].items():
        for end, value in interval.items():
            if isinstance(value, int | float):
                flat[f"difference.{name}" if end == "value" else f"difference.{name}.{end}"] = float(value)
    return flat
