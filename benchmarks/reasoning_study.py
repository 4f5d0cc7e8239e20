"""Run the study that docs/results/reasoning.md declares, arm by arm, and print its tables.

``python -m benchmarks.reasoning_study run [ARM ...] [--seeds 1 2 ...]`` trains every arm of
``benchmarks/reasoning_arms.yaml`` with every seed on the artifacts of ``echodistill run -P reason
base references mixes`` and answers the test. Each training leaves two files in
``docs/results/reasoning``: ``ARM-SEED.json`` (settings, artifacts, cost, metrics of the training)
and ``ARM-SEED.parquet`` (all answers, from which every figure can be computed again). What is there
for the same artifacts and settings is not run again, so the study goes on where it stopped, on any
machine with the same artifacts. ``python -m benchmarks.reasoning_study table`` prints the figures.
"""

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.tune import BASE, CORPUS, MIXES, artifacts_id, parameters_of, references_of
from echodistill.core.atomic import atomic_path
from echodistill.core.errors import UserError
from echodistill.core.records import Answer, Question, read_rows
from echodistill.core.yaml12 import load_yaml
from echodistill.data.mixes.noise_settings import open_noise
from echodistill.data.store import Corpus
from echodistill.evaluation.given_answers import is_right
from echodistill.evaluation.many_systems import System, table_of
from echodistill.evaluation.scores import Scored, score_answers
from echodistill.evaluation.units import unit_of
from echodistill.inference.answer_grid import answer_grid, grid_items
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.checkpoint import load_base_or_student, open_base
from echodistill.models.layout import WEIGHTS, content_hash
from echodistill.models.response_limit import corpus_limit
from echodistill.params.whole import Params
from echodistill.training.device import one_thread
from echodistill.training.metrics_file import METRICS, read_metrics
from echodistill.training.student import StudentInputs, make_student

ARMS, RESULTS, PRESET = (
    Path("benchmarks/reasoning_arms.yaml"),
    Path("docs/results/reasoning"),
    "reason",
)
SEEDS = (1, 2, 3, 4, 5)
REFERENCE_ARMS = ("sft", "distill", "echodistill")
"""Arms with which every other arm is compared."""
MEANS = ("entropy", "zero_variance_groups", "frac_reward_zero_std", "reward", "truncated_share")
"""Metrics of a training whose mean over the steps is kept, where it has them."""


def arms() -> dict[str, dict[str, Any]]:
    """Return what each arm changes, by its name."""
    found: dict[str, dict[str, Any]] = load_yaml(ARMS.read_text(encoding="utf-8"))
    return found


def parameters(changes: Mapping[str, Any]) -> Params:
    """Return the parameters of an arm."""
    others = {key: value for key, value in changes.items() if key != "train.method"}
    return parameters_of(str(changes["train.method"]), others, PRESET)


def identity(params: Params) -> dict[str, Any]:
    """Return what a result depends on: it is run again where this differs."""
    return {
        "artifacts": artifacts(),
        "train": params.train.effective(),
        "view": params.references.view,
    }


def artifacts() -> dict[str, str]:
    """Return what identifies the base, the corpus and the mixes that all results share."""
    return {
        "base": artifacts_id(),
        "corpus": content_hash(CORPUS, "*.parquet"),
        "mixes": content_hash(MIXES, "*.parquet"),
    }


