"""MLflow tracking on a real SQLite store: one run a training, nothing lost, and no outage that
training would feel.
"""

import json
import logging
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from echodistill.core.errors import UserError
from echodistill.lineage.facts import Lineage, headline, read_lineage
from echodistill.revision import git_facts
from echodistill.run_reports import Reports
from echodistill.tracking.client import (
    MetricStream,
    find_or_create_run,
    log_missing_metrics,
    without_credentials,
)
from echodistill.tracking.runs import log_run

ROOT = Path(__file__).parents[1]
FIGURES = {
    "base": {"acc": 0.5, "n": 9, "by_snr": {"0": {"acc": 0.4}}, "gsr": None},
    "student": {"acc": 0.75, "n": 9},
    "difference": {"acc": {"value": 0.25, "low": 0.1, "high": 0.4}},
}


def _client() -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])


def _steps(run_id: str, name: str = "loss") -> list[int]:
    return [metric.step for metric in _client().get_metric_history(run_id, name)]


def _git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True
    )


def _closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.usefixtures("mlflow_store")
def test_same_fingerprint_same_run() -> None:
    first = find_or_create_run("same", "echodistill", {"method": "grpo"})
    assert find_or_create_run("same", "echodistill", {"attempt": "2"}) == first
    assert find_or_create_run("other", "echodistill") != first
    run = _client().get_run(first)
    assert run.data.tags["attempt"] == "2"
    assert run.data.tags["method"] == "grpo"
    assert run.info.run_name == "echodistill"


@pytest.mark.usefixtures("mlflow_store")
def test_a_resumed_stream_continues_in_the_same_run_and_repeats_no_step() -> None:
    with pytest.raises(ZeroDivisionError), MetricStream("resumed", "grpo") as stream:
        for step in (1, 2, 3):
            stream(
                step,
                {"loss": 1.0 / step, "rewards/task reward": 0.5, "a%b": 1.0, "kl": float("nan")},
            )
        raise ZeroDivisionError
    first = stream.run_id
    assert first is not None
    assert _client().get_run(first).info.status == "FAILED"
    with MetricStream("resumed", "grpo") as stream:
        for step in (3, 4):
            stream(step, {"loss": 9.0, "entropy": 2.0})
        while stream.run_id is None:
            time.sleep(0.01)
        assert _client().get_run(first).info.status == "RUNNING"
    assert stream.run_id == first
    assert _steps(first) == [1, 2, 3, 4]
    assert _steps(first, "entropy") == [3, 4]
    assert _steps(first, "a_b") == [1, 2, 3]
    assert _steps(first, "kl") == []
    assert [m.value for m in _client().get_metric_history(first, "loss")][2] == pytest.approx(1 / 3)
    assert _client().get_run(first).info.status == "FINISHED"


@pytest.mark.usefixtures("mlflow_store")
def test_an_outage_is_one_warning_and_costs_no_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _client()  # the import takes seconds and is not what is measured
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://someone:secret@127.0.0.1:{_closed_port()}")
    slowest = 0.0
    start = time.monotonic()
    with (
        caplog.at_level(logging.WARNING, logger="echodistill"),
        MetricStream("outage", "grpo") as stream,
    ):
        for step in range(200):
            before = time.monotonic()
            stream(step, {"loss": 1.0})
            slowest = max(slowest, time.monotonic() - before)
            time.sleep(0.005)
    ours = [
        record.getMessage() for record in caplog.records if record.name.startswith("echodistill")
    ]
    assert len(ours) == 1
    assert "MLflow tracking stopped" in ours[0]
    assert "in time" not in ours[0]  # it gave up by itself, it was not cut off
    assert "secret" not in ours[0]
    assert slowest < 1.0
    assert time.monotonic() - start < 15.0


