"""The whole platform with the real services: a deployment brings a small project up to date, its
GPU stages on another machine.

The other machine is a clone in another folder, with a DVC cache, a reference cache and a worker of
its own.
"""

import csv
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import psutil
import pytest

from tests.projects import small_project
from tests.seaweed import ten_ports
from tests.team import Team, clean_environment, exported, run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]
RAN = r"comparison/dvc.yaml:(?P<stage>\S+): ran (?P<where>\(on pool gpu\) )?in \d+ s"
PREDICTED = {
    "predict@base",
    "predict@student",
    "predict@base_decision",
    "predict@student_decision",
    "predict_champion",
}
GPU_STAGES = {"base", "references", "train", *PREDICTED}


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    project = tmp_path_factory.mktemp("project")
    small_project(project)
    plain = clean_environment(project)
    for name in ("user.name", "user.email"):
        run(project, plain, "git", "config", name, "somebody@example.org")
    run(project, plain, "git", "add", ".")
    run(project, plain, "git", "commit", "--quiet", "-m", "a project")
    try:
        run(project, plain, "echodistill", "services", "up", "--first-port", str(ten_ports()))
        team = Team(project, plain | exported(project))
        run(
            project,
            team.environment,
            "prefect",
            "--no-prompt",
            "deploy",
            "--prefect-file",
            "infra/prefect.yaml",
            "--all",
        )
        yield team
    finally:
        run(project, plain, "echodistill", "services", "down", check=False)


