"""Stage ``report`` of an evaluation: write its page for people."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from echodistill.core.atomic import atomic_path
from echodistill.core.counted import counted
from echodistill.core.records import Answer, Quarantined, read_rows
from echodistill.data.store import Corpus
from echodistill.evaluation.domains import by_domain
from echodistill.evaluation.units import unit_of
from echodistill.params.whole import Params
from echodistill.reports.evaluation_page import render_evaluation
from echodistill.reports.page import ReportPage
from echodistill.reports.sentences import units_text
from echodistill.reports.unparsed import failures_in, write_failures
from echodistill.stages.entry import run_stage
from echodistill.systems import BASE, STUDENT


def evaluation_report(
    params: Params,
    out: Path,
    unparsed: Path,
    corpus_folder: Path,
    table: Path,
    base: Path,
    student: Path,
) -> None:
    """Write the page ``out``, and all answers that name no choice to ``unparsed`` (CSV), since
    the page has room for only some.
    """
    corpus = Corpus(corpus_folder)
    answers_of = {(BASE, ""): read_rows(base, Answer), (STUDENT, ""): read_rows(student, Answer)}
    figures = json.loads(table.read_text(encoding="utf-8"))
    failures = failures_in(answers_of, corpus.questions)
    limit = params.evaluate.headline_max_snr_db
    page = ReportPage(
        table=figures,
        domains=by_domain(
            answers_of[BASE, ""],
            corpus.questions,
            unit_of(corpus.clips.values()),
            limit,
            params.evaluate,
            params.seed,
        ),
        failures=failures,
        answer_count=sum(map(len, answers_of.values())),
        quarantined=read_rows(corpus_folder / "quarantine.parquet", Quarantined),
        facts=_facts(params, figures),
    )
    with atomic_path(out) as temporary:
        temporary.write_text(render_evaluation(page), encoding="utf-8")
    write_failures(unparsed, failures)


def _facts(params: Params, table: Mapping[str, Any]) -> list[tuple[str, str]]:
    student = f"{table['student']} ({table['method']})" if table["student"] else "none"
    evaluate, snrs = params.evaluate, ", ".join(f"{snr:g}" for snr in params.mixes.snrs_db)
    return [
        (
            "Test",
            (
                f"{counted(table['clips'], 'clip')}, {counted(table['questions'], 'question')}"
                f" of {table['source']}; none"
                " of them is trained on here"
            ),
        ),
        ("Base", table["base"]),
        ("Student", student),
        ("Noise", f"{', '.join(params.mixes.kinds)}; {params.mixes.noise}"),
        (
            "SNR",
            (
                f"by full-clip mean powers; {snrs} dB; the headline is"
                f" {evaluate.headline_max_snr_db:g} dB and less"
            ),
        ),
        (
            "Intervals",
            (
                f"{100 * table['confidence']:g} % over {units_text(table)}; bootstrap of"
                f" {evaluate.bootstrap_draws:,} draws"
            ),
        ),
        (
            "Answers",
            "greedy; exact match of the one choice an answer names; anything else is wrong",
        ),
        ("Seed", str(params.seed)),
    ]


if __name__ == "__main__":
    run_stage(evaluation_report, sections=("seed", "mixes", "evaluate"), reads_folders=False)
