"""Check a comparison: its trainings are whole and of equal length, its answers whole, and its
figures possible.
"""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from echodistill.audio.mixing import Mix
from echodistill.core.checksums import verify_checksums
from echodistill.core.records import Answer, GridRow, read_rows
from echodistill.gates.answers import condition_agrees
from echodistill.gates.expect import (
    HOLDS,
    ROUNDING,
    Between,
    Expect,
    InSet,
    Table,
    in_interval,
    number,
    read_json,
)
from echodistill.gates.truncation import truncation_check
from echodistill.inference.sample import denoised_mixes
from echodistill.params.compare import CompareParams
from echodistill.systems import BASE, fold_run
from echodistill.training.metrics_file import METRICS, read_metrics

RATES = (
    "clean_acc",
    "acc",
    "noisy",
    "gsr",
    "unparsed",
    "truncated",
    "clean_unparsed",
    "clean_truncated",
)
FORCED_RATES = ("acc_forced", "acc_forced_norm", "clean_acc_forced", "clean_acc_forced_norm")
"""Rates of forced choice, only where questions have choices."""


def students_checks(models: Path, settings: CompareParams) -> list[Expect]:
    """Return expectations about the trained students, from their ``run.json`` and
    ``metrics.jsonl``.
    """
    names = [
        *(f"{system}-{seed}" for system in settings.trained for seed in settings.seeds),
        *_folds(settings),
    ]
    for name in names:
        verify_checksums(
            models / name,
            "delete it and run `echodistill compare`",
            ["run.json", METRICS],
            required=False,
        )
    runs = [read_json(models / name / "run.json", "steps", "fingerprint") for name in names]
    logged = [read_metrics(models / name / METRICS) for name in names]
    table = Table.of(
        "students",
        "student",
        {
            "student": names,
            "steps": [number(run["steps"]) for run in runs],
            "steps_missing": [
                number(run["steps"]) - len(rows) for run, rows in zip(runs, logged, strict=True)
            ],
            "losses_finite": [
                all(math.isfinite(number(row.get("loss"))) for row in rows) for rows in logged
            ],
            "fingerprint": [run["fingerprint"] for run in runs],
            "twins": [
                sum(other["fingerprint"] == run["fingerprint"] for other in runs) for run in runs
            ],
        },
    )
    steps = number(runs[0]["steps"])
    return [
        table.expect(
            "steps", Between(steps, steps), "all students were trained for equally many steps"
        ),
        table.expect("steps_missing", Between(0, 0), "every step of every training is logged"),
        table.expect("losses_finite", HOLDS, "every loss of every training is a finite number"),
        table.expect("twins", Between(1, 1), "no two students come from the same training"),
    ]


def compared_answers_checks(
    answers: Path,
    mixes_folder: Path,
    settings: CompareParams,
    max_snr_db: float,
    max_truncated_share: float,
    seed: int,
) -> list[Expect]:
    """Return expectations about the answers of all systems to the test's grid, and of the
    denoisers' systems to their part of it.
    """
    mixes = {mix.mix_id: mix for mix in read_rows(mixes_folder / "mixes.parquet", Mix)}
    grid = Counter(
        (row.question_id, row.mix_id) for row in read_rows(mixes_folder / "grid.parquet", GridRow)
    )
    part = denoised_mixes([mix for mix in mixes.values() if mix.split == "test"], max_snr_db, seed)
    denoised = Counter({key: count for key, count in grid.items() if key[1] in part})
    wanted = {
        f"{system}-{seed}": grid for system in settings.trained for seed in settings.seeds
    } | {"text": grid}
    wanted |= dict.fromkeys(_folds(settings), grid)
    wanted |= {
        f"{denoiser}-{model}": denoised
        for denoiser in settings.denoisers
        for model in (BASE, "student")
    }
    read = {name: read_rows(answers / f"{name}.parquet", Answer) for name in wanted}
    counted = {
        name: Counter((row.question_id, row.mix_id) for row in rows) for name, rows in read.items()
    }
    table = Table.of(
        "answers",
        "system",
        {
            "system": list(wanted),
            "missing": [(wanted[name] - counted[name]).total() for name in wanted],
            "too_many": [(counted[name] - wanted[name]).total() for name in wanted],
            "wrong_condition": [
                sum(not condition_agrees(row, mixes) for row in read[name]) for name in wanted
            ],
        },
    )
    return [
        table.expect(
            "missing",
            Between(0, 0),
            "every system answered every question in every mix it was asked in",
        ),
        table.expect(
            "too_many", Between(0, 0), "no system answered anything twice, or what it was not asked"
        ),
        table.expect(
            "wrong_condition", Between(0, 0), "every answer names the noise and SNR of its mix"
        ),
        truncation_check(
            {name: [(row.response_tokens, row.truncated) for row in read[name]] for name in wanted},
            max_truncated_share,
        ),
    ]


