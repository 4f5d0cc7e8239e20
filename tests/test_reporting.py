"""What the Prefect UI is given: progress that never ends a stage, and a result whose addresses
last.
"""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from echodistill.evaluation.many_systems import table_of
from echodistill.lineage.publish import REGISTERED
from flows import reporting
from flows.graph import EVALUATION, PIPELINE
from flows.reporting import StageProgress, result_markdown
from flows.stage_process import StageRun
from tests.test_evidence import SETTINGS, system
from tests.test_report_table import compared


class Server:
    """Stands in for Prefect's artifacts, and can be away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.away = False
        self.now_s = 0.0
        self.shown: list[tuple[str, float]] = []
        monkeypatch.setattr(
            reporting,
            "create_progress_artifact",
            lambda progress, key, description: self._take(key, progress),
        )
        monkeypatch.setattr(
            reporting,
            "update_progress_artifact",
            lambda _made, progress: self._take("moved", progress),
        )
        monkeypatch.setattr("flows.reporting.time.monotonic", lambda: self.now_s)

    def _take(self, what: str, progress: float) -> Any:
        if self.away:
            raise ConnectionError("refused")
        self.shown.append((what, progress))
        return uuid4()


def test_progress_is_made_once_and_moved_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch)
    progress = StageProgress("predict@base", pytest.fail)
    for server.now_s, percent in ((100.0, 1.0), (100.5, 2.0), (102.5, 3.0), (103.0, 100.0)):
        progress("predict", percent)
    assert server.shown == [("predict-base-progress", 1.0), ("moved", 3.0), ("moved", 100.0)]


def test_a_server_that_is_away_is_reported_once_and_asked_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server(monkeypatch)
    logged: list[str] = []
    progress = StageProgress("train", logged.append)
    server.away = True
    for server.now_s, percent in ((100.0, 1.0), (103.0, 2.0), (170.0, 3.0)):
        progress("train", percent)
    assert logged == ["progress of train cannot be shown: refused"]
    server.away = False
    for server.now_s, percent in ((175.0, 4.0), (240.0, 5.0)):
        progress("train", percent)
    assert server.shown == [("train-progress", 5.0)]


def test_the_result_names_what_stays(tmp_path: Path) -> None:
    workspace, kept = tmp_path / "workspace", tmp_path / "kept/reports"
    for folder in (workspace / "reports", workspace / REGISTERED.parent, kept / "data_docs/train"):
        folder.mkdir(parents=True)
    (workspace / "reports/metrics.json").write_text(json.dumps(compared()))
    (workspace / "reports/promotion.json").write_text(json.dumps({"promote": True, "criteria": []}))
    (workspace / REGISTERED).write_text(json.dumps({"page": "http://mlflow.team/#/run"}))
    (kept / "data_docs/train/index.html").write_text("page")
    text = result_markdown(
        workspace, kept, [StageRun("train", "ran", 12.4)], "registered version 3", PIPELINE
    )
    for part in (
        "registered version 3",
        "(http://mlflow.team/#/run)",
        f"`{kept}`",
        "| train | ran | 12 |",
    ):
        assert part in text, part
    assert f"`{kept}/data_docs/train/index.html`" in text
    assert str(workspace) not in text


def test_the_result_of_a_comparison_is_its_tables(tmp_path: Path) -> None:
    table = table_of(
        [system("base", 0.4, 1), system("echodistill", 0.7)], [("echodistill", "base")], SETTINGS, 1
    )
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/compare.json").write_text(json.dumps(table))
    text = result_markdown(
        tmp_path,
        tmp_path / "reports",
        [StageRun("train", "ran", 12.4)],
        "logged as MLflow run 7",
        "comparison/dvc.yaml",
    )
    assert text.startswith("In noise of 0 dB and louder, EchoDistill answers")
    assert "At SNR ≤ 0 dB accuracy rises from" in text
    assert (
        f"| echodistill | 3 | {100 * table['systems']['echodistill']['clean_acc']['value']:.1f} ["
        in text
    )
    assert "logged as MLflow run 7" in text


def test_the_result_of_an_evaluation_is_its_tables(tmp_path: Path) -> None:
    table = table_of(
        [system("base", 0.4, 1), system("student", 0.7, 1)], [("student", "base")], SETTINGS, 1
    )
    table |= {"source": "mmau", "chance": 0.25, "crowd_of": "test", "method": "grpo"}
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/evaluation.json").write_text(json.dumps(table))
    text = result_markdown(
        tmp_path,
        tmp_path / "reports",
        [StageRun("evaluate", "ran", 2.4)],
        "nothing was trained",
        EVALUATION,
    )
    assert text.startswith("On mmau the base answers")
    assert "| clean | " in text
    assert "student (grpo)" in text
    assert "nothing was trained" in text