@pytest.fixture(scope="module")
def other_machine(team: Team, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Another machine for the pool ``gpu``; the project's own worker of that pool is gone."""
    folder = tmp_path_factory.mktemp("other_machine") / "clone"
    run(team.project, team.environment, "git", "clone", "--quiet", str(team.project), str(folder))
    team.end_worker("gpu")
    worker = team.worker_on_another_machine(folder, "gpu")
    yield folder
    os.killpg(worker.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def first_run(team: Team, other_machine: Path) -> str:
    """The id of a run of everything, that succeeded."""
    run_id = team.start()
    state = team.wait(run_id)
    assert state["type"] == "COMPLETED", (state["message"], team.logs(run_id)[-30:])
    return run_id


def test_the_run_shows_what_it_did(team: Team, first_run: str) -> None:
    lines = team.logs(first_run)
    for stage in GPU_STAGES:
        assert any(
            re.fullmatch(rf"{stage}: ran \(on pool gpu\) in \d+ s", line) for line in lines
        ), stage
    assert any(line.startswith("corpus: ran in ") for line in lines)
    # logged on the other machine, shown here
    assert any("references, " in line and "right" in line for line in lines)
    tasks = team.api(
        "/task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [first_run]}}, "limit": 100}
    )
    assert {"gate@corpus", "train", "evaluate"} <= {task["name"] for task in tasks}
    artifacts = {
        artifact["key"]: artifact for artifact in team.api("/artifacts/filter", {"limit": 100})
    }
    result = artifacts["result"]["data"]
    for word in (
        "Acc",
        "student",
        "MLflow",
        "s3://echodistill/echodistill/dvc/files/md5/",
        "data_docs",
        "| train | ran (on pool gpu) |",
    ):
        assert word in result, word


def test_gpu_stages_ran_on_the_other_machine_alone(
    team: Team, other_machine: Path, first_run: str
) -> None:
    assert {
        folder.name
        for folder in (other_machine / ".echodistill/remote").iterdir()
        if folder.is_dir()
    } == {stage.replace("@", "-") for stage in GPU_STAGES}
    assert list((other_machine / ".dvc/cache").rglob("*"))
    assert not (team.project / ".echodistill/runs").exists()
    assert not (team.project / ".echodistill/remote").exists()
    assert (team.project / "models/student/run.json").is_file()
    status = run(team.project, team.environment, "dvc", "status", "dvc.yaml").stdout
    always = {"code", "champion"}  # which are looked at each time
    assert {line.strip(" :\t") for line in status.splitlines()} == {*always, "always changed"}


def test_where_everything_comes_from_can_be_asked(team: Team, first_run: str) -> None:
    output = run(
        team.project, team.environment, "echodistill", "provenance", "echodistill@candidate"
    ).stdout
    assert first_run in output
    assert re.search(r"[0-9a-f]{64}.*s0-0", output)
    assert "damaged" not in output.splitlines()[-1] or "0 damaged" in output.splitlines()[-1]
    store = boto3.client(
        "s3",
        endpoint_url=team.environment["AWS_ENDPOINT_URL_S3"],
        aws_access_key_id=team.environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=team.environment["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )
    for key in re.findall(r"s3://echodistill/(echodistill/dvc/files/md5/\S+)", output):
        assert store.head_object(Bucket="echodistill", Key=key)


def test_a_run_without_changes_runs_nothing(team: Team, first_run: str) -> None:
    run_id = team.start()
    assert re.match(r"1 of \d+ stages ran", team.wait(run_id)["message"])


@pytest.mark.long
def test_a_fresh_clone_pulls_instead_of_computing(
    team: Team, first_run: str, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    run(team.project, team.environment, "git", "clone", "--quiet", str(team.project), str(clone))
    own = team.environment | {"ECHODISTILL_REPOSITORY": str(clone)}
    output = run(clone, own, "echodistill", "run").stdout
    assert re.findall(r"Running stage '([^']+)'", output) == ["code", "champion"]
    assert "difference, paired" in output
    assert (clone / "reports/metrics.json").read_bytes() == (
        team.project / "reports/metrics.json"
    ).read_bytes()


@pytest.mark.long
def test_a_gate_that_fails_ends_the_run_with_its_message(team: Team, first_run: str) -> None:
    run_id = team.start(overrides=["gates.snr_tolerance_db=1e-12"], target="gate@mixes")
    state = team.wait(run_id)
    assert state["type"] == "FAILED"
    assert state["message"].startswith("gate mixes failed")
    tasks = team.api(
        "/task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [run_id]}}, "limit": 100}
    )
    assert {task["run_count"] for task in tasks if task["name"] == "gate@mixes"} == {1}


@pytest.mark.long
def test_two_runs_side_by_side_are_two_experiments(team: Team, first_run: str) -> None:
    before = (
        (team.project / "params.yaml").read_bytes(),
        (team.project / "reports/metrics.json").read_bytes(),
    )
    runs = [team.start(overrides=[f"evaluate.bootstrap_draws={draws}"]) for draws in (400, 300)]
    for run_id in runs:
        assert team.wait(run_id)["type"] == "COMPLETED"
    names = [team.api(f"/flow_runs/{run_id}")["name"] for run_id in runs]
    assert set(names) <= set(
        run(team.project, team.environment, "dvc", "exp", "list", "--name-only").stdout.split()
    )
    shown = run(team.project, team.environment, "dvc", "exp", "show", "--csv").stdout
    assert {"400", "300"} <= set(re.findall(r"\b\d{3}\b", shown))
    assert before == (
        (team.project / "params.yaml").read_bytes(),
        (team.project / "reports/metrics.json").read_bytes(),
    )
    assert not {path.name for path in (team.project / ".echodistill/workspaces").iterdir()} & set(
        names
    )


@pytest.mark.long
def test_a_comparison_trains_and_answers_on_the_other_machine(
    team: Team, other_machine: Path, first_run: str
) -> None:
    only = ("seeds=[1]", "train=[echodistill]", "controls=[silence]", "denoisers=[wavelet]")
    run_id = team.start("compare", overrides=[f"compare.{one}" for one in only])
    state = team.wait(run_id)
    assert state["type"] == "COMPLETED", (state["message"], team.logs(run_id)[-30:])
    lines = team.logs(run_id)
    ran = {found["stage"]: found["where"] for line in lines if (found := re.fullmatch(RAN, line))}
    assert {
        "train@echodistill-1",
        "train_control@silence-1",
        "answer@echodistill-1",
        "answer_denoised@wavelet",
    } < ran.keys()
    for stage, where in ran.items():
        assert (where is None) == stage.startswith(("gate_", "compare", "report")), stage
    assert any(
        re.search(r"logged as MLflow run [0-9a-f]{32} at .*; report: s3://", line) for line in lines
    )
    name = team.api(f"/flow_runs/{run_id}")["name"]
    kept = team.project / ".echodistill/experiments" / name / "reports"
    table = json.loads((kept / "compare.json").read_text())
    assert set(table["systems"]) == {"base", "text", "constant", "echodistill", "silence"}
    assert "<html" in (kept / "index.html").read_text()
    shown = csv.DictReader(
        run(team.project, team.environment, "dvc", "exp", "show", "--csv").stdout.splitlines()
    )
    figures = {row["Experiment"]: row for row in shown}[name]
    assert float(figures["echodistill.acc"]) == pytest.approx(
        table["systems"]["echodistill"]["acc"]["value"]
    )


def stage_process(other_machine: Path) -> psutil.Process | None:
    """The training on the other machine, when it runs."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        if "echodistill.stages.train" in (process.info["cmdline"] or []) and str(
            process.info["cwd"]
        ).startswith(str(other_machine)):
            return process
    return None


def wait_for_training(other_machine: Path, step: int) -> psutil.Process:
    """The training once it has written the checkpoint of ``step``."""
    end = time.monotonic() + 240
    while time.monotonic() < end:
        process = stage_process(other_machine)
        marks = list(
            other_machine.glob(
                f".echodistill/remote/train/.echodistill/runs/train-*/checkpoint-{step}/complete"
            )
        )
        if process and marks:
            return process
        time.sleep(0.05)
    raise AssertionError(f"no training with a checkpoint of step {step}")


@pytest.mark.long
def test_a_killed_training_is_started_again_and_continues(
    team: Team, other_machine: Path, first_run: str
) -> None:
    run_id = team.start(overrides=["train.steps=12"], target="train")
    wait_for_training(other_machine, 2).kill()
    assert team.wait(run_id)["type"] == "COMPLETED"
    lines = team.logs(run_id)
    assert any("ended with status" in line for line in lines)
    assert any(line.startswith("resuming from") for line in lines)


@pytest.mark.long
def test_a_cancelled_run_ends_its_training_and_leaves_all_usable(
    team: Team, other_machine: Path, first_run: str
) -> None:
    run_id = team.start(overrides=["train.steps=2000"], target="train")
    training = wait_for_training(other_machine, 2)
    started = time.monotonic()
    team.api(f"/flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING"}})
    psutil.wait_procs([training], timeout=30)
    assert not training.is_running()
    assert time.monotonic() - started < 10
    assert team.wait(run_id, 60)["type"] == "CANCELLED"
    assert "train-progress" in {
        artifact["key"] for artifact in team.api("/artifacts/filter", {"limit": 100})
    }
    run_id = team.start(target="train")
    assert team.wait(run_id)["type"] == "COMPLETED"


def test_no_secret_is_written_anywhere(
    team: Team, other_machine: Path, first_run: str, tmp_path: Path
) -> None:
    """In files of both machines, logs, databases, S3's volumes; only the services' own settings
    hold them, for their owner.
    """
    secrets = json.loads((team.project / ".echodistill/services/settings.json").read_text())[
        "credentials"
    ]
    passwords = [value.encode() for name, value in secrets.items() if name != "s3_access_key"]
    own = {"settings.json", "s3.json", "auth.ini"}
    found = []
    for folder in (team.project, other_machine):
        for path in folder.rglob("*"):
            if (
                path.is_file()
                and not path.is_symlink()
                and not (path.name in own and ".echodistill/services" in str(path))
            ):
                content = path.read_bytes()
                found += [str(path) for password in passwords if password in content]
    assert found == []
    for name in own:
        for path in (team.project / ".echodistill/services").rglob(name):
            assert path.stat().st_mode & 0o077 == 0
