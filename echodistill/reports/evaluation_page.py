"""Render the report of an evaluation without training as one self-contained HTML page."""

from echodistill.reports.evaluation_table import (
    evaluation_headline,
    evaluation_legend,
    evaluation_sentence,
    evaluation_tables,
)
from echodistill.reports.page import ReportPage, curves, template
from echodistill.systems import BASE, STUDENT


def render_evaluation(page: ReportPage) -> str:
    """Return the whole HTML document; text from data is escaped."""
    return template("evaluation.html").render(
        page.values(),
        highlighted=None,
        headline=evaluation_headline(page.table),
        lead=evaluation_sentence(page.table),
        tables=evaluation_tables(page.table),
        legend=" ".join(evaluation_legend(page.table)),
        curves=curves(page.table, (BASE, STUDENT)),
    )
