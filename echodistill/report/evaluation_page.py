"""The report of an evaluation without training as one page of HTML that needs nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from echodistill.records import Quarantined
from echodistill.report.charts import bars
from echodistill.report.evaluation_table import evaluation_headline, evaluation_legend, evaluation_sentence, evaluation_tables
from echodistill.report.page import SHOWN_FAILURES, Failure, curves, failure_rows, style, template
from echodistill.report.sentences import few_units_warning
from echodistill.systems import BASE, STUDENT


@dataclass(frozen=True)
class EvaluationPage:
    """All that the page shows."""

    table: Mapping[str, Any]
    """``reports/evaluation.json``."""
    domains: Sequence[tuple[str, float, float, float]]
    """Kind of question, and the base's accuracy on it with its interval, in %."""
    failures: Sequence[Failure]
    asked: int
    """Answers among which the failures are."""
    quarantined: Sequence[Quarantined]
    facts: Sequence[tuple[str, str]]
    """How it was made: name and value."""


def render_evaluation(page: EvaluationPage) -> str:
    """Return the whole document; what comes from data is escaped."""
    failures = failure_rows(page.failures)
    return template("evaluation.html").render(
        style=style(),
        ours=None,
        headline=evaluation_headline(page.table),
        lead=evaluation_sentence(page.table),
        warning=few_units_warning(page.table),
        tables=evaluation_tables(page.table),
        legend=" ".join(evaluation_legend(page.table)),
        curves=curves(page.table, (BASE, STUDENT)),
        domains=Markup(bars(page.domains, "%")) if page.domains else "",
        failures=failures,
        shown_failures=failures[:SHOWN_FAILURES],
        asked=page.asked,
        quarantined=[(one.row, one.reason) for one in page.quarantined],
        facts=page.facts,
    )