def run(names: Sequence[str], seeds: Sequence[int]) -> None:
    """Run what is missing of the arms ``names`` with ``seeds``, after the base's answers."""
    one_thread()
    known = arms()
    if unknown := set(names) - known.keys():
        raise UserError(f"{ARMS} has no arm {sorted(unknown)}; it has {', '.join(known)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    if _artifacts_of("base") != artifacts():
        _answer(open_base(BASE), RESULTS / "base.parquet", "base")
        content = {"arm": "base", "identity": {"artifacts": artifacts()}}
        _write(RESULTS / "base.json", content)
    for seed in seeds:
        for name in names or known:
            params = parameters(known[name])
            facts = identity(params)
            record = RESULTS / f"{name}-{seed}.json"
            kept = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
            if kept.get("identity") == json.loads(json.dumps(facts)):
                continue
            _run_one(name, seed, params, facts, record)


def _run_one(name: str, seed: int, params: Params, facts: Mapping[str, Any], record: Path) -> None:
    """Train and answer one arm with one seed, and write its two files, the record last."""
    references = references_of(params)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        student = Path(folder) / "student"
        inputs = StudentInputs(CORPUS, MIXES, BASE, references)
        view, generation = params.references.view, params.generation
        make_student(
            student, params.train.chosen, generation, seed, view, params.seed, inputs, True
        )
        seconds = time.monotonic() - started
        metrics = read_metrics(student / METRICS)
        answers = record.with_suffix(".parquet")
        _answer(load_base_or_student(student, BASE), answers, content_hash(student, WEIGHTS))
    means = {
        key: statistics.fmean(row[key] for row in metrics if key in row)
        for key in MEANS
        if any(key in row for row in metrics)
    }
    content = {
        "arm": name,
        "seed": seed,
        "identity": facts,
        "seconds_per_step": seconds / params.train.steps,
        "sampled_tokens": sum(row.get("sampled_tokens", 0.0) for row in metrics),
        "means": means,
    }
    _write(record, content)
    print(f"{name} seed {seed}: {seconds:.0f} s of training", flush=True)


def _write(record: Path, content: Mapping[str, Any]) -> None:
    with atomic_path(record) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _artifacts_of(name: str) -> dict[str, str] | None:
    """Return the artifacts of the result ``name``, or ``None`` where there is none."""
    record = RESULTS / f"{name}.json"
    if not record.is_file():
        return None
    found: dict[str, str] = json.loads(record.read_text(encoding="utf-8"))["identity"]["artifacts"]
    return found


def _answer(llm: AudioLLM, out: Path, weights: str) -> None:
    """Write the model's answers to the test grid; ``weights`` identifies the model, so that a
    killed run continues with the answers of no other.
    """
    corpus = Corpus(CORPUS)
    limit = corpus_limit(llm.tokenizer, corpus.questions.values(), None)
    items = grid_items(corpus, MIXES, open_noise(MIXES, corpus))
    run_fingerprint = json.dumps([weights, artifacts()], sort_keys=True)
    digest = hashlib.sha256(run_fingerprint.encode()).hexdigest()[:32]
    answer_grid(out, f"study {out.stem}", digest, llm, items, limit)


def table() -> None:
    """Print the figures of the arms that have all results of the same seeds, over all questions, by
    task, and on the questions that the base answers wrongly about the clean clip.
    """
    corpus, present = Corpus(CORPUS), artifacts()
    if _artifacts_of("base") != present:
        raise UserError(
            f"{RESULTS} has no answers of the base in models/base: run the study on these artifacts"
        )
    base = read_rows(RESULTS / "base.parquet", Answer)
    seeds_of = {
        name: [seed for seed in SEEDS if _artifacts_of(f"{name}-{seed}") == present]
        for name in arms()
    }
    most = max(seeds_of.values(), key=len)
    if not most:
        raise UserError(f"{RESULTS} has no arm on these artifacts: run the study first")
    for name, seeds in seeds_of.items():
        if seeds != most:
            print(f"{name}: seeds {seeds} of {most}, left out")
    complete = {
        name: [read_rows(RESULTS / f"{name}-{seed}.parquet", Answer) for seed in seeds]
        for name, seeds in seeds_of.items()
        if seeds == most
    }
    clean = {row.question_id: row.response for row in base if row.snr_db is None}
    wrong = {key for key, text in clean.items() if not is_right(text, corpus.questions[key])}
    parts: dict[str, Callable[[Question], bool]] = {
        "reason": lambda one: one.task == "reason",
        "reason, the teacher is wrong": lambda one: (
            one.task == "reason" and one.question_id in wrong
        ),
        "reason_choices": lambda one: one.task == "reason_choices",
        "recognise": lambda one: one.task == "recognise",
    }
    for label, chosen in parts.items():
        _print_part(label, chosen, corpus, base, complete)


def _print_part(
    label: str,
    chosen: Callable[[Question], bool],
    corpus: Corpus,
    base: Sequence[Answer],
    found: Mapping[str, Sequence[Sequence[Answer]]],
) -> None:
    params = parameters({"train.method": "sft"})
    units = unit_of(corpus.clips.values())

    def of_part(rows: Sequence[Answer]) -> list[Answer]:
        return [row for row in rows if chosen(corpus.questions[row.question_id])]

    def scored(rows: Sequence[Answer]) -> Scored:
        return score_answers(of_part(rows), of_part(base), corpus.questions, units)

    if not of_part(base):
        return
    systems = [System("base", (scored(base),))] + [
        System(name, tuple(map(scored, seeds))) for name, seeds in found.items()
    ]
    pairs = [(name, "base") for name in found] + [
        (name, other)
        for name in found
        for other in REFERENCE_ARMS
        if other in found and name != other
    ]
    figures = table_of(systems, pairs, params.evaluate, params.seed)
    print(f"\n{label}: {len(of_part(base))} answers of each system\n")
    print(
        "| arm | clean | noise | noise, minus base | "
        + " | ".join(f"minus {other}" for other in REFERENCE_ARMS if other in found)
        + " |"
    )
    print("|" + "---|" * (4 + sum(other in found for other in REFERENCE_ARMS)))
    for name in ("base", *found):
        own = figures["systems"][name]
        cells = [name, f"{100 * own['clean_acc']['value']:.1f}", f"{100 * own['acc']['value']:.1f}"]
        for other in ("base", *(one for one in REFERENCE_ARMS if one in found)):
            entry = figures["differences"].get(f"{name} - {other}", {}).get("acc")
            cells.append("" if entry is None else _interval(entry))
        print("| " + " | ".join(cells) + " |")


def _interval(entry: Mapping[str, float]) -> str:
    value, low, high = (100 * entry[key] for key in ("value", "low", "high"))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def main() -> None:
    """Run the command line; a fault is one line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reasoning_study", description=__doc__
    )
    parser.add_argument("command", choices=("run", "table"))
    parser.add_argument("arms", nargs="*", help="arms to run; all by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    given = parser.parse_intermixed_args()
    try:
        table() if given.command == "table" else run(given.arms, given.seeds)
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
