"""The question that the listening page starts with is one of the corpus."""

from pathlib import Path

import pytest

from echodistill.core.errors import UserError
from echodistill.core.records import Question, write_rows
from echodistill.serving.example import example_of


def row(name: str, split: str, question: str, *choices: str) -> Question:
    return Question(name, name, split, question, choices, choices[0] if choices else "", 0)


@pytest.mark.parametrize(
    ("rows", "example"),
    [
        (
            [
                row("a", "train", "Of training?", "x", "y"),
                row("b", "test", "Which is it?", "yes, both", "no"),
            ],
            ("Which is it?", ["yes, both", "no"]),
        ),
        ([row("a", "test", "What is heard?")], ("What is heard?", [])),
        ([row("a", "train", "Which?", "x", "y")], ("Which?", ["x", "y"])),
        (
            [row("a", "test", "Two\n lines?", "one\nline", "other")],
            ("Two lines?", ["one line", "other"]),
        ),
        (
            [row("a", "test", "One choice?", "x"), row("b", "test", "Which?", "x", "y")],
            ("Which?", ["x", "y"]),
        ),
        (
            [row("a", "test", "Many?", *map(str, range(40))), row("b", "test", "Which?", "x", "y")],
            ("Which?", ["x", "y"]),
        ),
        ([], ("", [])),
    ],
)
def test_it_is_the_first_of_the_test_that_can_be_asked(
    rows: list[Question], example: tuple[str, list[str]], tmp_path: Path
) -> None:
    write_rows(tmp_path / "questions.parquet", Question, rows)
    found = example_of(tmp_path)
    assert (found.question, list(found.choices)) == example


def test_without_a_corpus_it_states_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"questions\.parquet is missing: run the stage"):
        example_of(tmp_path)
