"""A DVC repository with a small graph of its own, for the tests of the flows."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows.stage_process import RunCondition, run_stage

ROOT = Path(__file__).parents[1]


DVC = [sys.executable, "-m", "dvc"]


STAGES = {
    "first": {
        "cmd": "cp raw.txt first.txt",
        "deps": ["raw.txt"],
        "params": ["seed"],
        "outs": ["first.txt"],
        "meta": {"pool": "gpu"},
    },
    "refusing": {
        "cmd": (
            f"{sys.executable} -c \"import sys; print('working'); sys.exit('error: gate x failed: 3"
            " of 4')\""
        ),
        "deps": ["first.txt"],
        "outs": ["refusing.txt"],
    },
    "crashing": {
        "cmd": "kill -9 $$",
        "deps": ["first.txt"],
        "outs": ["crashing.txt"],
        "meta": {"retries": 2},
    },
    "slow": {
        "cmd": (
            f"{sys.executable} -c \"import time; print('slow:  40%| 2/5', flush=True);"
            ' time.sleep(300)"'
        ),
        "deps": ["first.txt"],
        "outs": ["slow.txt"],
    },
    "last": {
        "cmd": "cat first.txt first.txt > last.txt",
        "deps": ["first.txt"],
        "outs": ["last.txt"],
    },
}


ALWAYS_CHANGED = {
    # as stage champion: what it asks is nothing that DVC watches
    "asking": {
        "cmd": "cp .echodistill/outside.txt asked.txt",
        "deps": ["first.txt"],
        "outs": [{"asked.txt": {"persist": True}}],
        "always_changed": True,
    },
    "behind": {
        "cmd": "cp asked.txt behind.txt",
        "deps": ["asked.txt"],
        "outs": ["behind.txt"],
        "meta": {"pool": "gpu"},
    },
}


def shell(folder: Path, *command: str) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC repository with a graph of its own and echodistill's parameters."""
    folder = tmp_path / "repository"
    folder.mkdir()
    shell(folder, "git", "init", "--quiet")
    for name, value in (("user.name", "a"), ("user.email", "a@example.org")):
        shell(folder, "git", "config", name, value)
        monkeypatch.setenv(
            {"user.name": "GIT_AUTHOR_NAME", "user.email": "GIT_AUTHOR_EMAIL"}[name], value
        )
        monkeypatch.setenv(
            {"user.name": "GIT_COMMITTER_NAME", "user.email": "GIT_COMMITTER_EMAIL"}[name], value
        )
    shell(folder, *DVC, "init", "--quiet")
    shutil.copy(ROOT / "params.yaml", folder / "params.yaml")
    (folder / "raw.txt").write_text("raw\n")
    (folder / ".gitignore").write_text("raw.txt\n.echodistill/\n")
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    shell(folder, "git", "add", ".")
    shell(folder, "git", "commit", "--quiet", "-m", "start")
    return folder


def run_one(
    name: str, folder: Path, force: bool = False, timeout_s: float | None = None
) -> tuple[str, list[str], list[float]]:
    lines: list[str] = []
    percents: list[float] = []
    how: RunCondition = "always" if force else "if changed"
    done = run_stage(
        name,
        folder,
        how,
        timeout_s,
        {},
        lines.append,
        lambda _says, percent: percents.append(percent),
    )
    return done.decision, lines, percents
