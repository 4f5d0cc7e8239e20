"""A comparison in MLflow: the same figures as in the report, entered once, and nothing half
done.
"""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from echodistill.core.errors import UserError
from echodistill.evaluation.headline import METRICS, seed_figures
from echodistill.evaluation.many_systems import table_of
from echodistill.lineage.dvc_lock import Lock, LockedStage
from echodistill.storage.client import Store
from echodistill.storage.dvc_hashes import dvc_md5
from echodistill.storage.objects import verify
from echodistill.storage.place import DVC
from echodistill.tracking.client import find_or_create_run
from echodistill.tracking.log_comparison import FILES, _stages, log_comparison
from echodistill.tracking.runs import log_figures, read_run_file
from tests.test_evidence import SETTINGS, system


def runs() -> dict[str, Any]:
    import mlflow

    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("echodistill")
    found = client.search_runs([experiment.experiment_id])
    names = [run.info.run_name for run in found]
    assert len(names) == len(set(names)), "a run was made twice"
    return {run.info.run_name: run for run in found}


@pytest.fixture
def made(tmp_path: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A comparison's folder, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    systems = [system("base", 0.4, 1), system("ours", 0.7, 2)]
    table = table_of(systems, [("ours", "base")], SETTINGS, 1)
    table["by_seed"] = {"ours": dict(zip(("1", "2"), seed_figures(systems[1], 0.0), strict=True))}
    (tmp_path / "reports").mkdir()
    for name in FILES:
        (tmp_path / "reports" / name).write_text("it is there")
    (tmp_path / "reports/compare.json").write_text(json.dumps(table))
    for seed in ("1", "2"):
        folder = tmp_path / f"models/compared/ours-{seed}"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(
            json.dumps({"fingerprint": f"training {seed}", "method": f"method-{seed}"})
        )
        (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n')
        find_or_create_run(f"training {seed}", f"method-{seed}")
    (tmp_path / "comparison").mkdir()
    write_lock(["models/compared"], [f"reports/{name}" for name in FILES])
    return table


def write_lock(deps: list[str], outs: list[str]) -> None:
    def rows(paths: list[str]) -> list[dict[str, str | None]]:
        return [{"path": path, "md5": dvc_md5(Path(path))} for path in paths]

    stages = {
        "compare": {"cmd": "x", "deps": rows(deps), "outs": rows(outs[:1])},
        "report": {"cmd": "x", "outs": rows(outs[1:])},
    }
    Path("comparison/dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def test_mlflow_has_the_figures_of_the_report(made: dict[str, Any]) -> None:
    message = log_comparison(Path("reports"), Path("models/compared"))
    found = runs()
    parent = found["comparison"]
    assert parent.info.run_id in message
    gain = made["differences"]["ours - base"]["acc"]
    logged = parent.data.metrics
    assert (logged["ours - base acc"], logged["ours - base acc.low"]) == (
        gain["value"],
        gain["low"],
    )
    for name in ("base", "ours"):
        assert found[name].data.tags["mlflow.parentRunId"] == parent.info.run_id
        for metric in METRICS:
            assert found[name].data.metrics[metric] == made["systems"][name][metric]["value"]
    of_seeds = [found[f"method-{seed}"].data.metrics["acc"] for seed in (1, 2)]
    assert sum(of_seeds) / 2 == pytest.approx(made["systems"]["ours"]["acc"]["value"])
    assert found["method-2"].data.tags["echodistill.seed"] == "2"
    before = {name: run.data.metrics for name, run in found.items()}
    assert log_comparison(Path("reports"), Path("models/compared")) == message
    assert {name: run.data.metrics for name, run in runs().items()} == before
    assert found["method-1"].data.metrics["loss"] == 0.5  # a curve that MLflow had missed


def test_a_figure_that_falls_is_shown(mlflow_store: Path) -> None:
    run_id = find_or_create_run("falling", "falling")
    for value in (0.64, 0.58):
        log_figures(run_id, {"acc": value}, [])
        time.sleep(0.01)
    assert runs()["falling"].data.metrics["acc"] == 0.58


def test_its_outputs_are_published_and_its_lock_is_in_mlflow(
    made: dict[str, Any], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECHODISTILL_S3", store.place.url(store.place.prefix))
    message = log_comparison(Path("reports"), Path("models/compared"))
    page = dvc_md5(Path("reports/index.html")) or ""
    assert message.endswith(f"; report: {store.place.at(DVC).object_url(page)}")
    assert verify(store.at(DVC), page)[0] == "ok"
    found = read_run_file(runs()["comparison"].info.run_id, "dvc.lock")
    assert found == Path("comparison/dvc.lock").read_bytes()


def test_what_the_lock_keeps_of_controls_that_are_gone_is_not_published() -> None:
    names = [
        "train@echodistill-1",
        "train_control@silence-1",
        "control_references@silence",
        "control_references@noise",
        "report",
    ]
    names += [
        "train_control@random-1",
        "train@echodistill-2",
        "answer_denoised@wavelet",
        "answer_denoised@log_mmse",
        "train_fold@2",
        "train_fold@3",
    ]
    lock = Lock(b"", {name: LockedStage("x", {}, {}, {}) for name in names})
    denoised: dict[str, Any] = {"systems": {"wavelet + base": {}, "base": {}}}
    table: dict[str, Any] = {
        "by_seed": {"echodistill": {"1": {}}, "silence": {"1": {}}},
        "denoised": denoised,
    }
    table["rotation"] = {"held_out": [["wind"], ["crowd"]]}
    of_this = [
        "train@echodistill-1",
        "train_control@silence-1",
        "control_references@silence",
        "report",
        "answer_denoised@wavelet",
    ]
    of_this.append("train_fold@2")
    assert sorted(_stages(table, lock)) == sorted(of_this)


def test_a_report_of_other_students_is_not_entered(made: dict[str, Any]) -> None:
    Path("models/compared/ours-2/run.json").write_text(
        json.dumps({"fingerprint": "a new training", "method": "method-2"})
    )
    with pytest.raises(
        UserError,
        match=r"models/compared is not what the report was made from: run `echodistill compare`",
    ):
        log_comparison(Path("reports"), Path("models/compared"))


def test_a_comparison_that_did_not_end_is_not_entered(made: dict[str, Any]) -> None:
    Path("reports/index.html").unlink()
    with pytest.raises(UserError, match=r"index\.html is missing: run `echodistill compare`"):
        log_comparison(Path("reports"), Path("models/compared"))
