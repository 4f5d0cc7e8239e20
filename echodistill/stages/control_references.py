"""Stage ``control_references`` of a comparison: the references of a teacher with another view than
the clean clip.
"""

from pathlib import Path

from echodistill.params.references import Control
from echodistill.params.whole import Params
from echodistill.stages.entry import run_stage
from echodistill.teacher.folder import make_references
from echodistill.training.device import one_thread


def control_references(
    params: Params, view: Control, out: Path, corpus_folder: Path, base_folder: Path
) -> None:
    """Make a folder of references for ``view``; none of its gates: such a teacher is wrong on
    purpose.
    """
    one_thread()
    make_references(
        out, params.references, params.generation, view, params.seed, corpus_folder, base_folder
    )


if __name__ == "__main__":
    run_stage(control_references, sections=("seed", "generation", "references"))
