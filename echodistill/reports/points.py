"""Write points of curves as CSV for ``dvc plots``."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from echodistill.core.atomic import atomic_path


def write_points(path: Path, points: Sequence[Mapping[str, str | float]]) -> None:
    """Write one row for each point; the columns are those of the first point."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(points[0]))
        writer.writeheader()
        writer.writerows(points)
