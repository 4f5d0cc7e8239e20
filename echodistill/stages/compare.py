"""Stage ``compare`` of a comparison: compute one table of figures, intervals and tests from the
answers of all systems and seeds.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from echodistill.core.atomic import atomic_path
from echodistill.core.records import Answer, Question, read_rows
from echodistill.data.mixes.folds import FIRST, held_out_kinds
from echodistill.data.store import Corpus
from echodistill.evaluation.budget import budget_of
from echodistill.evaluation.generalisation import distortion_table, level_table
from echodistill.evaluation.headline import curve_points, seed_figures, top_figures
from echodistill.evaluation.many_systems import System, table_of
from echodistill.evaluation.official_scoring import Scoring, scoring_of, with_authors
from echodistill.evaluation.rotation import Fold, rotation_table
from echodistill.evaluation.scores import Scored, score_answers
from echodistill.evaluation.units import unit_of
from echodistill.models.prompts import LETTERS
from echodistill.params.corpus import judged_on
from echodistill.params.whole import Params
from echodistill.reports.points import write_points
from echodistill.stages.entry import run_stage
from echodistill.systems import BASE, ECHODISTILL, fold_run
from echodistill.training.metrics_file import METRICS, read_metrics

TEXT, CONSTANT = "text", "constant"


def compare(
    params: Params,
    out: Path,
    top: Path,
    curves: Path,
    corpus_folder: Path,
    base: Path,
    answers: Path,
    models: Path,
) -> None:
    """Write the table ``out`` (JSON), its top figures ``top`` (JSON) and its curves ``curves``
    (CSV).

    ``answers`` and ``models`` have an entry for each system and seed, with the names that dvc.yaml
    gives them.
    """
    corpus = Corpus(corpus_folder)
    questions, units = corpus.questions, unit_of(corpus.clips.values())
    settings = params.compare
    base_rows = read_rows(base, Answer)
    scoring = _scoring(params)

    def scored(rows: list[Answer]) -> Scored:
        return with_authors(
            score_answers(rows, base_rows, questions, units), rows, questions, scoring
        )

    trained = [
        System(
            name,
            tuple(
                scored(read_rows(answers / f"{name}-{seed}.parquet", Answer))
                for seed in settings.seeds
            ),
        )
        for name in settings.trained
    ]
    floor = [
        System(TEXT, (scored(read_rows(answers / "text.parquet", Answer)),)),
        System(CONSTANT, (scored(list(_constant(base_rows, questions))),)),
    ]
    table = table_of(
        [System(BASE, (scored(base_rows),)), *floor, *trained],
        _pairs(settings.trained),
        params.evaluate,
        params.seed,
    )
    table["unseen_kinds"] = sorted({row.noise_kind for row in base_rows} & set(params.mixes.unseen))
    if scoring:
        table["scoring"] = scoring.as_dict()
    if settings.denoisers:
        table["denoised"] = _denoised(params, scored, base_rows, answers)
    of_base, of_student = (
        read_rows(answers / f"distorted-{model}.parquet", Answer) for model in ("base", "student")
    )
    table["distortions"] = distortion_table(
        of_base, of_student, questions, units, params.evaluate, params.seed
    )
    table["by_seed"] = {
        system.name: dict(
            zip(
                map(str, settings.seeds),
                seed_figures(system, params.evaluate.headline_max_snr_db),
                strict=True,
            )
        )
        for system in trained
    }
    table["generalisation"] = _generalisation(params, base_rows, corpus, answers)
    if settings.folds:
        table["rotation"] = _rotation(params, scored, base_rows, answers)
    table["budget"] = {name: _budget(params, name, models) for name in settings.trained}
    for path, content in ((out, table), (top, top_figures(table))):
        with atomic_path(path) as temporary:
            temporary.write_text(
                json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8"
            )
    write_points(curves, list(curve_points(table)))


def _budget(params: Params, name: str, models: Path) -> dict[str, float]:
    trainings = [read_metrics(models / f"{name}-{seed}" / METRICS) for seed in params.compare.seeds]
    return budget_of(trainings, params.train.prompts_per_step)


def _generalisation(
    params: Params, base_rows: list[Answer], corpus: Corpus, answers: Path
) -> dict[str, object]:
    """Return the accuracy by SNR for clips and noises that training had, and for those that it had
    not.
    """
    questions, units = corpus.questions, unit_of(corpus.clips.values())
    # the answers are those of the first seed, whose student answered the training's clips too
    student = [read_rows(answers / f"{ECHODISTILL}-{params.compare.seeds[0]}.parquet", Answer)]
    unseen, trained = set(params.mixes.unseen), params.mixes.train_snrs_db

    def of_kinds(rows: list[Answer], wanted: bool) -> list[Answer]:
        return [
            row for row in rows if row.snr_db is not None and (row.noise_kind in unseen) == wanted
        ]

    train_mixes_base, train_mixes_student = (
        read_rows(answers / f"train_mixes-{model}.parquet", Answer) for model in ("base", "student")
    )
    parts = {
        "trained_clips": (
            "Clips and voices of the training split, noises as in training",
            train_mixes_base,
            [train_mixes_student],
        ),
        "new_voices": (
            "New voices, noises as in training",
            of_kinds(base_rows, False),
            [of_kinds(rows, False) for rows in student],
        ),
        "new_noises": (
            "New voices, noises never in training",
            of_kinds(base_rows, True),
            [of_kinds(rows, True) for rows in student],
        ),
    }
    return {
        name: level_table(
            label, of_base, of_student, questions, units, trained, params.evaluate, params.seed
        )
        for name, (label, of_base, of_student) in parts.items()
        if of_base
    }


def _rotation(
    params: Params, scored: Callable[[list[Answer]], Scored], base_rows: list[Answer], answers: Path
) -> dict[str, object]:
    """Return the cost of not training with a kind of noise; the first fold is the first seed's
    student.
    """
    settings, first = params.compare, params.compare.seeds[0]
    names = {FIRST: f"{ECHODISTILL}-{first}"} | {
        fold: fold_run(fold, first) for fold in settings.folds
    }
    count = len(names)
    folds = [
        Fold(
            held_out_kinds(params.mixes, fold, count),
            scored(read_rows(answers / f"{name}.parquet", Answer)),
        )
        for fold, name in names.items()
    ]
    held_out: dict[str, object] = {"held_out": [list(fold.held_out) for fold in folds]}
    return held_out | rotation_table(scored(base_rows), folds, params.evaluate, params.seed)


def _scoring(params: Params) -> Scoring | None:
    """Return the scoring rule of the source that the test's rows are from, or ``None``."""
    corpus = params.corpus
    return scoring_of(
        judged_on(corpus), corpus.test.manifest if corpus.test.source else corpus.manifest
    )


