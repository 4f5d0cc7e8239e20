"""The record of a run is of that run: inputs that change meanwhile, commands that are killed, what
killed processes leave behind.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
import pytest
import yaml
from sqlalchemy import create_engine, text

from echodistill.doctor import examine
from echodistill.dvc_folder import dvc_folder_fault
from echodistill.leftovers import remove_leftovers
from echodistill.overrides import overridden, own_params
from echodistill.run_lock import exclude_runs, exclusive_run
from flows.rwlock import is_running
from flows.stage_process import StageRefused
from flows.workspace import environment as environment_of
from flows.workspace_lock import workspace_lock

ROOT = Path(__file__).parents[1]
WORK = """\
import os, time
from pathlib import Path
import yaml
from echodistill.core.lifetime import end_with_parent
end_with_parent()  # as every stage of the product does
seed, source = yaml.safe_load(Path("params.yaml").read_text())["seed"], Path("source").read_text()
Path(f"pid-{os.getpid()}").touch()
while not Path("go").exists():
    time.sleep(0.05)
Path("made").write_text(f"{seed} {source}")
"""
DVC = [sys.executable, "-m", "dvc"]
STAGE = {
    "cmd": "exec python work.py",
    "deps": ["work.py", "source", "data/raw"],
    "params": ["seed"],
    "outs": ["made"],
}


def environment() -> dict[str, str]:
    paths = {
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
    }
    paths["SHELL"] = (
        # DVC starts stages through it; dash stays between DVC and a stage that is not told to
        # `exec`
        "/bin/sh"
    )
    return os.environ | paths


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with one stage, which notes its number and waits for the file ``go``."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for folder in ("raw", "test", "noise"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    (tmp_path / "data/raw/a.txt").write_text("a")
    (tmp_path / "work.py").write_text(WORK)
    (tmp_path / "source").write_text("source")
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": STAGE}}))
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run([*DVC, "init", "-q"], cwd=tmp_path, env=environment(), check=True)
    return tmp_path


def started(
    project: Path,
    *options: str,
    command: tuple[str, ...] = ("-m", "echodistill.cli", "run", "make"),
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command, *options],
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=200)
    return process.returncode, output


def wait_for(condition: Callable[[], object], seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.05)


def stage_notes(project: Path) -> list[Path]:
    return list(project.glob("pid-*"))


def locked_seed(project: Path) -> int:
    return int(
        yaml.safe_load((project / "dvc.lock").read_text())["stages"]["make"]["params"][
            "params.yaml"
        ]["seed"]
    )


def edit(path: Path) -> None:
    """Change the file so that the stage would make something else, or make a new one."""
    before = path.read_text() if path.exists() else ""
    path.write_text(
        before.replace("seed: ", "seed: 1") if path.name == "params.yaml" else f"{before}# more\n"
    )


@pytest.mark.parametrize("edited", ["params.yaml", "work.py", "source", "data/raw/new.txt"])
def test_what_was_edited_while_a_stage_ran_is_not_recorded(project: Path, edited: str) -> None:
    run = started(project)
    wait_for(lambda: stage_notes(project))
    before = (project / edited).read_text() if (project / edited).exists() else None
    edit(project / edited)
    (project / "go").touch()
    status, output = finish(run)
    assert status == 1
    assert f"{edited.removesuffix('/new.txt')} changed while stage make ran" in output
    assert not (project / "dvc.lock").exists()
    assert not list((project / ".dvc/cache").rglob("runs/*/*/*"))
    if before is not None:
        (project / edited).write_text(before)  # with the inputs of before it is made anew
        made = (project / "made").read_text()
        (project / "made").write_text("of another run")
        assert finish(started(project))[0] == 0
        assert (project / "made").read_text() == made


def test_what_no_stage_reads_may_be_edited(project: Path) -> None:
    run = started(project)
    wait_for(lambda: stage_notes(project))
    params = project / "params.yaml"
    params.write_text(
        params.read_text()
        .replace("\ntrain:\n", "\n# mine\ntrain:\n")
        .replace("  steps: ", "  steps: 1")
    )
    (project / "source").touch()
    (project / "go").touch()
    status, output = finish(run)
    assert status == 0, output


VICTIMS = [
    ("command", "KILL"),
    ("command", "TERM"),
    ("command", "HUP"),
    ("flows.supervisor", "KILL"),
    ("flows.repro", "KILL"),
]


@pytest.mark.parametrize(("victim", "how"), VICTIMS)
def test_a_killed_run_leaves_nothing_that_another_could_record(
    project: Path, victim: str, how: str
) -> None:
    """At once after the kill the next run starts, with other parameters: it makes and records its
    own.
    """
    original = (project / "params.yaml").read_bytes()
    seed = yaml.safe_load(original)["seed"]
    run = started(project, "-S", "seed=99")
    wait_for(lambda: stage_notes(project))
    command = psutil.Process(run.pid)
    tree = [command, *command.children(recursive=True)]
    assert len(tree) >= 4
    named = {
        name: process for process in tree[1:] for name in process.cmdline()
    }  # the last one that has the word: the innermost
    supervisor = next(process for process in tree if "flows.supervisor" in process.cmdline())
    chosen = {"command": command, "flows.supervisor": supervisor}.get(victim) or named[victim]
    chosen.send_signal(getattr(signal, f"SIG{how}"))
    if victim == "command":  # else the command itself ends, and its status shows it
        command.wait(60)
    second = started(project)
    if victim != "command":
        assert run.wait(60) == 1
    _, living = psutil.wait_procs(tree, timeout=10)
    assert not [
        process
        for process in living
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]
    wait_for(lambda: len(stage_notes(project)) == 2)
    assert (project / "params.yaml").read_bytes() == original
    (project / "go").touch()
    status, output = finish(second)
    assert status == 0, output
    assert (project / "made").read_text() == f"{seed} source"
    assert locked_seed(project) == seed


def test_what_has_ended_and_nobody_asks_about_holds_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        wait_for(lambda: psutil.Process(ended.pid).status() == psutil.STATUS_ZOMBIE)
        assert psutil.pid_exists(ended.pid)
        assert not is_running(ended.pid)
    assert is_running(os.getpid())
    assert not is_running(ended.pid)


TOY = """\
import sys, time
from pathlib import Path
from echodistill.core.seeds import rng
from echodistill.stages.entry import run_stage

