"""Run short git and DVC commands whose output the flows wait for."""

import subprocess
import sys
from pathlib import Path

from echodistill.core.errors import UserError
from echodistill.tracking.client import without_credentials

DVC = (sys.executable, "-m", "dvc")


def output_of(*command: str, cwd: Path) -> str:
    """Return what a command prints. Raise ``UserError`` with its message where it fails."""
    asked = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        message = (asked.stderr or asked.stdout).strip()
        shown = " ".join(command).removeprefix(f"{sys.executable} -m ")
        # A git address may hold a token, and everybody can see messages.
        raise UserError(without_credentials(f"`{shown}` failed in {cwd}: {message}"))
    return asked.stdout.strip()
