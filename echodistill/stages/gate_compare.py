"""Stage ``gate_…`` of a comparison: judge whether the next stage may build on the combined results
of all systems.
"""

from pathlib import Path
from typing import Literal

from echodistill.core.errors import UserError
from echodistill.gates.compare import compared_answers_checks, students_checks, table_checks
from echodistill.gates.expect import Expect
from echodistill.gates.runner import open_gate
from echodistill.params.whole import Params
from echodistill.stages.entry import run_stage

Part = Literal["students", "answers", "table"]


def gate_compare(params: Params, part: Part, verdict: Path, *paths: Path) -> None:
    """Judge the students, the answers or the table. Raise ``UserError`` if they do not pass; see
    ``gates.runner.open_gate``.
    """
    verdict.unlink(missing_ok=True)
    open_gate(f"compared_{part}", paths[0], _checks(params, part, *paths), verdict)


def _checks(params: Params, part: Part, path: Path, *against: Path) -> list[Expect]:
    match part, against:
        case "students", []:
            return students_checks(path, params.compare)
        case "answers", [mixes]:
            limits = params.evaluate.headline_max_snr_db, params.gates.max_truncated_share
            return compared_answers_checks(path, mixes, params.compare, *limits, params.seed)
        case "table", []:
            return table_checks(path, params.compare)
    raise UserError(f"no gate {part!r} with {1 + len(against)} paths")


if __name__ == "__main__":
    run_stage(
        gate_compare,
        sections=("seed", "compare", "evaluate.headline_max_snr_db", "gates.max_truncated_share"),
    )
