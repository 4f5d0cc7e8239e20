"""Choose the question with which the page starts: one of the corpus, since the models were trained
on those.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from echodistill.core.errors import UserError
from echodistill.core.records import Question, read_rows
from echodistill.models.prompts import validate_question


@dataclass(frozen=True)
class Example:
    """A question and its choices, each on one line."""

    question: str
    choices: Sequence[str]
    """Choices of the question; empty for an open question."""


def example_of(corpus_folder: Path) -> Example:
    """Return the first valid question of the corpus, those of the test first; an empty one where
    there is none.

    Raise ``UserError`` if there is no corpus.
    """
    rows = read_rows(corpus_folder / "questions.parquet", Question)
    for row in sorted(rows, key=lambda row: row.split != "test"):
        example = Example(_one_line(row.question), [_one_line(choice) for choice in row.choices])
        try:
            validate_question(example.question, example.choices)
        except UserError:
            continue
        return example
    return Example("", ())


def _one_line(text: str) -> str:
    return " ".join(text.split())
