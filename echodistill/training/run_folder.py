"""Where a training keeps what it needs to go on after a kill: outside DVC's outs, named by a
fingerprint of its inputs.
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
"""Digits of a fingerprint in a folder's name."""


def fingerprint(
    stage: str,
    settings: Mapping[str, object],
    inputs: Mapping[str, Path | None],
    *modules: str,
) -> str:
    """Return a hash of settings, of the content of input folders (``None`` for one not used) and of
    the code of the stage and of ``modules``: only the same continues the same run.
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


def only_run_folder(stage: str, run_fingerprint: str) -> Path:
    """``run_folder``, without those that earlier fingerprints of ``stage`` left."""
    folder = run_folder(stage, run_fingerprint)
    for other in RUNS.glob(f"{stage}-{'[0-9a-f]' * SHOWN}"):
        if other != folder:
            shutil.rmtree(other)
    return folder


def run_folder(stage: str, run_fingerprint: str) -> Path:
    """The folder of one run, made if needed."""
    folder = RUNS / f"{stage}-{run_fingerprint[:SHOWN]}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
