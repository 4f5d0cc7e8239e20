"""Check the full grid of a split: every question of it in every mix of its clip."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from echodistill.audio.mixing import Mix
from echodistill.core.records import Question
from echodistill.gates.expect import HOLDS, Between, Expect, Table

Cell = tuple[str, str]  # question id, mix id


def wanted_cells(questions: Iterable[Question], mixes: Iterable[Mix], split: str) -> list[Cell]:
    """Return the cells that must exist, computed from the split's questions and recipes."""
    mixes_of: dict[str, list[str]] = defaultdict(list)
    for mix in mixes:
        if mix.split == split:
            mixes_of[mix.clip_id].append(mix.mix_id)
    return [
        (row.question_id, mix_id)
        for row in questions
        if row.split == split
        for mix_id in mixes_of[row.clip_id]
    ]


def grid_checks(
    split: str, wanted: Sequence[Cell], given: Sequence[Cell], once: str, no_other: str
) -> list[Expect]:
    """Return the expectations that every wanted cell of a split is given exactly once (described by
    ``once``), and no other cell (``no_other``).
    """
    count, asked = Counter(given), set(wanted)
    cells = Table.of(
        f"{split}_cells",
        "cell",
        {"cell": _names(wanted), "times": [count[cell] for cell in wanted]},
    )
    rows = Table.of(
        f"{split}_grid",
        "cell",
        {"cell": _names(given), "is_wanted": [cell in asked for cell in given]},
    )
    return [cells.expect("times", Between(1, 1), once), rows.expect("is_wanted", HOLDS, no_other)]


def _names(cells: Sequence[Cell]) -> list[str]:
    return [f"{question_id} in {mix_id}" for question_id, mix_id in cells]
