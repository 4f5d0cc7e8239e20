"""State on what a training depends by its accelerator, so that DVC can compare it.

The stage ``code`` writes one file for each accelerator, with its settings and the hash of its code.
A training without an accelerator therefore does not run again when the settings or the code of one
change.
"""

import json
from pathlib import Path

from echodistill.code_hash import ACCELERATORS, FOLDER, code_hash
from echodistill.params.train import TrainParams

NONE = "none"


def modules_of(name: str) -> tuple[str, ...]:
    """Return the modules of an accelerator's code; there are none for ``none``."""
    return () if name == NONE else (f"{ACCELERATORS}.{name}",)


def accelerator_settings_file(name: str) -> Path:
    """Return the path to which the stage ``code`` writes an accelerator's settings and code."""
    return FOLDER / "accelerators" / f"{name}.json"


def accelerator_json(train: TrainParams, name: str) -> str:
    """Return everything on which a training depends by the accelerator ``name``, as JSON."""
    settings = {} if name == NONE else getattr(train, name).model_dump()
    return json.dumps({"settings": settings, "code": code_hash(*modules_of(name))}, sort_keys=True)
