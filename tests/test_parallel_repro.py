"""Tests of parallel stages with the real DVC in a small graph: they overlap, their order holds, and
all can resume after a failure.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORK = "import sys, time; from pathlib import Path; since = time.time(); "
WORK += (
    "print('working on', sys.argv[1]); time.sleep(float(sys.argv[2]));"
    " Path(sys.argv[1]).write_text(f'{since} {time.time()}')"
)
PIPELINE = "comparison/dvc.yaml"
COMMAND = [sys.executable, "-m", "flows.parallel_repro", PIPELINE, "2"]


def stage(out: str, deps: list[str], seconds: float = 0.0, wdir: str = "..") -> dict[str, object]:
    return {"wdir": wdir, "cmd": f'python -c "{WORK}" {out} {seconds}', "deps": deps, "outs": [out]}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A main graph of one stage; behind it two that take a while, and one that needs both."""
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "comparison").mkdir()
    (tmp_path / "source").write_text("1")
    (tmp_path / "dvc.yaml").write_text(
        yaml.safe_dump({"stages": {"base": stage("base", ["source"], wdir=".")}})
    )
    compared = {
        "left": stage("left", ["base"], 5.0),
        "right": stage("right", ["base"], 5.0),
        "end": stage("end", ["left", "right"]),
    }
    (tmp_path / PIPELINE).write_text(yaml.safe_dump({"stages": compared}))
    return tmp_path


def environment() -> dict[str, str]:
    paths = {
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
    }
    return os.environ | paths


def repro_parallel(project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        COMMAND, cwd=project, env=environment(), capture_output=True, text=True, timeout=300
    )


def times(project: Path, name: str) -> tuple[float, float]:
    since, until = (project / name).read_text().split()
    return float(since), float(until)


def test_stages_overlap_and_follow_what_they_need(project: Path) -> None:
    done = repro_parallel(project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert times(project, "base")[1] < min(times(project, "left")[0], times(project, "right")[0])
    assert max(times(project, "left")[0], times(project, "right")[0]) < min(
        times(project, "left")[1], times(project, "right")[1]
    )
    assert times(project, "end")[0] > max(times(project, "left")[1], times(project, "right")[1])
    assert f"{PIPELINE}:end done after" in done.stdout
    before = {name: (project / name).read_text() for name in ("base", "left", "right", "end")}
    again = repro_parallel(project)
    assert again.returncode == 0
    assert "all stages are up to date" in again.stdout
    assert {name: (project / name).read_text() for name in before} == before
    # all that depends on a change runs, not only what DVC sees first
    (project / "source").write_text("2")
    assert repro_parallel(project).returncode == 0
    assert not [name for name in before if (project / name).read_text() == before[name]]


COUNTED = "import sys; from pathlib import Path; tries = Path('tries'); "
COUNTED += "tries.write_text((tries.read_text() if tries.exists() else '') + '.'); "


def counting(project: Path, then: str) -> None:
    """The stage ``left``, which DVC's ``meta`` allows two more tries, notes each of its starts."""
    graph = yaml.safe_load((project / PIPELINE).read_text())
    graph["stages"]["left"] |= {"cmd": f'python -c "{COUNTED}{then}"', "meta": {"retries": 2}}
    (project / PIPELINE).write_text(yaml.safe_dump(graph))


def test_a_stage_that_crashes_is_tried_again(project: Path) -> None:
    counting(project, "len(tries.read_text()) < 3 and sys.exit(3); Path('left').write_text('0 0')")
    done = repro_parallel(project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project / "tries").read_text() == "..."
    assert (project / "end").exists()
    log = (project / ".echodistill/logs/comparison_dvc.yaml:left.log").read_text()
    assert log.count("crashed, starts again: stage comparison/dvc.yaml:left ended with status") == 2


def test_a_stage_that_refuses_its_input_is_not(project: Path) -> None:
    counting(project, "sys.exit('error: the file x has no rows')")
    done = repro_parallel(project)
    assert done.returncode == 1
    assert (project / "tries").read_text() == "."
    assert "error: the file x has no rows" in done.stdout


def test_ended_from_outside_it_ends_its_stages(project: Path) -> None:
    graph = yaml.safe_load((project / PIPELINE).read_text())
    note = (
        "import os; from pathlib import Path; Path(f'pid-{os.getpid()}').touch(); import time;"
        " time.sleep(300)"
    )
    for name in ("left", "right"):
        graph["stages"][name] |= {"cmd": f'python -c "{note}"', "meta": {"retries": 2}}
    (project / PIPELINE).write_text(yaml.safe_dump(graph))
    with subprocess.Popen(
        COMMAND, cwd=project, env=environment(), stdout=subprocess.DEVNULL
    ) as process:
        until = time.monotonic() + 120
        while len(found := list(project.glob("pid-*"))) < 2:
            assert time.monotonic() < until
            time.sleep(0.2)
        process.terminate()
        assert process.wait(timeout=60) == 143
    pids = [int(path.name.removeprefix("pid-")) for path in found]
    psutil.wait_procs(
        left := [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=10
    )
    assert not [
        process
        for process in left
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]
    logs = [path.read_text() for path in (project / ".echodistill/logs").iterdir()]
    assert not [text for text in logs if "starts again" in text]


def test_a_failure_is_shown_stops_what_has_not_started_and_loses_nothing(project: Path) -> None:
    graph = yaml.safe_load((project / PIPELINE).read_text())
    works = graph["stages"]["left"]["cmd"]
    graph["stages"]["left"]["cmd"] = "python -c \"print('the reason'); raise SystemExit(3)\""
    (project / PIPELINE).write_text(yaml.safe_dump(graph))
    done = repro_parallel(project)
    assert done.returncode == 1
    assert f"{PIPELINE}:left failed" in done.stdout
    assert "the reason" in done.stdout
    assert not (project / "end").exists()
    right = (project / "right").read_text()  # was running, and ended
    graph["stages"]["left"]["cmd"] = works
    (project / PIPELINE).write_text(yaml.safe_dump(graph))
    assert repro_parallel(project).returncode == 0
    assert (project / "right").read_text() == right
    assert (project / "end").exists()
