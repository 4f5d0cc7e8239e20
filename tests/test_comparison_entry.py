"""A comparison in MLflow: the same figures as in the report, entered once, and nothing half done."""

import json
from pathlib import Path
from typing import Any

import pytest

from echodistill.comparison_entry import FILES, enter_comparison
from echodistill.errors import UserError
from echodistill.evaluation.evidence import table_of
from echodistill.evaluation.headline import METRICS, seed_figures
from echodistill.tracking import find_or_create_run
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
    (tmp_path / "comparison").mkdir()
    (tmp_path / "comparison/dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    for seed in ("1", "2"):
        folder = tmp_path / f"models/compared/ours-{seed}"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"fingerprint": f"training {seed}", "method": f"method-{seed}"}))
        find_or_create_run(f"training {seed}", f"method-{seed}")
    return table


def test_mlflow_has_the_figures_of_the_report(made: dict[str, Any]) -> None:
    said = enter_comparison(Path("reports"), Path("models/compared"))
    found = runs()
    parent = found["comparison"]
    assert parent.info.run_id in said
    gain = made["differences"]["ours - base"]["acc"]
    logged = parent.data.metrics
    assert (logged["ours - base acc"], logged["ours - base acc.low"]) == (gain["value"], gain["low"])
    for name in ("base", "ours"):
        assert found[name].data.tags["mlflow.parentRunId"] == parent.info.run_id
        for metric in METRICS:
            assert found[name].data.metrics[metric] == made["systems"][name][metric]["value"]
    of_seeds = [found[f"method-{seed}"].data.metrics["acc"] for seed in (1, 2)]
    assert sum(of_seeds) / 2 == pytest.approx(made["systems"]["ours"]["acc"]["value"])
    assert found["method-2"].data.tags["echodistill.seed"] == "2"
    before = {name: run.data.metrics for name, run in found.items()}
    assert enter_comparison(Path("reports"), Path("models/compared")) == said
    assert {name: run.data.metrics for name, run in runs().items()} == before


def test_a_comparison_that_did_not_end_is_not_entered(made: dict[str, Any]) -> None:
    Path("reports/index.html").unlink()
    with pytest.raises(UserError, match=r"index\.html is missing: run `echodistill compare`"):
        enter_comparison(Path("reports"), Path("models/compared"))
