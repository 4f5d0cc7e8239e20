"""Stage ``evaluate``: compute figures, intervals and curves from answers. It needs no model."""

import json
from pathlib import Path

import numpy as np

from echodistill.core.atomic import atomic_path
from echodistill.core.records import Answer, read_rows
from echodistill.data.store import Corpus
from echodistill.evaluation.base_and_student import compare_systems
from echodistill.evaluation.scores import score_answers
from echodistill.evaluation.units import unit_of
from echodistill.models.layout import read_run
from echodistill.params.whole import Params
from echodistill.reports.curves import accuracy_curves, write_curve_points
from echodistill.stages.entry import run_stage


def evaluate(
    params: Params,
    metrics: Path,
    points: Path,
    picture: Path,
    corpus_folder: Path,
    base: Path,
    student: Path,
    run: Path,
) -> None:
    """Write ``metrics`` (JSON), ``points`` (CSV for ``dvc plots``) and ``picture`` (PNG of accuracy
    by SNR).
    """
    corpus = Corpus(corpus_folder)
    questions, units = corpus.questions, unit_of(corpus.clips.values())
    base_answers, student_answers = read_rows(base, Answer), read_rows(student, Answer)
    method = read_run(run.parent)["method"]
    with np.errstate(all="raise"):  # 0/0 must not become a figure
        figures = compare_systems(
            method,
            score_answers(base_answers, base_answers, questions, units),
            score_answers(student_answers, base_answers, questions, units),
            params.evaluate,
            params.mixes.unseen,
            params.seed,
        )
    with atomic_path(metrics) as temporary:
        temporary.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    write_curve_points(points, figures)
    accuracy_curves(picture, figures)


if __name__ == "__main__":
    run_stage(evaluate, sections=("seed", "mixes.unseen", "evaluate"))
