"""Read and write ``metrics.jsonl``, which has one JSON object for each logged step.

This module imports nothing heavy.
"""

import json
import sys
from pathlib import Path

from echodistill.core.atomic import atomic_path
from echodistill.core.counted import counted

METRICS = "metrics.jsonl"
SHOWN = 5  # Number of damaged lines that a warning names.


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Return the logged steps in order, without damaged lines.

    A last line that a kill cut off is left out silently; a warning names the other damaged lines.
    """
    lines = path.read_bytes().splitlines() if path.exists() else []
    found = [_row(line) for line in lines]
    if damaged := [number for number, row in enumerate(found[:-1], start=1) if row is None]:
        numbers = ", ".join(map(str, damaged[:SHOWN])) + (" .." if len(damaged) > SHOWN else "")
        print(
            f"warning: {path}: {len(damaged)} of {counted(len(lines), 'line')}"
            f" {'is' if len(damaged) == 1 else 'are'} damaged and left out"
            f" ({numbers})",
            file=sys.stderr,
        )
    return [row for row in found if row is not None]


def _row(line: bytes) -> dict[str, float] | None:
    """Return a logged step, or ``None`` where the line is damaged."""
    try:
        row = json.loads(line)
    except ValueError:  # It is also raised for bytes that are not text.
        return None
    is_step = (
        isinstance(row, dict)
        and isinstance(row.get("step"), int)
        and all(isinstance(value, int | float) for value in row.values())
    )
    return row if is_step else None


def copy_until(path: Path, step: int, target: Path) -> None:
    """Write the lines up to ``step`` to ``target``, which may be ``path`` itself."""
    kept = [row for row in read_metrics(path) if row["step"] <= step]
    with atomic_path(target) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")


def trim_after(path: Path, step: int) -> None:
    """Remove the lines after ``step``, which a run that resumes from that step writes again."""
    copy_until(path, step, path)
