"""Which code and data a result comes from, and its headline figures: what the registry records about a model."""

import hashlib
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from echodistill.errors import UserError


@dataclass(frozen=True)
class Lineage:
    """Which code and data a run comes from."""

    git: Mapping[str, str]
    """From ``git_facts``."""
    lock_sha256: str
    """Of ``dvc.lock``."""
    inputs: Mapping[str, str]
    """DVC's hash of each input, by path."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """More tags, such as the orchestrator's run id."""


def git_facts(folder: Path) -> dict[str, str]:
    """``rev`` and ``dirty`` (``true``, ``false``) of a work tree; ``unknown`` outside git.

    ``dvc.lock`` changes with every pipeline run and has a tag of its own, so it does not make a tree dirty.
    """
    try:
        rev = _git(folder, "rev-parse", "HEAD").strip()
        changes = _git(folder, "status", "--porcelain", "--", ".", ":(exclude)dvc.lock")
    except (OSError, subprocess.CalledProcessError):
        return {"rev": "unknown", "dirty": "unknown"}
    return {"rev": rev, "dirty": str(bool(changes.strip())).lower()}


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def read_lineage(folder: Path, stage: str, tags: Mapping[str, str] | None = None) -> Lineage:
    """What git and ``dvc.lock`` in ``folder`` know about a stage's inputs; code files are left out, the revision stands for them."""
    lock = folder / "dvc.lock"
    if not lock.is_file():
        raise UserError(f"{lock} is missing: run `echodistill run`")
    content = lock.read_bytes()
    entry = (yaml.safe_load(content) or {}).get("stages", {}).get(stage)
    if entry is None:
        raise UserError(f"{lock} has no stage {stage!r}: run `echodistill run`")
    inputs = {dep["path"]: str(dep.get("md5", "unknown")) for dep in entry.get("deps", []) if not dep["path"].endswith(".py")}
    return Lineage(git_facts(folder), hashlib.sha256(content).hexdigest(), inputs, tags or {})


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
