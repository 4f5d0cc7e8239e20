"""Tests of ``.ci/run``: it installs a browser, and reports which tests it skipped."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.browser import NAMES
from tests.test_pipeline import ROOT


def test_a_run_with_skipped_browser_tests_reports_it_in_its_last_lines() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "CHROMIUM"} | {
        "PATH": "/nowhere"
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "tests/test_browser.py",
        "-k",
        "fits_the_screen",
    ]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    last = result.stdout.strip().splitlines()[-2:]
    assert last[0].startswith("WARNING: 4 browser tests were skipped, so the pages are not tested")
    assert "4 skipped" in last[1]


def test_the_workflow_follows_its_schema_and_runs_the_same_check() -> None:
    workflow = ROOT / ".github/workflows/ci.yml"
    schema = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    subprocess.run([sys.executable, *schema, workflow], check=True)
    (job,) = yaml.safe_load(workflow.read_text())["jobs"].values()
    assert job["steps"][-1]["run"] == "bash .ci/run"


class Machine:
    """Programs that note how they are called, and nothing else on PATH."""

    def __init__(self, folder: Path, user: int) -> None:
        self._bin, self._calls = folder / "bin", folder / "calls"
        self._bin.mkdir()
        (self._bin / "dirname").symlink_to(shutil.which("dirname") or "")
        self.has("make")
        self.has("id", f"echo {user}")

    def has(self, name: str, does: str = "") -> None:
        (self._bin / name).write_text(
            f'#!/bin/sh\n[ {name} = id ] || echo "{name} $*" >> {self._calls}\n{does}\n'
        )
        (self._bin / name).chmod(0o755)

    def check(self, **environment: str) -> tuple[list[str], str]:
        """Return what ``.ci/run`` calls, and what it prints."""
        bash = shutil.which("bash") or ""
        result = subprocess.run(
            [bash, ROOT / ".ci/run"],
            env={"PATH": str(self._bin), **environment},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        return self._calls.read_text().splitlines(), result.stdout


MAKE = ["make lint", "make docs DOCS_OPTIONAL=1", "make test"]


def test_the_check_installs_chromium_where_there_is_none(tmp_path: Path) -> None:
    machine = Machine(tmp_path, user=0)
    machine.has("apt-get")
    calls, _ = machine.check()
    assert calls == [
        "apt-get -qq update",
        "apt-get -qq install --no-install-recommends chromium fonts-liberation",
        *MAKE,
    ]


def test_a_chromium_that_cannot_be_installed_is_reported_and_the_check_continues(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path, user=0)
    machine.has("apt-get", "exit 100")
    calls, output = machine.check()
    assert calls == ["apt-get -qq update", *MAKE]
    assert "Chromium could not be installed" in output


@pytest.mark.parametrize("user", [1000, 0])
def test_a_user_who_may_not_install_gets_instructions(user: int, tmp_path: Path) -> None:
    machine = Machine(tmp_path, user)
    if user:
        machine.has("apt-get")
    calls, output = machine.check()
    assert calls == MAKE
    assert "apt-get install chromium" in output


@pytest.mark.parametrize("name", [*NAMES, "CHROMIUM"])
def test_a_chromium_that_is_here_is_used(name: str, tmp_path: Path) -> None:
    machine = Machine(tmp_path, user=0)
    machine.has("apt-get")
    if name != "CHROMIUM":
        machine.has(name)
    assert machine.check(**({"CHROMIUM": "/opt/chrome"} if name == "CHROMIUM" else {})) == (
        MAKE,
        "",
    )
