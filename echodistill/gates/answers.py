"""What a model's answers must be before they are compared: the full grid of questions and mixes, once each."""

from collections import Counter, defaultdict
from pathlib import Path

from echodistill.audio.mixing import Mix
from echodistill.gates.expect import HOLDS, Between, Expect, Table
from echodistill.records import Answer, Question, read_rows


def answers_checks(path: Path, mixes_folder: Path, corpus_folder: Path) -> list[Expect]:
    """Expectations about one model's answers to the test questions of a corpus."""
    rows = read_rows(path, Answer)
    mixes = {mix.mix_id: mix for mix in read_rows(mixes_folder / "mixes.parquet", Mix) if mix.split == "test"}
    mixes_of: dict[str, list[str]] = defaultdict(list)
    for mix in mixes.values():
        mixes_of[mix.clip_id].append(mix.mix_id)
    questions = [row for row in read_rows(corpus_folder / "questions.parquet", Question) if row.split == "test"]
    wanted = [(row.question_id, mix_id) for row in questions for mix_id in mixes_of[row.clip_id]]
    count = Counter((row.question_id, row.mix_id) for row in rows)
    grid = Table.of(
        "grid",
        "cell",
        {"cell": [f"{question} in {mix}" for question, mix in wanted], "answers": [count[cell] for cell in wanted]},
    )
    asked = set(wanted)
    table = Table.of(
        "answers",
        "cell",
        {
            "cell": [f"{row.question_id} in {row.mix_id}" for row in rows],
            "is_asked": [(row.question_id, row.mix_id) in asked for row in rows],
            "condition_agrees": [_agrees(row, mixes.get(row.mix_id)) for row in rows],
        },
    )
    return [
        grid.expect("answers", Between(1, 1), "every test question has exactly one answer in every mix of its clip"),
        table.expect("is_asked", HOLDS, "every answer belongs to a test question and a mix of its clip"),
        table.expect("condition_agrees", HOLDS, "every answer names the noise and SNR of its mix"),
    ]


def _agrees(row: Answer, mix: Mix | None) -> bool:
    return mix is None or (row.noise_kind, row.snr_db) == (mix.noise_kind, mix.snr_db)
