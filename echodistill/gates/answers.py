"""Check a model's answers before they are compared: they cover the full grid of questions and
mixes, once each, and are whole.
"""

from collections.abc import Mapping
from pathlib import Path

from echodistill.audio.mixing import Mix
from echodistill.core.records import GRIDS, Answer, GridRow, read_rows
from echodistill.gates.expect import HOLDS, Expect, Table
from echodistill.gates.grid import grid_checks
from echodistill.gates.truncation import truncation_check
from echodistill.params.whole import Params


def answers_checks(
    path: Path, mixes_folder: Path, params: Params, split: str = "test"
) -> list[Expect]:
    """Return expectations about one model's answers to a split; if the source has no such split,
    that there are none.
    """
    rows = read_rows(path, Answer)
    mixes = {mix.mix_id: mix for mix in read_rows(mixes_folder / "mixes.parquet", Mix)}
    # the gate of the mixes has checked the grid against the corpus
    grid = read_rows(mixes_folder / GRIDS[split], GridRow)
    if not grid and split != "test":
        file = Table.of("file", "name", {"name": [path.name], "is_empty": [not rows]})
        return [file.expect("is_empty", HOLDS, f"without {split} questions there are no answers")]
    table = Table.of(
        "answers",
        "cell",
        {
            "cell": [f"{row.question_id} in {row.mix_id}" for row in rows],
            "condition_agrees": [condition_agrees(row, mixes) for row in rows],
        },
    )
    return [
        *grid_checks(
            split,
            [(row.question_id, row.mix_id) for row in grid],
            [(row.question_id, row.mix_id) for row in rows],
            f"every {split} question has exactly one answer in every mix of its clip",
            f"every answer belongs to a {split} question and a mix of its clip",
        ),
        table.expect("condition_agrees", HOLDS, "every answer names the noise and SNR of its mix"),
        truncation_check(
            {"answers": [(row.response_tokens, row.truncated) for row in rows]},
            params.gates.max_truncated_share,
        ),
    ]


def condition_agrees(row: Answer, mixes: Mapping[str, Mix]) -> bool:
    """Return whether an answer names the noise and SNR of its mix; also true for a mix that does
    not exist, which another expectation reports.
    """
    mix = mixes.get(row.mix_id)
    return mix is None or (row.noise_kind, row.snr_db) == (mix.noise_kind, mix.snr_db)
