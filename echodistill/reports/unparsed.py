"""Write the answers that name no choice to a file, since a page has room for only some of them."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from pathlib import Path

from echodistill.core.atomic import atomic_path
from echodistill.core.records import Answer, Question
from echodistill.evaluation.given_answers import given_answer
from echodistill.reports.page import Failure

SystemAndSeed = tuple[str, str]


def failures_in(
    answers: Mapping[SystemAndSeed, Sequence[Answer]], questions: Mapping[str, Question]
) -> list[Failure]:
    """Return the answers that name no choice, or several."""
    return [
        Failure(*system, row.mix_id, questions[row.question_id].question, row.response)
        for system, rows in answers.items()
        for row in rows
        if given_answer(row.response, questions[row.question_id].choices) is None
    ]


def write_failures(path: Path, failures: Sequence[Failure]) -> None:
    """Write ``failures`` as CSV."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Failure)])
        writer.writerows(astuple(one) for one in failures)
