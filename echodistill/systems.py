"""The systems that a comparison trains: methods by their names, and what ``compare.systems`` of
``params.yaml`` defines (ablations, and controls of the teacher's view).

A system changes some keys of ``params.yaml``; everything else is the same for all, the optimizer
steps and prompts above all.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from echodistill.code_hash import FOLDER, METHODS, code_hash
from echodistill.core.errors import UserError
from echodistill.params.compare import changes_of
from echodistill.params.references import ViewName
from echodistill.params.system_settings import changed_train, view_of
from echodistill.params.train import TrainParams
from echodistill.params.whole import Params

BASE: Final = "base"
"""The model before training, in every table."""
STUDENT: Final = "student"
"""A student that was trained before, in the table of an evaluation."""
OURS: Final = "echodistill"
"""The system that all others are set against."""


@dataclass(frozen=True)
class Training:
    """What one system is trained with."""

    train: TrainParams
    """The section ``train`` as the system has it."""
    view: ViewName

    def note(self) -> str:
        """Return all of it that a student depends on, as JSON: the settings, the view, and the hash
        of the method's code.
        """
        code = code_hash(f"{METHODS}.{self.train.method}")
        return json.dumps(
            {"train": self.train.effective(), "view": self.view, "code": code}, sort_keys=True
        )


def training_of(name: str, params: Params) -> Training:
    """Return what the system ``name`` of a comparison is trained with."""
    changes = changes_of(name, params.compare.systems)
    return Training(changed_train(params.train, changes), view_of(changes))


def note_of_system(name: str) -> Path:
    """Return where the stage ``code`` notes what a system is trained with."""
    return FOLDER / "systems" / f"{name}.json"


def fold_run(fold: int, seed: int) -> str:
    """Return the name of a training of ``OURS`` in a further fold of the rotation over held-out
    kinds of noise.
    """
    return f"fold{fold}-{seed}"


def check_distinct(params: Params) -> None:
    """Raise ``UserError`` where two systems of a comparison would be one training by two names."""
    seen: dict[str, str] = {}
    for name in params.compare.trained:
        if (other := seen.setdefault(training_of(name, params).note(), name)) != name:
            raise UserError(
                f"compare.train: {name} is what {other} is already, by the section train:"
                " leave one of them out"
            )
