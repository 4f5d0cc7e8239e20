"""Define the systems that a comparison trains.

They are methods by their names, and what ``compare.systems`` of ``params.yaml`` defines (ablations,
and controls of the teacher's view). A system changes some keys of ``params.yaml``. Everything else
is the same for all systems, above all the optimizer steps and prompts.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from echodistill.accelerator_settings import modules_of
from echodistill.code_hash import FOLDER, METHODS, code_hash
from echodistill.core.errors import UserError
from echodistill.params.compare import changes_of
from echodistill.params.references import ViewName
from echodistill.params.system_settings import changed_train, view_of
from echodistill.params.train import TrainParams
from echodistill.params.whole import Params

BASE: Final = "base"
"""Name of the model before training, in every table."""
STUDENT: Final = "student"
"""Name of a student that was trained before, in the table of an evaluation."""
ECHODISTILL: Final = "echodistill"
"""Name of the system with which all others are compared."""


@dataclass(frozen=True)
class Training:
    """The settings with which one system is trained."""

    train: TrainParams
    """The section ``train`` with the system's changes."""
    view: ViewName

    def as_json(self) -> str:
        """Return everything on which a student depends, as JSON.

        These are the settings, the view, and the hash of the method's and the accelerator's code.
        """
        method = f"{METHODS}.{self.train.method}"
        code = code_hash(method, *modules_of(self.train.accelerator))
        return json.dumps(
            {"train": self.train.effective(), "view": self.view, "code": code}, sort_keys=True
        )


def training_of(name: str, params: Params) -> Training:
    """Return the settings with which the system ``name`` of a comparison is trained."""
    changes = changes_of(name, params.compare.systems)
    return Training(changed_train(params.train, changes), view_of(changes))


def system_settings_file(name: str) -> Path:
    """Return the path to which the stage ``code`` writes a system's settings."""
    return FOLDER / "systems" / f"{name}.json"


def fold_run(fold: int, seed: int) -> str:
    """Return the name of a training of ``ECHODISTILL`` in a further fold of the rotation over
    held-out noise kinds.
    """
    return f"fold{fold}-{seed}"


def check_distinct(params: Params) -> None:
    """Raise ``UserError`` where two systems of a comparison have different names and the same
    training.
    """
    seen: dict[str, str] = {}
    for name in params.compare.trained:
        if (other := seen.setdefault(training_of(name, params).as_json(), name)) != name:
            raise UserError(
                f"compare.train: {name} is what {other} is already, by the section train:"
                " leave one of them out"
            )
