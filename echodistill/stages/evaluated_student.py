"""Stage ``student`` of an evaluation: copy the student that the parameters name into files that DVC
watches.

It runs each time, since DVC does not watch the student's own folder. The same student gives the
same bytes, so later stages do not run again.
"""

from pathlib import Path

from echodistill.evaluated_student import copy_student, is_copy, write_none
from echodistill.evaluating import check_student
from echodistill.params.whole import Params
from echodistill.stages.entry import run_stage


def evaluated_student(params: Params, out: Path) -> None:
    """Write the folder ``out``. Raise ``UserError`` if the named folder has no trained student."""
    if params.evaluate.student is None:
        write_none(out)
        print("evaluate.student names none: the base is evaluated by itself")
        return
    student = Path(params.evaluate.student)
    check_student(student)
    if is_copy(out, student):
        print(f"student: {student}, here already")
        return
    copy_student(out, student)
    print(f"student: {student}")


if __name__ == "__main__":
    run_stage(evaluated_student, sections=("evaluate.student",))
