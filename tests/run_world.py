"""A small project whose one stage can be edited, killed and waited for."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

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


VICTIMS = [
    ("command", "KILL"),
    ("command", "TERM"),
    ("command", "HUP"),
    ("flows.supervisor", "KILL"),
    ("flows.repro", "KILL"),
]


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
    run_stage(toy, sections=("seed", "corpus", "prompt.style"))
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


def leave(path: Path) -> Path:
    """A file in a folder, as a writer that was killed leaves it."""
    path.mkdir(parents=True)
    (path / "half.bin").write_bytes(b"half")
    return path
