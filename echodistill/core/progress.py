"""Show the progress of long work: a bar with rate and remaining time on a terminal, a line every
few seconds elsewhere (logs, CI).
"""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 10.0


def bar(total: int, label: str, unit: str) -> tqdm:
    """Return a progress bar to advance with ``update``; it is hidden in the first two seconds."""
    interactive = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=label,
        unit=f" {unit}",
        delay=2.0,
        dynamic_ncols=interactive,
        mininterval=0.2 if interactive else SECONDS_BETWEEN_LINES,
        ascii=not interactive,
        file=sys.stderr,
    )


def track(items: Iterable[Item], total: int, label: str, unit: str) -> Iterator[Item]:
    """Yield ``items`` and show a progress bar."""
    with bar(total, label, unit) as shown:
        for item in items:
            yield item
            shown.update()
