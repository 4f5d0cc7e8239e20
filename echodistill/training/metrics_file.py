"""``metrics.jsonl``: one JSON object a logged step. Imports nothing heavy."""

import json
from pathlib import Path

from echodistill.atomic import atomic_path

METRICS = "metrics.jsonl"


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The logged steps in order. A last line cut by a kill is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def copy_until(path: Path, step: int, target: Path) -> None:
    """Write the lines up to ``step`` to ``target``, which may be ``path`` itself."""
    kept = [row for row in read_metrics(path) if row["step"] <= step]
    with atomic_path(target) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")


def trim_after(path: Path, step: int) -> None:
    """Drop lines past ``step``, which a run resumed from that step will write again."""
    copy_until(path, step, path)
