"""Stage ``code``: write the hash of the code of every stage and method, the settings and code of
every accelerator, and the training settings of every system of a comparison, so that other stages
can depend on them.
"""

from pathlib import Path
from typing import get_args

from echodistill.accelerator_settings import accelerator_json, accelerator_settings_file
from echodistill.code_hash import FOLDER, METHODS, STAGES, code_hash, hash_file_of, stage_modules
from echodistill.core.atomic import atomic_path
from echodistill.params.accelerators import AcceleratorName
from echodistill.params.compare import system_names
from echodistill.params.methods import METHODS as METHOD_NAMES
from echodistill.params.whole import Params
from echodistill.stages.entry import run_stage
from echodistill.systems import system_settings_file, training_of


def code(params: Params, out: Path) -> None:
    """Write to the folder ``out``: ``NAME.sha256`` for every stage, ``methods/NAME.sha256`` for
    every method, ``accelerators/NAME.json`` for every accelerator, and ``systems/NAME.json`` for
    every system of ``compare.systems``.
    """
    modules = [f"{STAGES}.{name}" for name in stage_modules()]
    modules += [f"{METHODS}.{name}" for name in METHOD_NAMES]
    contents = {hash_file_of(module): code_hash(module) for module in modules}
    for accelerator in get_args(AcceleratorName):
        contents[accelerator_settings_file(accelerator)] = accelerator_json(
            params.train, accelerator
        )
    for system in system_names(params.compare.systems):
        contents[system_settings_file(system)] = training_of(system, params).as_json()
    with atomic_path(out) as temporary:
        for path, text in contents.items():
            target = temporary / path.relative_to(FOLDER)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    run_stage(code, sections=("train", "compare.systems"))
