"""What killed processes leave behind, what waits for whom, and folders that cannot be worked in."""

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from echodistill.doctor import examine
from echodistill.dvc_folder import dvc_folder_fault
from echodistill.leftovers import remove_leftovers
from echodistill.overrides import overridden, own_params
from echodistill.run_lock import exclude_runs, exclusive_run
from flows.stage_process import StageRefused
from flows.workspace import environment as environment_of
from flows.workspace_lock import workspace_lock
from tests.run_world import ROOT, finish, leave, started
from tests.run_world import project as project


def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    digits = "0123456789ab"
    left = [
        tmp_path / f".params.yaml.{digits}.tmp",
        leave(tmp_path / f"models/.student.{digits}.tmp"),
        leave(tmp_path / f"data/.corpus.{digits}.tmp"),
        leave(tmp_path / f"models/compared/.grpo-1.{digits}.old"),
        tmp_path / f"data/answers/decision/.base.parquet.{digits}.tmp",
        tmp_path / f"reports/gates/.corpus.json.{digits}.tmp",
        tmp_path / f"comparison/.dvc.lock.{digits}.tmp",
        tmp_path / f".echodistill/.registered.json.{digits}.tmp",
    ]
    kept = [
        tmp_path / "models/student/run.json",
        tmp_path / "models/compared/grpo-1/run.json",
        tmp_path / "data/raw/.mine.tmp",
        tmp_path / "data/raw/a.tmp",
        tmp_path / f".echodistill/workspaces/other/models/.student.{digits}.tmp",
        tmp_path / f".echodistill/remote/train/models/.student.{digits}.tmp",
    ]
    shared = {
        age: tmp_path / f"cache/ab/.abcd.safetensors.{end}{digits[2:]}.tmp"
        for age, end in ((60, "00"), (30 * 3600, "ff"))
    }
    dvc = {
        age: tmp_path / f".dvc/cache/files/md5/ab/.{'x' * 20}{end}.tmp"
        for age, end in ((60, "00"), (30 * 3600, "ff"))
    }
    for path in [*left, *kept, *shared.values(), *dvc.values()]:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text("x")
    for age, path in [*shared.items(), *dvc.items()]:
        os.utime(path, (time.time() - age,) * 2)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    seen = subprocess.run(
        ["git", "status", "--short", "-uall"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert digits not in seen
    output = remove_leftovers(tmp_path, tmp_path / "cache")
    old = [places[30 * 3600] for places in (shared, dvc)]
    assert len(output) == len(left) + len(old)
    assert not [path for path in [*left, *old] if path.exists()]
    assert not [path for path in [*kept, shared[60], dvc[60]] if not path.exists()]
    assert remove_leftovers(tmp_path, tmp_path / "cache") == []


def test_a_folder_that_was_moved_aside_and_never_replaced_comes_back(tmp_path: Path) -> None:
    old, new = (leave(tmp_path / f"models/.student.0123456789ab.{end}") for end in ("old", "tmp"))
    output = remove_leftovers(tmp_path, tmp_path / "cache")
    assert "student was restored" in output[0]
    assert (tmp_path / "models/student/half.bin").exists()
    assert not old.exists()
    assert not new.exists()


def test_a_stage_runs_behind_an_empty_folder_of_the_run_cache_and_damage_in_the_cache_is_reported(
    project: Path,
) -> None:
    (project / "go").touch()
    assert finish(started(project))[0] == 0
    (entry,) = (project / ".dvc/cache/runs").glob("*/*/*")
    entry.unlink()
    (project / "dvc.lock").unlink()
    status, output = finish(started(project))
    assert status == 0, output
    assert f"{entry.parent.relative_to(project)} of DVC's run cache was empty" in output.replace(
        f"{project}/", ""
    )
    (cached,) = [
        path
        for path in (project / ".dvc/cache/files/md5").glob("*/*")
        if path.read_text().endswith("source")
    ]
    for mode in (0o644, 0o444):  # DVC does not look at what nobody may write
        cached.chmod(0o644)
        cached.write_text("rotten")
        cached.chmod(mode)
        (project / "made").unlink()
        status, output = finish(started(project))
        assert status == 0, output
        assert f"{cached.relative_to(project)} of DVC's cache was damaged" in output.replace(
            f"{project}/", ""
        )
        assert (project / "made").read_text().endswith("source")


def test_without_a_git_repository_the_cure_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(project / ".git")
    status, output = finish(started(project))
    assert status == 1
    assert (
        output
        == "error: this is no git repository, and a downloaded archive is none: run `git init`"
        " here, or clone the repository\n"
    )
    monkeypatch.chdir(project)
    (found,) = [finding for finding in examine() if finding.what == "repository"]
    assert "git init" in found.cure
    (project / ".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    assert dvc_folder_fault(project) == ""
    (project / ".dvc/config.local").unlink()
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    assert dvc_folder_fault(project) == ""


@pytest.mark.parametrize("held", [exclusive_run, exclude_runs])
def test_a_flow_waits_for_a_run_and_for_a_stage(
    held: Callable[[], AbstractContextManager[object]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    output: list[str] = []
    with held(), pytest.raises(StageRefused), workspace_lock(tmp_path, lambda: True, output.append):
        pass
    with workspace_lock(tmp_path, lambda: bool(output), output.append), exclude_runs():
        pass
    with (
        held(),
        pytest.raises(StageRefused),
        workspace_lock(tmp_path, lambda: bool(output), output.append),
    ):
        pass
    assert output == [f"another run works in {tmp_path}: waiting for its end"]


def test_the_parameters_of_the_user_are_known_while_a_run_overrides_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = Path(shutil.copy(ROOT / "params.yaml", tmp_path))
    original = params.read_text()
    assert own_params(tmp_path) == original
    with overridden(params, ["seed=5"]):
        assert params.read_text() != original
        assert own_params(tmp_path) == original
        edited = params.read_text().replace("seed: 5", "seed: 6")
        params.write_text(edited)
        assert own_params(tmp_path) == edited


@pytest.mark.parametrize("name", ["{HOME}", "a{b", "a}b"])
def test_a_path_that_breaks_dvc_is_named(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name / "repository"
    folder.mkdir(parents=True)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    assert (
        dvc_folder_fault(folder)
        == f"DVC cannot work below a folder with braces in its name: rename {name!r} or move the"
        " repository"
    )


@pytest.mark.parametrize(
    "name", ["a?b", "a$HOME", "a b", "a%20b", "a#b", "a'b", 'a"b', "a&b", "a?uri=true", "é"]
)
def test_a_workspace_finds_the_store_of_its_repository_whatever_the_path(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / name / "repository"
    workspace = repository / ".echodistill/workspaces/one"
    workspace.mkdir(parents=True)
    with sqlite3.connect(repository / "mlflow.db") as made:
        made.execute("create table here (x)")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    before = set(tmp_path.rglob("*"))
    for folder in (repository, workspace):
        monkeypatch.chdir(folder)
        engine = create_engine(environment_of(repository, folder)["MLFLOW_TRACKING_URI"])
        with engine.connect() as connection:
            assert connection.execute(text("select count(*) from here")).scalar() == 0
        engine.dispose()
    assert set(tmp_path.rglob("*")) == before
