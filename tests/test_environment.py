"""Tests of environment variables: a bad number is refused, and the variables of a job manager do
not make a training of several processes.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from echodistill.core.cache_location import cache_folder
from echodistill.core.environment import (
    JOB_MANAGER_VARIABLES,
    LAUNCHER_VARIABLES,
    clear_job_manager_variables,
    device_batch,
)
from echodistill.core.errors import UserError
from echodistill.training.distributed import is_main, processes

ROOT = Path(__file__).parents[1]
# accelerate looks at the variables of Intel MPI, Open MPI, MVAPICH and PyTorch when it is first
# asked
STAGE = """
import sys
from pathlib import Path
from echodistill.stages.entry import run_stage
def stage(params, out: Path):
    import echodistill.models.torchaudio_guard
    from accelerate import PartialState
    print("processes", PartialState(cpu=True).num_processes)
sys.argv[1:] = ["out"]
run_stage(stage, sections=())
"""


@pytest.mark.parametrize(
    "value",
    ["²", "0", "-1", "many", "9.5", "1e2", "8 rows", "½", "٣x", "9" * 5000, "inf", "nan", "0x10"],
)
def test_a_device_batch_that_is_no_number_is_refused(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECHODISTILL_DEVICE_BATCH", value)
    with pytest.raises(
        UserError, match=r"^ECHODISTILL_DEVICE_BATCH='.*': give a whole number above 0$"
    ):
        device_batch()


@pytest.mark.parametrize(("value", "rows"), [("1", 1), ("96", 96), (" 8 ", 8), ("", 96)])
def test_a_device_batch_is_taken(value: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHODISTILL_DEVICE_BATCH", value)
    assert device_batch() == rows


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHODISTILL_CACHE", "")
    assert cache_folder() == Path(".echodistill/cache")


@pytest.mark.parametrize("size", ["4", "many", ""])
def test_a_job_managers_variables_make_no_training_of_several_processes(
    size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in JOB_MANAGER_VARIABLES + LAUNCHER_VARIABLES:
        monkeypatch.setenv(name, size)
    assert processes() == 1
    assert is_main()
    clear_job_manager_variables()
    assert not {*JOB_MANAGER_VARIABLES, *LAUNCHER_VARIABLES} & os.environ.keys()


def test_a_launchers_variables_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "TORCHELASTIC_RUN_ID": "7",
        "WORLD_SIZE": "2",
        "RANK": "1",
        "PMI_SIZE": "4",
    }.items():
        monkeypatch.setenv(name, value)
    clear_job_manager_variables()
    assert "PMI_SIZE" not in os.environ
    assert processes() == 2
    assert not is_main()


def test_a_plain_stage_under_a_job_manager_stays_a_plain_one() -> None:
    environment = (
        os.environ
        | dict.fromkeys((*JOB_MANAGER_VARIABLES, *LAUNCHER_VARIABLES), "4")
        | {"PYTHONPATH": str(ROOT)}
    )
    done = subprocess.run(
        [sys.executable, "-c", STAGE],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == "processes 1\n", done.stderr[-2000:]


def test_a_stage_refuses_a_wrong_device_batch_before_any_work() -> None:
    environment = os.environ | {"ECHODISTILL_DEVICE_BATCH": "²", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", STAGE],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: ECHODISTILL_DEVICE_BATCH='²': give a whole number above 0\n"
