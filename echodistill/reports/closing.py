"""What a run prints last: its table, from the reports that it wrote."""

import json
import sys
from pathlib import Path

from rich.console import Console

from echodistill.reports import table
from echodistill.reports.evaluation_table import print_evaluation

REPORTS = Path("reports")
METRICS, PROMOTION, EVALUATED = (
    REPORTS / "metrics.json",
    REPORTS / "promotion.json",
    REPORTS / "evaluation.json",
)
TABLE_WIDTH = 136
"""Characters, where no terminal says how many it has."""


def console() -> Console:
    """Return the terminal, or a wide page where the output goes to a file."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else TABLE_WIDTH)


def result_table() -> None:
    """Print base and student of a training, and the decision."""
    decision = json.loads(PROMOTION.read_text(encoding="utf-8")) if PROMOTION.exists() else None
    table.result_table(json.loads(METRICS.read_text(encoding="utf-8")), decision, console())


def evaluation_table() -> None:
    """Print what an evaluation without training came to, and where its page is."""
    print_evaluation(json.loads(EVALUATED.read_text(encoding="utf-8")), console())
    print(f"report: {EVALUATED.with_suffix('.html')}")
