"""Stage ``train`` of a comparison: train one system with one seed."""

from pathlib import Path

from echodistill.code_hash import check_hash_file
from echodistill.core.errors import UserError
from echodistill.params.whole import Params
from echodistill.stages.entry import run_stage
from echodistill.systems import system_settings_file, training_of
from echodistill.training.student import StudentInputs, make_student


def train_system(
    params: Params,
    name: str,
    seed: int,
    out: Path,
    corpus_folder: Path,
    mixes_folder: Path,
    base_folder: Path,
    references_folder: Path,
) -> None:
    """Write the student folder ``out``; ``references_folder`` has the references of a teacher with
    the system's view.
    """
    if params.references.view != "clean":
        raise UserError(
            "references.view: a comparison needs `clean`, its controls have references of their own"
        )
    training = training_of(name, params)
    check_hash_file(system_settings_file(name), training.as_json())
    inputs = StudentInputs(corpus_folder, mixes_folder, base_folder, references_folder)
    make_student(
        out,
        training.train.chosen,
        params.generation,
        seed,
        training.view,
        params.seed,
        inputs,
        True,
    )


if __name__ == "__main__":
    run_stage(
        train_system,
        sections=("seed", "generation", "references.view"),
        noted=("train", "compare.systems"),
    )
