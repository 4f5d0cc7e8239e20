"""What the Prefect UI shows: progress of a stage while it runs, and the result table with its links
at the end.
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
from echodistill.storage.place import parse_place
from echodistill.tracking.client import tracking_uri, without_credentials
from flows.graph import EVALUATION, PIPELINE
from flows.stage_process import StageRun

SECONDS_BETWEEN_UPDATES = 2.0
SECONDS_AFTER_A_FAILURE = 60.0  # each try may wait for the server as long


class StageProgress:
    """A progress artifact, made when a stage first shows a bar and moved every two seconds at most.

    That a server cannot be reached is said once; the stage goes on.
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
        # whatever the client meets, from a refused connection to an answer it does not know
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
        assert isinstance(made, UUID)  # a coroutine only where the caller is one
        self._artifacts[label] = made


def artifact_key(name: str) -> str:
    """Prefect takes lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def report_result(
    workspace: Path, reports: Path, runs: Sequence[StageRun], registered: str, pipeline: str
) -> None:
    """The result table as a markdown artifact, with what ran and where everything is; ``reports``
    is where they will stay.

    ``registered`` is what was said when it was entered into MLflow; ``pipeline`` is the graph that
    ran.
    """
    markdown = result_markdown(workspace, reports, runs, registered, pipeline)
    create_markdown_artifact(markdown=markdown, key="result", description="EchoDistill result")


def result_markdown(
    workspace: Path, reports: Path, runs: Sequence[StageRun], registered: str, pipeline: str
) -> str:
    """The artifact's text."""
    one_student = pipeline == PIPELINE
    shown = {PIPELINE: _result, EVALUATION: _evaluation}.get(pipeline, _comparison)
    page = _read(workspace / REGISTERED).get("page") if one_student else ""  # of the student
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
    """The closing table, as in the terminal."""
    plain = io.StringIO()
    decision = _read(workspace / "reports/promotion.json")
    result_table(
        _read(workspace / "reports/metrics.json"),
        decision,
        Console(file=plain, width=100, no_color=True),
    )
    return f"```\n{plain.getvalue().rstrip()}\n```"


def _evaluation(workspace: Path) -> str:
    """The tables of an evaluation without training, below what came out."""
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
    """The tables of a comparison, below what came out."""
    table = _read(workspace / "reports/compare.json")
    parts = [
        f"**{shown.caption}**\n\n{markdown(shown.heads, shown.rows)}" for shown in tables(table)
    ]
    warning = few_units_warning(table)
    said = [
        headline(table),
        sentence(table),
        *([warning] if warning else []),
        *parts,
        " ".join(legend(table)),
    ]
    return "\n\n".join(said)


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _link(address: str) -> str:
    return f"[{address}]({address})" if address.startswith("http") else f"`{address}`"


def _addresses(workspace: Path, one_student: bool) -> dict[str, str]:
    """Where each output is in S3, by its path in the repository."""
    published = _read(workspace / (PUBLISHED if one_student else COMPARISON_PUBLISHED))
    if not published:
        return {}
    place = parse_place(published["place"])
    return {path: place.url(row["key"]) for path, row in published["outputs"].items()}