def _pairs(systems: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the pairs of systems to compare: each system with the base, then ``ECHODISTILL`` with
    each other system.
    """
    return [(name, BASE) for name in systems] + [
        (ECHODISTILL, name) for name in systems if name != ECHODISTILL
    ]


def _constant(base_rows: list[Answer], questions: dict[str, Question]) -> Iterator[Answer]:
    """Yield the answers of a system that always names the first choice, with its letter as in the
    prompt, and that gives every open question the most frequent right answer. It needs no audio,
    and since it is always consistent its GSR is 1.
    """
    frequent = Counter(one.answer for one in questions.values() if not one.choices).most_common(1)
    for row in base_rows:
        choices = questions[row.question_id].choices
        scores = tuple(0.0 if index == 0 else -math.inf for index in range(len(choices)))
        yield replace(
            row,
            response=f"{LETTERS[0]}. {choices[0]}" if choices else frequent[0][0],
            choice_log_probs=scores,
            choice_tokens=(1,) * len(choices),
        )


def _denoised(
    params: Params, scored: Callable[[list[Answer]], Scored], base_rows: list[Answer], answers: Path
) -> dict[str, object]:
    """Return the table of denoisers in front of the base and of our first seed's student, beside
    both without a denoiser, on the rows that were denoised.
    """
    first = f"{ECHODISTILL}-{params.compare.seeds[0]}"
    rows = {
        f"{name} + {model}": f"{name}-{model}"
        for name in params.compare.denoisers
        for model in ("base", "student")
    }
    read = {name: read_rows(answers / f"{file}.parquet", Answer) for name, file in rows.items()}
    kept = {(row.question_id, row.mix_id) for row in next(iter(read.values()))}
    read |= {
        BASE: [row for row in base_rows if (row.question_id, row.mix_id) in kept],
        ECHODISTILL: [
            row
            for row in read_rows(answers / f"{first}.parquet", Answer)
            if (row.question_id, row.mix_id) in kept
        ],
    }
    systems = [System(name, (scored(found),)) for name, found in read.items()]
    pairs = [(name, BASE if name.endswith("base") else ECHODISTILL) for name in rows] + [
        (ECHODISTILL, BASE)
    ]
    return table_of(systems, pairs, params.evaluate, params.seed)


if __name__ == "__main__":
    run_stage(
        compare,
        sections=(
            "seed",
            "corpus.source",
            "corpus.manifest",
            "corpus.test",
            "evaluate",
            "compare",
            "mixes",
            "train.prompts_per_step",
        ),
        reads_folders=False,
    )
