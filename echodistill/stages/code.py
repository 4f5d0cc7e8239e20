"""Stage ``code``: the hash of the code of every stage, which the stage itself depends on."""

from pathlib import Path

from echodistill.atomic import atomic_path
from echodistill.code_hash import STAGES, code_hash, stage_modules
from echodistill.params.whole import Params
from echodistill.stages.entry import run_stage


def code(_params: Params, out: Path) -> None:
    """Write ``NAME.sha256`` to the folder ``out`` for the module ``NAME`` of every stage."""
    with atomic_path(out) as temporary:
        temporary.mkdir()
        for name in stage_modules():
            line = f"{code_hash(f'{STAGES}.{name}')}\n"
            (temporary / f"{name}.sha256").write_text(line, encoding="utf-8")


if __name__ == "__main__":
    run_stage(code, sections=())