def toy(params, out: Path):
    Path("pid-toy").touch()
    while not Path("go").exists():
        time.sleep(0.05)
    out.write_text(f"{params.seed} {rng.__name__}")

if __name__ == "__main__":
    run_stage(toy, sections=("seed", "corpus"))
"""


def toy_project(project: Path) -> None:
    """The package itself in the project, with a stage that reads parameters, a module and a folder,
    for ``dvc repro`` by hand.
    """
    shutil.copytree(
        ROOT / "echodistill", project / "echodistill", ignore=shutil.ignore_patterns("__pycache__")
    )
    (project / "echodistill/stages/toy.py").write_text(TOY)
    deps = ["echodistill/core/seeds.py", "echodistill/stages/toy.py", "data/raw"]
    stage = {
        "cmd": "exec python -m echodistill.stages.toy made",
        "deps": deps,
        "params": ["seed", "corpus"],
        "outs": ["made"],
    }
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": stage}}))


@pytest.mark.parametrize("edited", ["params.yaml", "echodistill/core/seeds.py", "data/raw/new.txt"])
def test_under_dvc_itself_a_stage_with_edited_inputs_fails(
    project: Path, edited: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_project(project)
    monkeypatch.setattr("tests.test_run_records.ROOT", project)
    run = started(project, command=("-m", "dvc", "repro"))
    wait_for(lambda: stage_notes(project))
    edit(project / edited)
    (project / "go").touch()
    status, output = finish(run)
    assert status != 0
    assert "changed while this stage ran" in output
    assert edited.removesuffix("/new.txt") in output
    assert not (project / "dvc.lock").exists()
    again = started(project, command=("-m", "dvc", "repro"))
    assert finish(again)[0] == 0


def test_a_killed_dvc_takes_its_stage_along_and_no_run_starts_beside_a_stage(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_project(project)
    monkeypatch.setattr("tests.test_run_records.ROOT", project)
    by_hand = started(project, command=("-m", "dvc", "repro"))
    wait_for(lambda: stage_notes(project))
    status, output = finish(started(project, "-S", "seed=99"))
    assert status == 1
    assert "a stage or a registration is running in this folder" in output
    assert "seed: 99" not in (project / "params.yaml").read_text()
    (stage,) = [
        each
        for each in psutil.Process(by_hand.pid).children(recursive=True)
        if "echodistill.stages.toy" in each.cmdline()
    ]
    by_hand.kill()
    by_hand.wait()
    stage.wait(10)


def leave(path: Path) -> Path:
    """A file in a folder, as a writer that was killed leaves it."""
    path.mkdir(parents=True)
    (path / "half.bin").write_bytes(b"half")
    return path


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