def test_a_store_that_never_answers_does_not_hold_the_end_of_training(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("echodistill.tracking.client.DRAIN_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with (
            caplog.at_level(logging.WARNING, logger="echodistill"),
            MetricStream("silent", "grpo") as stream,
        ):
            stream(1, {"loss": 1.0})
        assert time.monotonic() - start < 2.0
    assert "in time" in caplog.text


def test_without_a_server_the_store_is_in_the_working_folder(
    mlflow_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(mlflow_store, tmp_path / "mlflow.db")  # migrating an empty one takes long
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "here")
    with MetricStream("local", "grpo") as stream:
        stream(1, {"loss": 1.0})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    assert stream.run_id is not None
    assert _steps(stream.run_id) == [1]
    assert (
        _client()
        .get_run(stream.run_id)
        .info.artifact_uri.startswith((tmp_path / "mlartifacts").as_uri())
    )


@pytest.mark.usefixtures("mlflow_store")
def test_backfill_adds_what_an_outage_lost_and_nothing_twice() -> None:
    with MetricStream("backfill", "grpo") as stream:
        stream(1, {"loss": 1.0, "kl": 0.1})
    assert stream.run_id is not None
    rows: list[dict[str, Any]] = [
        {"step": step, "loss": 1.0, "kl": 0.1, "note": "text"} for step in (1, 2, 3)
    ]
    assert log_missing_metrics(stream.run_id, rows) == 4
    assert log_missing_metrics(stream.run_id, rows) == 0
    assert _steps(stream.run_id) == [1, 2, 3]
    assert "step" not in _client().get_run(stream.run_id).data.metrics


def test_an_explicit_call_to_a_dead_server_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://someone:secret@127.0.0.1:{_closed_port()}")
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI") as caught:
        find_or_create_run("dead", "grpo")
    assert "secret" not in str(caught.value)


def test_credentials_are_taken_out() -> None:
    text = "postgresql://me:p@ss/word@db.example/x and https://s3/a?X-Amz-Signature=abc"
    assert without_credentials(text) == "postgresql://db.example/x and https://s3/a?..."


def _reports(folder: Path) -> tuple[Path, Reports]:
    shutil.copy(ROOT / "params.yaml", folder / "params.yaml")
    for name in (
        "promotion.json",
        "model_card.md",
        "accuracy_by_snr.png",
        "base.parquet",
        "student.parquet",
    ):
        (folder / name).write_text("it is there")
    (folder / "metrics.json").write_text(json.dumps(FIGURES))
    return folder / "params.yaml", Reports.of(folder, folder)


@pytest.mark.usefixtures("mlflow_store")
def test_a_run_records_where_it_comes_from_and_drift_is_a_tag(tmp_path: Path) -> None:
    params, reports = _reports(tmp_path)
    origin = Lineage("f00d", {"data/corpus": "1234.dir"}, {"prefect.flow_run_id": "77"})
    run_id = find_or_create_run("logged", "grpo", {"git.rev": "abc", "git.dirty": "true"})
    log_run(run_id, params, origin, reports)
    text = params.read_text()
    seed = next(line for line in text.splitlines() if line.startswith("seed:"))
    params.write_text(text.replace(seed, "seed: 4711"))
    log_run(run_id, params, origin, reports)
    data = _client().get_run(run_id).data
    logged = seed.partition(":")[2].split("#")[0].strip()
    assert data.params["seed"] == logged
    assert data.tags["drift.seed"] == "4711"
    assert "train.methods.echodistill.kl" in data.params
    assert [key for key in data.tags if key.startswith("drift.")] == ["drift.seed"]
    wanted = {
        "git.rev": "abc",
        "git.dirty": "true",
        "dvc.lock": "f00d",
        "input.data/corpus": "1234.dir",
        "prefect.flow_run_id": "77",
    }
    assert wanted.items() <= data.tags.items()
    assert data.metrics["difference.acc.low"] == 0.1
    assert len(_client().get_metric_history(run_id, "student.acc")) == 1
    artifacts = {item.path for item in _client().list_artifacts(run_id)}
    assert artifacts == {"params.yaml", "metrics.json", "model_card.md", "figures"}
    params.write_text(text)
    log_run(run_id, params, origin, reports)
    assert "drift.seed" not in _client().get_run(run_id).data.tags
    assert _client().get_run(run_id).info.status == "FINISHED"


def test_a_report_that_is_missing_is_named(tmp_path: Path) -> None:
    _reports(tmp_path)
    (tmp_path / "model_card.md").unlink()
    with pytest.raises(UserError, match=r"model_card\.md is missing: run `echodistill run`"):
        Reports.of(tmp_path, tmp_path)


def test_headline_figures_are_flat_numbers() -> None:
    assert headline(FIGURES) == {
        "base.acc": 0.5,
        "base.n": 9.0,
        "student.acc": 0.75,
        "student.n": 9.0,
        "difference.acc": 0.25,
        "difference.acc.low": 0.1,
        "difference.acc.high": 0.4,
    }


def test_git_facts(tmp_path: Path) -> None:
    assert git_facts(tmp_path) == {"rev": "unknown", "dirty": "unknown"}
    _git(tmp_path, "init")
    (tmp_path / "code.py").write_text("1")
    (tmp_path / "dvc.lock").write_text("1")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-m", "first")
    clean = git_facts(tmp_path)
    assert clean["dirty"] == "false"
    assert len(clean["rev"]) == 40
    (tmp_path / "dvc.lock").write_text("2")
    assert git_facts(tmp_path) == clean
    (tmp_path / "code.py").write_text("2")
    assert git_facts(tmp_path) == clean | {"dirty": "true"}


def test_lineage_reads_a_stages_inputs_from_the_lock(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing"):
        read_lineage(tmp_path, "train")
    deps = "[{path: data/corpus, md5: 12.dir}, {path: build/code/train.sha256, md5: 34}]"
    (tmp_path / "dvc.lock").write_text(
        f"schema: '2.0'\nstages:\n  train:\n    cmd: x\n    deps: {deps}\n"
    )
    assert read_lineage(tmp_path, "train").inputs == {"data/corpus": "12.dir"}
    with pytest.raises(UserError, match="no stage 'predict'"):
        read_lineage(tmp_path, "predict")
