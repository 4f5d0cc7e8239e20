"""Name the folder in which a training keeps what it needs to resume after a kill.

The folder is outside DVC's outputs and is named by a fingerprint of the training's inputs.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from echodistill.code_hash import code_hash
from echodistill.models.layout import content_hash

RUNS = Path(".echodistill/runs")
SHOWN = 16
"""Number of a fingerprint's digits in the name of its folder."""


def fingerprint(
    stage: str,
    settings: Mapping[str, object],
    inputs: Mapping[str, Path | None],
    *modules: str,
) -> str:
    """Return a hash of the settings, the input folders' content and the code of the stage and of
    ``modules``.

    An input is ``None`` where it is not used. Only a training with the same fingerprint continues a
    run.
    """
    parts = {
        name: content_hash(folder, "**/*") for name, folder in inputs.items() if folder is not None
    }
    text = json.dumps(
        {
            "settings": settings,
            "inputs": parts,
            "code": code_hash(f"echodistill.stages.{stage}", *modules),
        },
        sort_keys=True,
    )
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def single_run_folder(stage: str, run_fingerprint: str) -> Path:
    """Return ``run_folder`` after removing the folders that earlier fingerprints of ``stage``
    left.
    """
    folder = run_folder(stage, run_fingerprint)
    for other in RUNS.glob(f"{stage}-{'[0-9a-f]' * SHOWN}"):
        if other != folder:
            shutil.rmtree(other)
    return folder


def run_folder(stage: str, run_fingerprint: str) -> Path:
    """Return the folder of one run, and create it where it does not exist."""
    folder = RUNS / f"{stage}-{run_fingerprint[:SHOWN]}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
