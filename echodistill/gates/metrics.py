"""Check a comparison of base and student: both answered the same questions, every cell of the grid
exists, and the numbers are possible.
"""

from pathlib import Path
from typing import Any

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

SYSTEMS = ("base", "student")
OVERALL = "overall"
CELL_RATES = ("acc", "noisy", "gsr", "unparsed", "truncated")
FORCED_RATES = ("acc_forced", "acc_forced_norm")
"""Rates of forced choice, only where questions have choices."""
CLEAN_RATES = ("clean_acc", "clean_unparsed", "clean_truncated")
DIFFERENCES = ("acc", "gsr", "noisy", "clean_acc", "unparsed", "clean_unparsed")

Cells = dict[str, dict[str, Any]]


def metrics_checks(path: Path, params: Params) -> list[Expect]:
    """Return expectations about ``metrics.json``."""
    metrics = read_json(path, *SYSTEMS, "difference")
    cells = {system: _cells(metrics[system]) for system in SYSTEMS}
    return [*_grid(cells, params.mixes), *_rates(cells), *_differences(metrics, params.mixes)]


def _cells(system: dict[str, Any]) -> Cells:
    """Return every part of one system's figures that has its own count, by name: ``overall``,
    ``seen``, ``by_snr -10``, ``by_noise crowd``.
    """
    cells: Cells = {OVERALL: system}
    for name, part in system.items():
        if not isinstance(part, dict):
            continue
        if "n" in part:
            cells[name] = part
        else:
            cells |= {f"{name} {key}": cell for key, cell in part.items() if isinstance(cell, dict)}
    return cells


def _grid(cells: dict[str, Cells], settings: MixesParams) -> list[Expect]:
    base, student = (cells[system] for system in SYSTEMS)
    wanted = [f"by_snr {snr:g}" for snr in settings.snrs_db] + [
        f"by_noise {kind}" for kind in settings.kinds
    ]
    names = list(dict.fromkeys([*wanted, *base, *student]))
    grid = Table.of(
        "grid",
        "cell",
        {"cell": names, "systems": [(name in base) + (name in student) for name in names]},
    )
    shared = [name for name in base if name in student]
    counts = [(number(base[name].get("n")), number(student[name].get("n"))) for name in shared]
    table = Table.of(
        "cells",
        "cell",
        {
            "cell": shared,
            "fewest": [min(pair) for pair in counts],
            "difference": [abs(b - s) for b, s in counts],
        },
    )
    return [
        grid.expect(
            "systems", Between(2, 2), "every SNR and every kind of noise is there for both systems"
        ),
        table.expect("fewest", Between(1), "no cell is without answers"),
        table.expect(
            "difference",
            Between(0, 0),
            "both systems answered equally many questions in every cell",
        ),
    ]


def _rates(cells: dict[str, Cells]) -> list[Expect]:
    names, values = [], []
    for system, parts in cells.items():
        for cell, part in parts.items():
            for rate in _wanted(cell, part):
                names.append(f"{system} {cell} {rate}")
                values.append(number(part.get(rate)))
    table = Table.of("rates", "rate", {"rate": names, "value": values})
    return [table.expect("value", Between(0.0, 1.0), "every rate is there and lies within 0 and 1")]


def _wanted(name: str, part: dict[str, Any]) -> list[str]:
    """Return the rates that a cell must have."""
    of_cell = [*CELL_RATES, *(FORCED_RATES if number(part.get("n_forced")) != 0 else ())]
    of_clean = [rate for rate in FORCED_RATES if f"clean_{rate}" in part or rate in of_cell]
    return (
        [*of_cell, *CLEAN_RATES, *(f"clean_{rate}" for rate in of_clean)]
        if name == OVERALL
        else of_cell
    )


def _differences(metrics: dict[str, Any], settings: MixesParams) -> list[Expect]:
    found = {
        name: metrics["difference"].get(name)
        for name in dict.fromkeys((*DIFFERENCES, *metrics["difference"]))
    }
    for part, names in (
        ("snr", [f"{snr:g}" for snr in settings.snrs_db]),
        ("noise", settings.kinds),
    ):
        of_part = metrics.get(f"difference_by_{part}", {})
        found |= {
            f"by_{part} {name}": of_part.get(name) for name in dict.fromkeys((*names, *of_part))
        }
    inside = [in_interval(each) for each in found.values()]
    table = Table.of("differences", "name", {"name": list(found), "in_interval": inside})
    return [
        table.expect("in_interval", HOLDS, "every difference is there and lies within its interval")
    ]
