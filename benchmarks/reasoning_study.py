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
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.tune import BASE, CORPUS, MIXES, artifacts_id, parameters_of, references_of
from echodistill.audio.mixing import Mix
from echodistill.core.atomic import atomic_path
from echodistill.core.errors import UserError
from echodistill.core.records import Answer, Question, read_rows, write_rows
from echodistill.core.seeds import rng
from echodistill.core.yaml12 import load_yaml
from echodistill.data.mixes.noise_settings import open_noise
from echodistill.data.store import Corpus
from echodistill.evaluation.given_answers import is_right
from echodistill.evaluation.many_systems import System, table_of
from echodistill.evaluation.scores import Scored, score_answers
from echodistill.evaluation.units import unit_of
from echodistill.inference.answer_grid import answer_grid, grid_items
from echodistill.inference.sampled import right_samples
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
LABELLED = "labelled"
"""Key of an arm: the share of the training clips that it is trained on."""
SAMPLES, SAMPLED_SNR_DB = 4, 0
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
    apart = ("train.method", LABELLED)
    others = {key: value for key, value in changes.items() if key not in apart}
    return parameters_of(str(changes["train.method"]), others, PRESET)


def identity(params: Params, labelled: float) -> dict[str, Any]:
    """Return what a result depends on: it is run again where this differs."""
    return {
        "artifacts": artifacts(),
        "train": params.train.effective(),
        "view": params.references.view,
        LABELLED: labelled,
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
        llm = open_base(BASE)
        _answer(llm, RESULTS / "base.parquet", "base")
        content = {
            "arm": "base",
            "identity": {"artifacts": artifacts()},
            "sampled": _sampled_in_noise(llm, 0),
        }
        _write(RESULTS / "base.json", content)
    for seed in seeds:
        for name in names or known:
            params = parameters(known[name])
            facts = identity(params, known[name].get(LABELLED, 1.0))
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
        mixes = _labelled_mixes(Path(folder), facts[LABELLED])
        inputs = StudentInputs(CORPUS, mixes, BASE, references)
        view, generation = params.references.view, params.generation
        make_student(
            student, params.train.chosen, generation, seed, view, params.seed, inputs, True
        )
        seconds = time.monotonic() - started
        metrics = read_metrics(student / METRICS)
        answers = record.with_suffix(".parquet")
        llm = load_base_or_student(student, BASE)
        _answer(llm, answers, content_hash(student, WEIGHTS))
        sampled = _sampled_in_noise(llm, seed)
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
        "sampled": sampled,
    }
    _write(record, content)
    print(f"{name} seed {seed}: {seconds:.0f} s of training", flush=True)


def _labelled_mixes(folder: Path, share: float) -> Path:
    """Return a folder with the mixes of a share of the training clips alone, which stands for a
    corpus of which no more is labelled; that of all mixes where the share is 1.
    """
    if share == 1.0:
        return MIXES
    clips = sorted(clip.clip_id for clip in Corpus(CORPUS).clips_of("train"))
    order = rng("labelled clips", 0).permutation(len(clips))
    kept = {clips[index] for index in order[: max(1, round(share * len(clips)))]}
    out = folder / "mixes"
    shutil.copytree(MIXES, out)
    rows = read_rows(MIXES / "mixes.parquet", Mix)
    some = [row for row in rows if row.split != "train" or row.clip_id in kept]
    write_rows(out / "mixes.parquet", Mix, some)
    return out


def _sampled_in_noise(llm: AudioLLM, seed: int) -> dict[str, float]:
    """Return pass@1, pass@K and the share of questions with right and wrong samples, over the open
    questions of the test in noise of ``SAMPLED_SNR_DB``.
    """
    corpus = Corpus(CORPUS)
    limit = corpus_limit(llm.tokenizer, corpus.questions.values(), None)
    asked = [
        (corpus.questions[item.question_id], item.prompt)
        for item in grid_items(corpus, MIXES, open_noise(MIXES, corpus))
        if item.snr_db == SAMPLED_SNR_DB and corpus.questions[item.question_id].task == "reason"
    ]
    if not asked:
        raise UserError(f"the test has no open questions in noise of {SAMPLED_SNR_DB} dB")
    torch.manual_seed(seed)
    counts = right_samples(llm, asked, SAMPLES, limit)
    return {
        "questions": len(asked),
        "pass_at_1": sum(counts) / (SAMPLES * len(asked)),
        f"pass_at_{SAMPLES}": sum(count > 0 for count in counts) / len(asked),
        "mixed_share": sum(0 < count < SAMPLES for count in counts) / len(asked),
    }


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
    _print_training(complete, most)


def _print_training(names: Iterable[str], seeds: Sequence[int]) -> None:
    """Print what the trainings cost and how the models sample, as means over the seeds."""
    rows = {"base": [_record("base")]}
    rows |= {name: [_record(f"{name}-{seed}") for seed in seeds] for name in names}
    columns: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
        "s a step": lambda row: row.get("seconds_per_step"),
        "sampled tokens": lambda row: row.get("sampled_tokens"),
        "entropy": lambda row: row.get("means", {}).get("entropy"),
        "groups without variance": lambda row: row.get("means", {}).get("zero_variance_groups"),
        "cut samples": lambda row: row.get("means", {}).get("truncated_share"),
        "pass@1": lambda row: row["sampled"]["pass_at_1"],
        f"pass@{SAMPLES}": lambda row: row["sampled"][f"pass_at_{SAMPLES}"],
        "mixed groups": lambda row: row["sampled"]["mixed_share"],
    }
    print(f"\ntraining, and {SAMPLES} samples of each open question at {SAMPLED_SNR_DB} dB\n")
    print("| arm | " + " | ".join(columns) + " |")
    print("|" + "---|" * (1 + len(columns)))
    for name, records in rows.items():
        cells = [name]
        for of in columns.values():
            values = [value for row in records if (value := of(row)) is not None]
            cells.append(f"{statistics.fmean(values):.4g}" if values else "")
        print("| " + " | ".join(cells) + " |")


def _record(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


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
