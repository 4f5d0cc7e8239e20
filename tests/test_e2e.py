"""The whole pipeline at a tiny setting through the real ``dvc repro``, from a copy of the
repository and its command line.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile

from tests.projects import small_project

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]  # a busy machine takes long


def command(folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"
    }
    result = subprocess.run(
        [sys.executable, "-m", "echodistill.cli", *arguments],
        cwd=folder,
        env=environment
        | {"ECHODISTILL_CACHE": str(folder / "cache"), "COLUMNS": "200", "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    if check:
        assert result.returncode == 0, result.stdout + result.stderr
    return result


def ran(result: subprocess.CompletedProcess[str]) -> set[str]:
    """Return the stages that ran, without `code`, which always does."""
    return {*re.findall(r"^Running stage '([^']+)'", result.stdout, re.MULTILINE)} - {"code"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    small_project(folder)
    return folder


@pytest.fixture(scope="module")
def first_run(project: Path) -> subprocess.CompletedProcess[str]:
    return command(project, "run")


def figures(project: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((project / "reports/metrics.json").read_text())
    return loaded


def test_it_ends_with_the_table(project: Path, first_run: subprocess.CompletedProcess[str]) -> None:
    predicted = {
        "predict@base",
        "predict@student",
        "predict@base_decision",
        "predict@student_decision",
        "predict_champion",
    }
    assert predicted | {
        "corpus",
        "mixes",
        "base",
        "references",
        "train",
        "evaluate",
        "champion",
        "promote",
    } < ran(first_run)
    assert "difference, paired" in first_run.stdout
    assert "1 row quarantined" in first_run.stdout
    assert "broken.wav" in first_run.stdout
    found = figures(project)
    assert found["method"] == "echodistill"
    for system in ("base", "student"):
        assert set(found[system]) >= {
            "clean_acc",
            "acc",
            "noisy",
            "gsr",
            "acc_forced",
            "unparsed",
            "by_snr",
            "by_noise",
            "seen",
            "unseen",
        }
        assert set(found[system]["by_snr"]) == {"-10", "0", "20"}
        assert set(found[system]["by_noise"]) == {"gauss", "crowd", "wind"}
    assert set(found["difference"]) >= {
        "acc",
        "acc_forced",
        "gsr",
        "noisy",
        "unparsed",
        "clean_acc",
    }
    assert (project / "reports/accuracy_by_snr.png").read_bytes()[:4] == b"\x89PNG"
    gates = {path.stem for path in (project / "reports/gates").glob("*.json")}
    of_answers = {
        f"answers_{name}"
        for name in ("base", "student", "base_decision", "student_decision", "champion_decision")
    }
    assert gates == of_answers | {
        "corpus",
        "mixes",
        "base",
        "references",
        "student",
        "champion",
        "metrics",
        "promotion",
    }
    assert (project / "reports/data_docs/corpus/index.html").is_file()


def test_a_second_run_changes_nothing(
    project: Path, first_run: subprocess.CompletedProcess[str]
) -> None:
    assert ran(command(project, "run")) == {"champion"}


def test_deleted_results_come_back_without_the_model(
    project: Path, first_run: subprocess.CompletedProcess[str]
) -> None:
    kept = (project / "reports/metrics.json").read_bytes()
    (project / "reports/metrics.json").unlink()
    assert ran(command(project, "run")) <= {"evaluate", "champion"}
    assert (project / "reports/metrics.json").read_bytes() == kept


def promoted(project: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((project / "reports/promotion.json").read_text())
    return loaded


def test_the_champion_is_what_a_later_student_is_held_against(
    project: Path, first_run: subprocess.CompletedProcess[str]
) -> None:
    """Entering a student changes nothing about its own decision; the next one, of another method,
    is held against it.

    Only what the method touches runs again for that one.
    """
    assert promoted(project)["champion"]["version"] is None
    assert "registered echodistill version 1 (candidate" in command(project, "register").stdout
    command(project, "champion", "--set", "1")  # whatever a training of four steps came to
    assert ran(command(project, "run")) == {"champion"}
    again = ran(command(project, "run", "-S", "train.method=sft"))
    assert {"train", "predict@student", "champion", "predict_champion", "promote"} <= again
    assert not again & {
        "corpus",
        "mixes",
        "base",
        "references",
        "predict@base",
        "predict@base_decision",
    }
    assert figures(project)["method"] == "sft"
    decision = promoted(project)
    assert decision["champion"] == {"version": "1", "reason": ""}
    assert decision["decided_on"]["groups"] == 2
    assert {row["against"] for row in decision["criteria"]} == {"base", "champion"}


def test_only_what_a_parameter_touches_runs_again(
    project: Path, first_run: subprocess.CompletedProcess[str]
) -> None:
    before = (project / "params.yaml").read_bytes()
    again = ran(command(project, "run", "-S", "evaluate.bootstrap_draws=400"))
    assert "evaluate" in again
    assert again <= {"evaluate", "gate@metrics", "champion", "promote", "gate@promotion", "card"}
    assert (project / "params.yaml").read_bytes() == before


def test_the_student_is_registered_and_asked(
    project: Path, first_run: subprocess.CompletedProcess[str]
) -> None:
    command(project, "run")
    # The first student is the champion itself.
    assert promoted(project)["champion"]["version"] is None
    assert "version 1 (candidate" in command(project, "register").stdout
    assert "version 1 " in command(project, "register").stdout
    asked = command(
        project,
        "ask",
        "data/raw/s0-0.wav",
        "Which tone?",
        "--choices",
        "low,middle,high",
        "--both",
        "--noise",
        "gauss",
    )
    assert [line.split(":")[0] for line in asked.stdout.splitlines()] == ["base", "student"]
    exported = command(project, "export-audio", "wavs", "--condition", "wind@-10", "--count", "1")
    written = exported.stdout.split()
    (ask,) = exported.stderr.splitlines()
    program, *arguments = shlex.split(ask.partition("   # right: ")[0])
    assert program == "echodistill"
    assert command(project, *arguments).stdout.strip()
    clean, noisy = (soundfile.read(project / path)[0] for path in written)
    assert clean.shape == noisy.shape
    assert (clean != noisy).any()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.no_such_key=1", "no key 'train.no_such_key'"),
        ("train.prompts_per_step=-3", "train.prompts_per_step"),
        ("train.method=magic", "train.method"),
        ("corpus.manifest=nowhere.jsonl", "nowhere.jsonl"),
        ("corpus.path=nowhere", "corpus.path: there is no folder nowhere"),
    ],
)
def test_bad_parameters_are_one_clear_error(override: str, message: str, project: Path) -> None:
    before = (project / "params.yaml").read_bytes()
    result = command(project, "run", "-S", override, check=False)
    assert result.returncode == 1
    assert message in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert (project / "params.yaml").read_bytes() == before


def test_a_gate_stops_the_pipeline(
    project: Path, first_run: subprocess.CompletedProcess[str]
) -> None:
    result = command(project, "run", "-S", "gates.snr_tolerance_db=1e-12", check=False)
    assert result.returncode == 1
    assert "gate mixes failed" in result.stderr
    assert not ran(result) & {"train", "references"}
