"""Stage ``report`` of a comparison: write its page for people."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from echodistill.audio.kinds import CLEAN
from echodistill.audio.mixing import Mix
from echodistill.core.atomic import atomic_path
from echodistill.core.counted import counted
from echodistill.core.records import Answer, Quarantined, read_rows
from echodistill.data.mixes.noise_settings import open_noise
from echodistill.data.store import Corpus
from echodistill.evaluation.domains import by_domain
from echodistill.evaluation.units import unit_of
from echodistill.params.whole import Params
from echodistill.reports.audio_examples import draw_examples
from echodistill.reports.compare_table import over
from echodistill.reports.page import AudioExample, Page, render
from echodistill.reports.unparsed import failures_in, write_failures
from echodistill.stages.entry import run_stage
from echodistill.systems import BASE, ECHODISTILL
from echodistill.training.metrics_file import read_metrics

EXAMPLES = 6
"""Number of fixed examples, and of broken ones."""


def report(
    params: Params,
    out: Path,
    unparsed: Path,
    corpus_folder: Path,
    mixes_folder: Path,
    table: Path,
    base: Path,
    answers: Path,
    models: Path,
) -> None:
    """Write the page ``out``, and all answers that name no choice to ``unparsed`` (CSV), since
    the page has room for only some.

    ``answers`` and ``models`` have an entry for each system and seed, with the names that dvc.yaml
    gives them.
    """
    corpus = Corpus(corpus_folder)
    settings, limit = params.compare, params.evaluate.headline_max_snr_db
    noise = open_noise(mixes_folder, corpus)
    mixes = {mix.mix_id: mix for mix in read_rows(mixes_folder / "mixes.parquet", Mix)}
    answers_of = {BASE: read_rows(base, Answer)}
    answers_of |= {
        name: read_rows(answers / f"{name}-{settings.seeds[0]}.parquet", Answer)
        for name in settings.trained
    }
    audio_examples = []
    for one in draw_examples(
        answers_of[BASE], answers_of[ECHODISTILL], corpus.questions, limit, params.seed, EXAMPLES
    ):
        rendered = noise.render(mixes[one.mix_id], corpus.waveform(one.question.clip_id))
        audio_examples.append(AudioExample(one, rendered.clean, rendered.noisy))
    runs = {name: models / f"{name}-{settings.seeds[0]}" for name in settings.trained}
    every = {(BASE, ""): answers_of[BASE]} | {
        system: read_rows(answers / f"{stem}.parquet", Answer)
        for stem, system in _answered(params).items()
    }
    failures = failures_in(every, corpus.questions)
    figures = json.loads(table.read_text(encoding="utf-8"))
    page = Page(
        table=figures,
        audio_examples=audio_examples,
        domains=by_domain(
            answers_of[ECHODISTILL],
            corpus.questions,
            unit_of(corpus.clips.values()),
            limit,
            params.evaluate,
            params.seed,
        ),
        training={name: read_metrics(folder / "metrics.jsonl") for name, folder in runs.items()},
        failures=failures,
        answer_count=sum(len(rows) for rows in every.values()),
        quarantined=read_rows(corpus_folder / "quarantine.parquet", Quarantined),
        facts=_facts(params, corpus, answers_of[BASE], figures),
    )
    with atomic_path(out) as temporary:
        temporary.write_text(render(page), encoding="utf-8")
    write_failures(unparsed, failures)


def _answered(params: Params) -> dict[str, tuple[str, str]]:
    """Return the system and seed of every file of answers, by the file's name."""
    settings = params.compare
    first = str(settings.seeds[0])
    found: dict[str, tuple[str, str]] = {
        f"{name}-{seed}": (name, str(seed)) for name in settings.trained for seed in settings.seeds
    }
    found["text"] = ("text", first)
    for front in (*settings.denoisers, "distorted", "train_mixes"):
        found |= {
            f"{front}-base": (f"{front} + base", ""),
            f"{front}-student": (f"{front} + {ECHODISTILL}", first),
        }
    return found


def _facts(
    params: Params, corpus: Corpus, rows: list[Answer], table: Mapping[str, Any]
) -> list[tuple[str, str]]:
    kinds = sorted({row.noise_kind for row in rows} - {CLEAN})
    unseen = [kind for kind in kinds if kind in params.mixes.unseen]
    train, evaluate, test = params.train, params.evaluate, corpus.clips_of("test")
    snrs = ", ".join(f"{snr:g}" for snr in params.mixes.snrs_db)
    seeds = ", ".join(map(str, params.compare.seeds))
    labels = {name: params.compare.label_of(name) for name in params.compare.trained}
    apart = (
        "none of their groups was trained on"
        if not params.corpus.test.source
        else f"all from {params.corpus.test.source}"
    )
    return [
        (
            "Test",
            f"{counted(len(test), 'clip')},"
            f" {counted(len(corpus.questions_of('test')), 'question')}; {apart}",
        ),
        ("Systems", "; ".join(f"{name}: {label}" for name, label in labels.items())),
        ("Noise", f"{', '.join(kinds)}; not in training: {', '.join(unseen) or 'none'}"),
        (
            "SNR",
            (
                f"by full-clip mean powers; {snrs} dB; the headline is"
                f" {evaluate.headline_max_snr_db:g} dB and less"
            ),
        ),
        (
            "Budget",
            (
                f"{counted(train.steps, 'step')} of {counted(train.prompts_per_step, 'prompt')};"
                f" {counted(train.rollouts, 'sample')}"
                " a prompt where a method samples"
            ),
        ),
        ("Seeds", f"of training: {seeds}; of all else: {params.seed}"),
        (
            "Intervals",
            (
                f"{over(table)}; bootstrap of {evaluate.bootstrap_draws:,} draws, widened by"
                " Student's t"
            ),
        ),
        (
            "Units",
            (
                "groups (speakers, voices, places) where clips have one, else clips; identical"
                " recordings count as one"
            ),
        ),
        (
            "Answers",
            "greedy; exact match of the one choice an answer names; anything else is wrong",
        ),
        (
            "Forced choice",
            (
                "the offered text with the highest log-probability, its end token included; of"
                " equal ones the first"
            ),
        ),
    ]


if __name__ == "__main__":
    run_stage(
        report,
        sections=("seed", "corpus.test", "mixes", "train", "evaluate", "compare"),
        reads_folders=False,
    )
