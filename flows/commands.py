"""Short commands the flows wait for: git and DVC."""

import subprocess
import sys
from pathlib import Path

from echodistill.core.errors import UserError
from echodistill.tracking.client import without_credentials

DVC = (sys.executable, "-m", "dvc")


def output_of(*command: str, cwd: Path) -> str:
    """What a command prints. Raises ``UserError`` with its message when it fails."""
    asked = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        said = (asked.stderr or asked.stdout).strip()
        shown = " ".join(command).removeprefix(f"{sys.executable} -m ")
        # a git address may hold a token, and messages are seen by everybody
        raise UserError(without_credentials(f"`{shown}` failed in {cwd}: {said}"))
    return asked.stdout.strip()
