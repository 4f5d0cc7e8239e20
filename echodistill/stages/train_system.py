"""Stage ``train`` of a comparison: one system with one seed."""

from pathlib import Path
from typing import Any

from echodistill.audio.recordings import recordings_folder
from echodistill.errors import UserError
from echodistill.params import Params, System
from echodistill.stages.entry import run_stage
from echodistill.systems import SYSTEMS, settings_for
from echodistill.training.student import Material, make_student


def train_system(
    params: Params,
    name: System,
    seed: int,
    out: Path,
    corpus_folder: Path,
    mixes_folder: Path,
    base_folder: Path,
    references_folder: Path,
    controls_folder: Path,
) -> None:
    """Make the student folder ``out``. ``controls_folder`` has a folder of references for each control, by what it hears."""
    if params.references.hears != "matched":
        raise UserError("references.hears: a comparison needs `matched`, its controls have references of their own")
    system = SYSTEMS[name]
    references = references_folder if system.hears == "matched" else controls_folder / system.hears
    recordings = recordings_folder(params.mixes.noise, params.mixes.recordings)
    material = Material(corpus_folder, mixes_folder, base_folder, references, recordings)
    make_student(out, settings_for(system, params.train), seed, system.hears, params.seed, material, one_core=True)


def _arguments(arguments: list[str]) -> list[Any]:
    return [arguments[0], int(arguments[1]), *map(Path, arguments[2:])]


if __name__ == "__main__":
    run_stage(train_system, sections=("seed", "mixes.noise", "mixes.recordings", "references.hears", "train"), convert=_arguments)
