"""Check an evaluation without training: it has whole answers, every cell of the grid, and possible
figures.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from echodistill.core.records import Answer, read_rows
from echodistill.evaluated_student import is_absent
from echodistill.gates.answers import answers_checks
from echodistill.gates.expect import (
    HOLDS,
    Between,
    Expect,
    Table,
    in_interval,
    number,
    read_json,
)
from echodistill.params.mixes import MixesParams
from echodistill.params.whole import Params
from echodistill.systems import BASE, STUDENT


def evaluated_checks(path: Path, mixes_folder: Path, student: Path, params: Params) -> list[Expect]:
    """Return expectations about the student's answers; if no student is evaluated, that there are
    none.
    """
    if not is_absent(student):
        return answers_checks(path, mixes_folder, params)
    file = Table.of(
        "file", "name", {"name": [path.name], "is_empty": [not read_rows(path, Answer)]}
    )
    return [file.expect("is_empty", HOLDS, "without a student there are no answers of one")]


def evaluation_checks(path: Path, params: Params) -> list[Expect]:
    """Return expectations about ``evaluation.json``."""
    table = read_json(path, "systems", "differences", "student")
    names = [BASE, *([STUDENT] if table["student"] is not None else [])]
    present = Table.of(
        "systems",
        "system",
        {"system": names, "present": [name in table["systems"] for name in names]},
    )
    wanted = _wanted(params.mixes)
    cells = {
        f"{name} {figure}": figures
        for name in names
        for figure, figures in _figures(table, name, wanted).items()
    }
    grid = Table.of(
        "cells",
        "cell",
        {"cell": list(cells), "rows": [number(found.get("n")) for found in cells.values()]},
    )
    rates = Table.of(
        "rates",
        "figure",
        {"figure": list(cells), "value": [number(found.get("value")) for found in cells.values()]},
    )
    every = cells | {
        f"{name} {figure}": found
        for name, part in table["differences"].items()
        for figure, found in _intervals(part)
    }
    intervals = Table.of(
        "intervals",
        "figure",
        {"figure": list(every), "holds": [in_interval(found) for found in every.values()]},
    )
    return [
        present.expect("present", HOLDS, "the base is there, and the student where one is named"),
        grid.expect("rows", Between(1), "every SNR and every kind of noise has answers"),
        rates.expect("value", Between(0.0, 1.0), "every rate is there and lies within 0 and 1"),
        intervals.expect("holds", HOLDS, "every figure lies within its interval"),
    ]


def _wanted(mixes: MixesParams) -> list[str]:
    """Return the figures that each system must have."""
    return [
        "clean_acc",
        "acc",
        *(f"acc@{snr:g}" for snr in mixes.snrs_db),
        *(f"acc/{kind}" for kind in mixes.kinds),
    ]


def _figures(
    table: Mapping[str, Any], system: str, wanted: list[str]
) -> dict[str, Mapping[str, Any]]:
    found = table["systems"].get(system, {})
    return {name: found.get(name, {}) for name in dict.fromkeys((*wanted, *found))}


def _intervals(part: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, found) for name, found in part.items() if "low" in found]
