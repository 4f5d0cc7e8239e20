"""The folder ``data/evaluation/student``: a copy of the student that is evaluated beside the base,
or a note that there is none.
"""

import json
import shutil
from pathlib import Path

from echodistill.core.atomic import atomic_path
from echodistill.models.layout import RUN, file_hashes, read_run

NONE = "none.json"
METHOD_UNKNOWN = "student"


def is_absent(folder: Path) -> bool:
    """Return whether the folder says that no student is evaluated."""
    return (folder / NONE).is_file()


def write_none(out: Path) -> None:
    """Write the folder of no student."""
    with atomic_path(out) as temporary:
        temporary.mkdir()
        (temporary / NONE).write_text(json.dumps({"student": None}) + "\n", encoding="utf-8")


def is_copy(out: Path, student: Path) -> bool:
    """Return whether ``out`` holds the files of ``student`` that loading reads, and how it was
    trained.
    """
    return (
        (out / RUN).is_file()
        and (out / RUN).read_bytes() == (student / RUN).read_bytes()
        and file_hashes(out) == file_hashes(student)
    )


def copy_student(out: Path, student: Path) -> None:
    """Copy the files of ``student`` that loading reads, and how it was trained, to ``out``."""
    with atomic_path(out) as temporary:
        for name in (*file_hashes(student), RUN):
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(student / name, temporary / name)


def method_of(folder: Path) -> str:
    """Return the method that the student was trained with, for tables. Raises ``UserError`` when
    its ``run.json`` is damaged.
    """
    return str(read_run(folder).get("method", METHOD_UNKNOWN))
