"""Check the champion's folder and its answers: either the recorded champion is whole, or there is
none and a reason is given.
"""

from pathlib import Path

from echodistill.champion_answers import ANSWERS, read_status
from echodistill.champion_folder import files_hash, read_facts
from echodistill.core.records import Answer, read_rows
from echodistill.gates.answers import answers_checks
from echodistill.gates.expect import HOLDS, Expect, Table
from echodistill.params.whole import Params

EXPLAINED = "a champion is there, or the reason why there is none"
WHOLE = "the champion's files are those that were fetched from the registry"
NONE_ANSWERED = "where no champion answered there are no answers, and a reason is given"


def champion_checks(folder: Path) -> list[Expect]:
    """Return expectations about the folder of the champion."""
    facts = read_facts(folder)
    has_files = bool(facts.content_sha256)
    table = Table.of(
        "champion",
        "version",
        {
            "version": [facts.version or "none"],
            "is_explained": [
                has_files == (not facts.reason)
                and (facts.version is not None or bool(facts.reason))
            ],
            "is_intact": [files_hash(folder) == facts.content_sha256],
        },
    )
    return [table.expect("is_explained", HOLDS, EXPLAINED), table.expect("is_intact", HOLDS, WHOLE)]


def champion_answers_checks(folder: Path, mixes_folder: Path, params: Params) -> list[Expect]:
    """Return expectations about the folder of the champion's answers."""
    status, path = read_status(folder), folder / ANSWERS
    if status.has_answered:
        return answers_checks(path, mixes_folder, params, "decision")
    table = Table.of(
        "status",
        "file",
        {"file": [ANSWERS], "is_empty": [bool(status.reason) and not read_rows(path, Answer)]},
    )
    return [table.expect("is_empty", HOLDS, NONE_ANSWERED)]
