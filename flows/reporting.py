"""Write what the Prefect UI shows: a running stage's progress, and at the end the result table with
its links.
"""

import io
import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from rich.console import Console

from echodistill.lineage.outputs import COMPARISON_PUBLISHED, PUBLISHED
from echodistill.lineage.publish import REGISTERED
from echodistill.reports.compare_table import legend, markdown, tables
from echodistill.reports.evaluation_table import (
    evaluation_legend,
    evaluation_sentence,
    evaluation_tables,
)
from echodistill.reports.page import headline, sentence
from echodistill.reports.sentences import few_units_warning
from echodistill.reports.table import result_table
from echodistill.storage.place import DVC, parse_place
from echodistill.tracking.client import tracking_uri, without_credentials
from flows.graph import EVALUATION, PIPELINE
from flows.stage_process import StageRun

SECONDS_BETWEEN_UPDATES = 2.0
# The wait is long, because each attempt may wait as long for the server.
SECONDS_AFTER_A_FAILURE = 60.0


class StageProgress:
    """A progress artifact for each bar of a stage, updated at most every two seconds.

    Where the server cannot be reached, this is logged once and the stage continues.
    """

    def __init__(self, stage: str, log: Callable[[str], None]) -> None:
        self._stage = stage
        self._log = log
        self._failed = False
        self._artifacts: dict[str, UUID] = {}
        self._next_s = 0.0

    def __call__(self, label: str, percent: float) -> None:
        resting = time.monotonic() < self._next_s
        if resting and (self._failed or (label in self._artifacts and percent < 100)):
            return
        try:
            self._show(label, percent)
            self._failed = False
            self._next_s = time.monotonic() + SECONDS_BETWEEN_UPDATES
        # The client raises many kinds of error, from a refused connection to an unknown answer.
        except Exception as error:
            if not self._failed:
                self._log(f"progress of {self._stage} cannot be shown: {error}")
            self._failed = True
            self._next_s = time.monotonic() + SECONDS_AFTER_A_FAILURE

    def _show(self, label: str, percent: float) -> None:
        if label in self._artifacts:
            update_progress_artifact(self._artifacts[label], progress=percent)
            return
        key = artifact_key(f"{self._stage}-progress")
        made = create_progress_artifact(progress=percent, key=key, description=label)
        assert isinstance(made, UUID)  # The result is a coroutine only where the caller is one.
        self._artifacts[label] = made


def artifact_key(name: str) -> str:
    """Return ``name`` in lower-case letters, digits and dashes, the only characters that Prefect
    takes.
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def report_result(
    workspace: Path, reports: Path, runs: Sequence[StageRun], registered: str, pipeline: str
) -> None:
    """Create a markdown artifact with the result table, the decision about each stage and all
    links.

    ``reports`` is the folder in which the reports are kept, ``registered`` the message of the
    registration in MLflow, and ``pipeline`` the graph that ran.
    """
    markdown = result_markdown(workspace, reports, runs, registered, pipeline)
    create_markdown_artifact(markdown=markdown, key="result", description="EchoDistill result")


def result_markdown(
    workspace: Path, reports: Path, runs: Sequence[StageRun], registered: str, pipeline: str
) -> str:
    """Return the text of the artifact that ``report_result`` creates."""
    one_student = pipeline == PIPELINE
    shown = {PIPELINE: _result, EVALUATION: _evaluation}.get(pipeline, _comparison)
    # Only one student has a page.
    page = _read(workspace / REGISTERED).get("page") if one_student else ""
    rows = "\n".join(f"| {run.name} | {run.decision} | {run.seconds:.0f} |" for run in runs)
    pages = sorted(page for page in reports.glob("data_docs/*/index.html"))
    docs = "\n".join(f"- Data Docs: `{page}`" for page in pages)
    stored = "\n".join(
        f"- S3: `{path}` is `{address}`"
        for path, address in _addresses(workspace, one_student).items()
        if pipeline != EVALUATION
    )
    return (
        f"{shown(workspace)}\n\n{registered}\n\n"
        f"- MLflow: {_link(page or without_credentials(tracking_uri()))}\n"
        f"- Report: `{reports}`\n{docs}\n{stored}\n\n"
        f"| stage | DVC's decision | seconds |\n|---|---|---|\n{rows}\n"
    )


def _result(workspace: Path) -> str:
    """Return the result table as the terminal shows it."""
    plain = io.StringIO()
    decision = _read(workspace / "reports/promotion.json")
    result_table(
        _read(workspace / "reports/metrics.json"),
        decision,
        Console(file=plain, width=100, no_color=True),
    )
    return f"```\n{plain.getvalue().rstrip()}\n```"


def _evaluation(workspace: Path) -> str:
    """Return the tables of an evaluation without training, below a sentence with the result."""
    table = _read(workspace / "reports/evaluation.json")
    parts = [
        f"**{shown.caption}**\n\n{markdown(shown.heads, shown.rows)}"
        for shown in evaluation_tables(table)
    ]
    warning = few_units_warning(table)
    return "\n\n".join(
        [
            evaluation_sentence(table),
            *([warning] if warning else []),
            *parts,
            " ".join(evaluation_legend(table)),
        ]
    )


def _comparison(workspace: Path) -> str:
    """Return the tables of a comparison, below sentences with the result."""
    table = _read(workspace / "reports/compare.json")
    parts = [
        f"**{shown.caption}**\n\n{markdown(shown.heads, shown.rows)}" for shown in tables(table)
    ]
    warning = few_units_warning(table)
    paragraphs = [
        headline(table),
        sentence(table),
        *([warning] if warning else []),
        *parts,
        " ".join(legend(table)),
    ]
    return "\n\n".join(paragraphs)


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _link(address: str) -> str:
    return f"[{address}]({address})" if address.startswith("http") else f"`{address}`"


def _addresses(workspace: Path, one_student: bool) -> dict[str, str]:
    """Return the address of each output in S3, by the output's path in the repository."""
    published = _read(workspace / (PUBLISHED if one_student else COMPARISON_PUBLISHED))
    if not published:
        return {}
    remote = parse_place(published["place"]).at(DVC)
    return {path: remote.object_url(md5) for path, md5 in published["outputs"].items()}
