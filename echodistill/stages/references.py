"""Stage ``references``: make the teacher's answers to every training question, given the clean
clip.
"""

from pathlib import Path

from echodistill.params.whole import Params
from echodistill.stages.entry import run_stage
from echodistill.teachers.folder import make_references


def references(params: Params, out: Path, corpus_folder: Path, base_folder: Path) -> None:
    """Write ``references.parquet`` and ``distributions.safetensors`` to ``out``."""
    make_references(
        out,
        params.references,
        params.generation,
        params.references.view,
        params.seed,
        corpus_folder,
        base_folder,
    )


if __name__ == "__main__":
    run_stage(references, sections=("seed", "generation", "references"))