def _folds(settings: CompareParams) -> list[str]:
    """Return the names of the trainings in further folds of the rotation."""
    return [fold_run(fold, settings.seeds[0]) for fold in settings.folds]


def table_checks(path: Path, settings: CompareParams) -> list[Expect]:
    """Return expectations about ``reports/compare.json``."""
    table = read_json(path, "systems", "differences", "cells", "budget")
    systems = table["systems"]
    names = [BASE, "text", "constant", *settings.trained]
    present = Table.of(
        "systems", "system", {"system": names, "present": [name in systems for name in names]}
    )
    seeds = Table.of(
        "seeds",
        "system",
        {
            "system": settings.trained,
            "seeds": [
                number(systems.get(name, {}).get("acc", {}).get("seeds"))
                for name in settings.trained
            ],
        },
    )
    every = dict(_intervals(table, ""))
    intervals = Table.of(
        "intervals",
        "figure",
        {"figure": list(every), "holds": [in_interval(found) for found in every.values()]},
    )
    forced = [
        metric for metric in FORCED_RATES if any(metric in figures for figures in systems.values())
    ]
    rates = {
        f"{name} {rate}": figures.get(rate, {}).get("value")
        for name, figures in systems.items()
        for rate in (*RATES, *forced)
    }
    values = Table.of(
        "rates",
        "figure",
        {"figure": list(rates), "value": [number(value) for value in rates.values()]},
    )
    tests = {name: figures.get("test", {}) for name, figures in table["differences"].items()}
    p_values = Table.of(
        "tests",
        "difference",
        {
            "difference": list(tests),
            "ordered": [
                0 <= number(one.get("p")) <= number(one.get("p_holm")) <= 1
                for one in tests.values()
            ],
        },
    )
    # the sum is less than 1 if the text of a first choice is the letter of another
    deviation = [number(rates.get("constant gsr")) + number(rates.get("constant unparsed")) - 1.0]
    constant = Table.of("constant", "system", {"system": ["constant"], "changes": deviation})
    return [
        present.expect("present", HOLDS, "every system has its row"),
        seeds.expect("seeds", InSet((len(settings.seeds),)), "every trained system has every seed"),
        intervals.expect("holds", HOLDS, "every figure lies within its interval"),
        values.expect("value", Between(0.0, 1.0), "every rate is there and lies within 0 and 1"),
        p_values.expect("ordered", HOLDS, "no correction makes a p smaller"),
        constant.expect(
            "changes",
            Between(-ROUNDING, ROUNDING),
            "a constant answer always agrees with itself",
        ),
    ]


def _intervals(part: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield every value with an interval, anywhere in the table, with its path."""
    if isinstance(part, dict) and {"low", "high"} & part.keys():
        yield name, part
        return
    inner = (
        part.items()
        if isinstance(part, dict)
        else enumerate(part)
        if isinstance(part, list)
        else ()
    )
    for key, each in inner:
        yield from _intervals(each, f"{name} {key}".strip())
