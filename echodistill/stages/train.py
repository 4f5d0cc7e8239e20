"""Stage ``train``: train the student."""

from pathlib import Path

from echodistill.accelerator_settings import accelerator_json, accelerator_settings_file
from echodistill.code_hash import check_hash_file
from echodistill.params.whole import Params
from echodistill.stages.entry import run_stage
from echodistill.training.student import StudentInputs, make_student


def train(
    params: Params,
    out: Path,
    corpus_folder: Path,
    mixes_folder: Path,
    base_folder: Path,
    references_folder: Path,
) -> None:
    """Write the student folder ``out``; ``training.student`` describes its content."""
    chosen = params.train.chosen
    name = chosen.accelerator
    check_hash_file(accelerator_settings_file(name), accelerator_json(chosen, name))
    inputs = StudentInputs(corpus_folder, mixes_folder, base_folder, references_folder)
    make_student(
        out,
        chosen,
        params.generation,
        params.seed,
        params.references.view,
        params.seed,
        inputs,
    )


if __name__ == "__main__":
    run_stage(train, sections=("seed", "generation", "references.view", "train.chosen"))
