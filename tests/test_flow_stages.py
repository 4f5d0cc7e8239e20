"""The flows run DVC's stages: what ran and why, refusals and crashes, and nothing left running."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from flows.graph import read_graph, unchanged
from flows.stage_process import StageCrashed, StageRefused, StageUnknown, run_command, run_stage
from tests.flow_repository import ALWAYS_CHANGED, ROOT, STAGES, run_one
from tests.flow_repository import repository as repository


def test_a_lock_that_a_killed_process_left_half_written_costs_nothing(repository: Path) -> None:
    run_one("first", repository)
    lock = repository / "dvc.lock"
    lock.write_text(lock.read_text().replace("cmd", "cm"))
    decision, lines, _ = run_one("first", repository)
    assert decision == "cached: restored from the run cache"
    assert any("dvc.lock was damaged: it is dvc.lock.damaged now" in line for line in lines)
    assert (repository / "dvc.lock.damaged").is_file()
    assert run_one("first", repository)[0] == "cached: nothing changed"


def test_dvc_reports_what_ran_and_what_did_not(repository: Path) -> None:
    assert unchanged(repository, read_graph(repository)) == {}
    assert run_one("first", repository)[0] == "ran"
    assert run_one("first", repository)[0] == "cached: nothing changed"
    assert set(unchanged(repository, read_graph(repository))) == {"first"}
    assert run_one("first", repository, force=True)[0] == "ran"
    (repository / "first.txt").unlink()
    (repository / "dvc.lock").unlink()
    assert run_one("first", repository)[0] == "cached: restored from the run cache"


def test_a_stage_that_always_runs_runs_nothing_behind_it_without_need(repository: Path) -> None:
    (repository / "dvc.yaml").write_text(
        yaml.safe_dump({"stages": {"first": STAGES["first"]} | ALWAYS_CHANGED})
    )
    outside = repository / ".echodistill/outside.txt"
    outside.parent.mkdir(exist_ok=True)
    outside.write_text("champion 1\n")
    names = ("first", "asking", "behind")
    assert [run_one(name, repository)[0] for name in names] == ["ran", "ran", "ran"]
    known = unchanged(repository, read_graph(repository))
    assert "first" in known
    assert not {"asking", "behind"} & set(known)  # what it will come to is not known before
    assert [run_one(name, repository)[0] for name in names] == [
        "cached: nothing changed",
        "ran",
        "cached: nothing changed",
    ]
    handed_over = run_stage("behind", repository, "if known", None, {}, print, lambda *_: None)
    assert handed_over.decision == "cached: nothing changed"
    outside.write_text("champion 2\n")
    assert [run_one(name, repository)[0] for name in names] == [
        "cached: nothing changed",
        "ran",
        "ran",
    ]
    assert (repository / "behind.txt").read_text() == "champion 2\n"


def test_only_known_results_are_brought_when_asked(repository: Path) -> None:
    def known() -> str:
        return run_stage("first", repository, "if known", None, {}, print, lambda *_: None).decision

    with pytest.raises(StageUnknown):
        known()
    run_one("first", repository)
    assert known() == "cached: nothing changed"
    before = (repository / "params.yaml").read_text()
    (repository / "params.yaml").write_text(before.replace("seed: ", "seed: 9"))
    with pytest.raises(StageUnknown):
        known()
    (repository / "params.yaml").write_text(before)
    (repository / "first.txt").unlink()
    assert known() == "cached: restored from the run cache"
    assert (repository / "first.txt").read_text() == "raw\n"


def test_a_refusal_carries_its_message_and_a_crash_its_status(repository: Path) -> None:
    run_one("first", repository)
    with pytest.raises(StageRefused, match=r"^gate x failed: 3 of 4$"):
        run_one("refusing", repository)
    with pytest.raises(StageCrashed, match="crashing ended with status"):
        run_one("crashing", repository)


def test_a_stage_past_its_time_is_ended_with_its_tree(repository: Path) -> None:
    run_one("first", repository)
    started = time.monotonic()
    with pytest.raises(StageCrashed, match="timeout of 12 s"):
        run_one("slow", repository, timeout_s=12.0)
    assert time.monotonic() - started < 22
    assert not [
        process
        for process in psutil.process_iter(["cmdline"])
        if "slow:  40%" in " ".join(process.info["cmdline"] or [])
    ]
    assert run_one("last", repository)[0] == "ran"  # the workspace is usable


def test_a_bar_becomes_progress_and_no_line(repository: Path) -> None:
    lines: list[str] = []
    percents: list[float] = []
    run_one("first", repository)
    with pytest.raises(StageCrashed):
        run_stage(
            "slow",
            repository,
            "if changed",
            12.0,
            {},
            lines.append,
            lambda _says, percent: percents.append(percent),
        )
    assert percents == [40.0]
    assert not [line for line in lines if line.startswith("slow:")]


def test_a_killed_flow_takes_its_stages_along(tmp_path: Path) -> None:
    """Not even a ``kill -9`` of the flow may leave a training running that nobody waits for."""
    mark = tmp_path / "child"
    child = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(300)"
    code = (
        "import sys, time; from pathlib import Path; from flows.stage_process import"
        f" SupervisedProcess\nprocess = SupervisedProcess([sys.executable, '-c', {child!r}],"
        " Path('.'), {})\ntime.sleep(300)"
    )
    flow = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    while not (mark.exists() and mark.read_text()):
        time.sleep(0.05)
    pid = int(mark.read_text())
    flow.send_signal(signal.SIGKILL)
    flow.wait()
    end = time.monotonic() + 10
    while psutil.pid_exists(pid):
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("given", "passed"), [({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")]
)
def test_threads_of_a_stage_sleep_while_they_wait(
    given: dict[str, str], passed: str, tmp_path: Path
) -> None:
    lines: list[str] = []
    run_command(
        [sys.executable, "-c", "import os; print(os.environ['OMP_WAIT_POLICY'])"],
        tmp_path,
        given,
        lines.append,
    )
    assert lines == [passed]


def test_a_command_that_refuses_is_distinguished_from_one_that_crashes(tmp_path: Path) -> None:
    def ends_with(last: str) -> list[str]:
        return run_command(
            [sys.executable, "-c", f"import sys; print('first'); sys.exit({last})"],
            tmp_path,
            {},
            lines.append,
        )

    lines: list[str] = []
    assert ends_with("0") == lines == ["first"]
    with pytest.raises(StageRefused, match=r"^no version$"):
        ends_with("'error: no version'")
    with pytest.raises(StageCrashed, match=r"ended with status 3: first$"):
        ends_with("3")
