"""Check a run whose corpus is used for testing only.

Such a run evaluates the base, and a student where one is named, and trains nothing.
"""

from pathlib import Path
from typing import Final

from echodistill.core.errors import UserError
from echodistill.models.layout import RUN
from echodistill.params.whole import Params

NANO: Final = "nano"
NOTHING_TO_TRAIN: Final = (
    "the corpus is used for testing only: nothing is trained, registered or promoted; the base is"
    " evaluated, and a student where evaluate.student names one"
)
NANO_NEEDS_CLIPS: Final = (
    "base.model: nano is pre-trained on training clips, and a corpus that is used for testing only"
    " has none. Name the model to evaluate (-S base.model=FOLDER, or a hub id), or train on another"
    " source and test on this one: name it in corpus.test.source, .path and .manifest"
)


def check_evaluation(params: Params) -> None:
    """Raise ``UserError`` where the parameters name no model to evaluate, or a student that does
    not exist.
    """
    if params.base.model == NANO:
        raise UserError(NANO_NEEDS_CLIPS)
    if params.evaluate.student is not None:
        check_student(Path(params.evaluate.student))


def check_student(folder: Path) -> None:
    """Raise ``UserError`` where ``folder`` contains no trained student."""
    if not (folder / RUN).is_file():
        raise UserError(
            f"evaluate.student: {folder} holds no trained student ({RUN} is missing): name a"
            " folder as `echodistill run train` makes it, or null to evaluate the base alone; a"
            " whole model of another kind is named in base.model"
        )
