"""The record of a run is of that run: inputs that change meanwhile, commands that are killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from flows.rwlock import is_running
from tests.run_world import (
    VICTIMS,
    edit,
    finish,
    locked_seed,
    stage_notes,
    started,
    toy_project,
    wait_for,
)
from tests.run_world import project as project


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


@pytest.mark.parametrize("edited", ["params.yaml", "echodistill/core/seeds.py", "data/raw/new.txt"])
def test_under_dvc_itself_a_stage_with_edited_inputs_fails(
    project: Path, edited: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_project(project)
    monkeypatch.setattr("tests.run_world.ROOT", project)
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
    monkeypatch.setattr("tests.run_world.ROOT", project)
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
