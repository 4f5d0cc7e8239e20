"""Check the clean teacher's references: one for each training question, whole, parsable, and mostly
right.
"""

from collections import Counter
from pathlib import Path

from echodistill.core.records import Question, Reference, read_rows
from echodistill.evaluation.given_answers import right_answer
from echodistill.gates.expect import HOLDS, Between, Expect, Table
from echodistill.gates.truncation import truncation_check
from echodistill.params.whole import Params

SHOWN_CHARACTERS = 120


def references_checks(folder: Path, corpus_folder: Path, params: Params) -> list[Expect]:
    """Return expectations about a references folder made for the corpus in ``corpus_folder``."""
    rows = read_rows(folder / "references.parquet", Reference)
    questions = [
        row
        for row in read_rows(corpus_folder / "questions.parquet", Question)
        if row.split == "train"
    ]
    asked = {question.question_id: question for question in questions}
    count = Counter(row.question_id for row in rows)
    per_question = Table.of(
        "training_questions",
        "question_id",
        {"question_id": list(asked), "references": [count[question_id] for question_id in asked]},
    )
    table = Table.of(
        "references",
        "question_id",
        {
            "question_id": [row.question_id for row in rows],
            "is_asked": [row.question_id in asked for row in rows],
            "characters": [len(row.response.strip()) for row in rows],
            "correct_agrees": [_agrees(row, asked.get(row.question_id)) for row in rows],
        },
    )
    return [
        per_question.expect(
            "references", Between(1, 1), "every training question has exactly one reference"
        ),
        table.expect("is_asked", HOLDS, "every reference belongs to a training question"),
        table.expect("characters", Between(1), "no response is empty"),
        table.expect(
            "correct_agrees", HOLDS, "a reference counts as correct where it names the right choice"
        ),
        truncation_check(
            {"references": [(len(row.token_ids), row.truncated) for row in rows]},
            params.gates.max_truncated_share,
        ),
        *_teacher(rows, list(asked.values()), params),
    ]


def _agrees(row: Reference, question: Question | None) -> bool:
    return question is None or row.correct == (
        row.parsed == right_answer(question.answer, question.choices)
    )


def _teacher(rows: list[Reference], questions: list[Question], params: Params) -> list[Expect]:
    """Return expectations about the teacher's rates over all references. Without rows the rates are
    0, and so fail.
    """
    least, margin = params.gates.min_parse_rate, params.gates.above_chance
    parsed = sum(row.parsed is not None for row in rows) / max(1, len(rows))
    right = sum(row.correct for row in rows) / max(1, len(rows))
    chances = [1.0 / len(question.choices) for question in questions if question.choices]
    chance = sum(chances) / max(1, len(questions))
    table = Table.of(
        "teacher",
        "name",
        {"name": ["teacher"], "parse_rate": [parsed], "above_chance": [right - chance]},
    )
    unparsed = next((row.response for row in rows if row.parsed is None), "")
    cut = sum(row.truncated for row in rows) / max(1, len(rows))
    shares = (
        f"{100 * right:.1f} % are right (chance {100 * chance:.1f}), {100 * parsed:.1f} % name a"
        f" choice, {100 * cut:.1f} % were cut"
    )
    cure = (
        f"of {len(rows)} clean references {shares}; more clips, more steps (base.nano.steps) or a"
        " pre-trained base (base.model)"
    )
    return [
        table.expect(
            "parse_rate",
            Between(least, 1.0),
            f"at least {100 * least:g} % of the responses name a choice",
            f"{cure}; a response that names none: {unparsed[:SHOWN_CHARACTERS]!r}",
        ),
        table.expect(
            "above_chance",
            Between(margin),
            f"clean training accuracy lies at least {margin:g} above chance",
            cure,
        ),
    ]
