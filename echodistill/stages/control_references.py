"""Stage ``control_references`` of a comparison: the references of a teacher that hears something else."""

from pathlib import Path
from typing import Any, cast, get_args

from echodistill.errors import UserError
from echodistill.params import Hears, Params
from echodistill.stages.entry import run_stage
from echodistill.teacher.folder import make_references
from echodistill.training.device import one_thread


def control_references(params: Params, hears: str, out: Path, corpus_folder: Path, base_folder: Path) -> None:
    """Make a folder of references for ``hears``; none of its gates: such a teacher is wrong on purpose."""
    if hears not in get_args(Hears):
        raise UserError(f"the teacher cannot hear {hears!r}: {', '.join(get_args(Hears))}")
    one_thread()
    make_references(out, params.references, cast(Hears, hears), params.seed, corpus_folder, base_folder)


def _arguments(arguments: list[str]) -> list[Any]:
    return [arguments[0], *map(Path, arguments[1:])]


if __name__ == "__main__":
    run_stage(control_references, sections=("seed", "references"), convert=_arguments)
