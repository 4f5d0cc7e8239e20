"""Stage ``evaluate`` of an evaluation: compute one table of figures from the answers of the base,
and of a student if there is one.
"""

import json
from pathlib import Path

from echodistill.core.atomic import atomic_path
from echodistill.core.records import Answer, read_rows
from echodistill.data.mixes.sources import babble_split
from echodistill.data.store import Corpus
from echodistill.evaluated_student import is_absent, method_of
from echodistill.evaluation.headline import curve_points, top_figures
from echodistill.evaluation.many_systems import System, table_of
from echodistill.evaluation.official_scoring import scoring_of, with_authors
from echodistill.evaluation.scores import Scored, score_answers
from echodistill.evaluation.units import unit_of
from echodistill.params.corpus import judged_on
from echodistill.params.whole import Params
from echodistill.reports.points import write_points
from echodistill.stages.entry import run_stage
from echodistill.systems import BASE, STUDENT


def evaluate_test_only(
    params: Params,
    out: Path,
    top: Path,
    curves: Path,
    corpus_folder: Path,
    base_facts: Path,
    base: Path,
    student: Path,
    student_folder: Path,
) -> None:
    """Write the table ``out`` (JSON), its top figures ``top`` (JSON) and its curves ``curves``
    (CSV).
    """
    corpus = Corpus(corpus_folder)
    questions, units = corpus.questions, unit_of(corpus.clips.values())
    source = judged_on(params.corpus)
    scoring = scoring_of(source, params.corpus.manifest)
    base_rows = read_rows(base, Answer)

    def scored(rows: list[Answer]) -> Scored:
        return with_authors(
            score_answers(rows, base_rows, questions, units), rows, questions, scoring
        )

    systems = [System(BASE, (scored(base_rows),))]
    if not is_absent(student_folder):
        systems.append(System(STUDENT, (scored(read_rows(student, Answer)),)))
    pairs = [(STUDENT, BASE)] if len(systems) > 1 else []
    table = table_of(systems, pairs, params.evaluate, params.seed)
    asked = corpus.questions_of("test")
    table |= {
        "source": source,
        "base": json.loads(base_facts.read_text(encoding="utf-8"))["model"],
        "student": params.evaluate.student,
        "method": method_of(student_folder) if pairs else None,
        "questions": len(asked),
        "chance": sum(1.0 / len(row.choices) for row in asked if row.choices) / len(asked),
        "crowd_of": babble_split(corpus.clips.values()),
    }
    if scoring:
        table["scoring"] = scoring.as_dict()
    for path, content in ((out, table), (top, top_figures(table))):
        with atomic_path(path) as temporary:
            temporary.write_text(
                json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8"
            )
    write_points(curves, list(curve_points(table)))


if __name__ == "__main__":
    run_stage(
        evaluate_test_only,
        sections=(
            "seed",
            "corpus.source",
            "corpus.manifest",
            "corpus.test",
            "evaluate",
        ),
        reads_folders=False,
    )
