"""Write and read the folder ``data/evaluation/student``.

It has a copy of the student that is evaluated besides the base, or a file that records that there
is none.
"""

import json
import shutil
from pathlib import Path

from echodistill.core.atomic import atomic_path
from echodistill.models.layout import RUN, file_hashes, read_run

NONE = "none.json"
METHOD_UNKNOWN = "student"


def is_absent(folder: Path) -> bool:
    """Return whether the folder records that no student is evaluated."""
    return (folder / NONE).is_file()


def write_none(out: Path) -> None:
    """Write the folder that records that there is no student."""
    with atomic_path(out) as temporary:
        temporary.mkdir()
        (temporary / NONE).write_text(json.dumps({"student": None}) + "\n", encoding="utf-8")


def is_copy(out: Path, student: Path) -> bool:
    """Return whether ``out`` has the files of ``student`` that loading reads, and the record of its
    training.
    """
    return (
        (out / RUN).is_file()
        and (out / RUN).read_bytes() == (student / RUN).read_bytes()
        and file_hashes(out) == file_hashes(student)
    )


def copy_student(out: Path, student: Path) -> None:
    """Copy the files of ``student`` that loading reads, and the record of its training, to
    ``out``.
    """
    with atomic_path(out) as temporary:
        for name in (*file_hashes(student), RUN):
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(student / name, temporary / name)


def method_of(folder: Path) -> str:
    """Return the method by which the student was trained, for tables.

    Raise ``UserError`` where its ``run.json`` is damaged.
    """
    return str(read_run(folder).get("method", METHOD_UNKNOWN))
