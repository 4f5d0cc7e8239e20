"""Print the table at the end of a run, from the reports that the run wrote."""

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
"""Width of the output in characters if it does not go to a terminal."""


def console() -> Console:
    """Return a console for the terminal, or one of fixed width if the output goes to a file."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else TABLE_WIDTH)


def result_table() -> None:
    """Print the figures of base and student of a training, and the decision."""
    decision = json.loads(PROMOTION.read_text(encoding="utf-8")) if PROMOTION.exists() else None
    table.result_table(json.loads(METRICS.read_text(encoding="utf-8")), decision, console())


def evaluation_table() -> None:
    """Print the results of an evaluation without training, and the path of its page."""
    print_evaluation(json.loads(EVALUATED.read_text(encoding="utf-8")), console())
    print(f"report: {EVALUATED.with_suffix('.html')}")
