"""Stage ``control_references`` of a comparison: make the references of a teacher with another view
than the clean clip.
"""

from pathlib import Path

from echodistill.params.compare import changes_of
from echodistill.params.system_settings import view_of
from echodistill.params.whole import Params
from echodistill.stages.entry import run_stage
from echodistill.teachers.folder import make_references
from echodistill.training.device import one_thread


def control_references(
    params: Params, name: str, out: Path, corpus_folder: Path, base_folder: Path
) -> None:
    """Write the references of the teacher of the system ``name``. No gate judges them, since such a
    teacher is wrong on purpose.
    """
    view = view_of(changes_of(name, params.compare.systems))
    one_thread()
    make_references(
        out, params.references, params.generation, view, params.seed, corpus_folder, base_folder
    )


if __name__ == "__main__":
    run_stage(control_references, sections=("seed", "generation", "references", "compare.systems"))
