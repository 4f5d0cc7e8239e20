"""Choose the methods' settings on the validation split; the test split is never looked at.

``python -m benchmarks.tune`` trains every setting of ``benchmarks/search.yaml`` once on the corpus,
base and references of the last run and appends its accuracy on the validation mixes to
``benchmarks/tuning.jsonl``. Trials that it contains for the same artifacts and the same parameters
are not run again, so a stopped search goes on; it exits with 1 where a trial failed.
``python -m benchmarks.tune METHOD`` runs the trials of some methods,
``python -m benchmarks.tune table`` prints the file as a table. ``--preset``, ``--search`` and
``--results`` choose other parameters, trials and results.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from echodistill.audio.mixing import Mix
from echodistill.audio.recordings import NoiseLibrary
from echodistill.core.batches import batches
from echodistill.core.errors import UserError
from echodistill.core.records import Question, read_rows
from echodistill.core.yaml12 import load_yaml
from echodistill.data.mixes.drawing import Drawer
from echodistill.data.mixes.noise_settings import noise_settings
from echodistill.data.mixes.sources import sources_of
from echodistill.data.store import Corpus
from echodistill.evaluation.given_answers import is_right
from echodistill.models.audio_llm import AudioLLM, decode
from echodistill.models.base import prompt_of
from echodistill.models.checkpoint import open_base
from echodistill.models.layout import WEIGHTS, content_hash
from echodistill.models.response_limit import corpus_limit
from echodistill.models.responses import respond
from echodistill.overrides import apply_overrides
from echodistill.params.accelerators import ACCELERATORS
from echodistill.params.train import RewardParams
from echodistill.params.whole import Params, validate_params
from echodistill.presets import preset_overrides
from echodistill.teachers.folder import make_references
from echodistill.teachers.references import open_references
from echodistill.teachers.views import VIEWS
from echodistill.training.device import one_thread
from echodistill.training.train import train_student
from echodistill.training.training_rows import TrainingRows

SEARCH, RESULTS = Path("benchmarks/search.yaml"), Path("benchmarks/tuning.jsonl")
CORPUS, MIXES, BASE, REFERENCES = (
    Path("data/corpus"),
    Path("data/mixes"),
    Path("models/base"),
    Path("data/references"),
)
BATCH = 96
DIGITS = 16  # of a sha256 in an identity
AT_A_TIME = 2  # trials, each on one core


@dataclass(frozen=True)
class Accuracy:
    """Shares of right answers on the validation mixes."""

    clean: float
    noisy: float
    """At SNR up to 0 dB."""
    clean_forced: float
    """By forced choice: the most likely of the offered texts."""
    noisy_forced: float


def trials(
    search: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the method and the overrides of every trial."""
    for method, settings in search.items():
        for setting in settings:
            yield method, dict(setting)


def artifacts_id() -> str:
    """Return what identifies the artifacts a trial is trained on: the base's weights, which come
    from the corpus.
    """
    return content_hash(BASE, WEIGHTS)[:DIGITS]


def parameters_of(method: str, settings: Mapping[str, Any], preset: str | None) -> Params:
    """Return ``params.yaml`` with a preset and a trial's settings laid over it. Raises
    ``UserError``.
    """
    raw = load_yaml(Path("params.yaml").read_text(encoding="utf-8"))
    overrides = [
        *preset_overrides([preset] if preset else []),
        f"train.method={method}",
        *(f"{key}={value}" for key, value in settings.items()),
    ]
    return validate_params(apply_overrides(raw, overrides), "params.yaml")


def parameters_id(params: Params) -> str:
    """Return what identifies all parameters that a training and its validation depend on; of the
    methods, those of the chosen one.
    """
    # Trials without an accelerator are identified as before there was any, and so with the others.
    unused = ACCELERATORS.keys() - {params.train.accelerator}
    absent = {*unused, *(["accelerator"] if params.train.accelerator == "none" else [])}
    if params.train.clean_rollouts == 0:
        absent.add("clean_rollouts")
    if params.train.reward == RewardParams(open="exact", format_weight=0.0):
        absent.add("reward")
    train = params.train.model_dump(exclude={"methods", "checkpoint_every", *absent})
    method = getattr(params.train.methods, params.train.method).model_dump()
    parts = {"train": train, "method": method, "seed": params.seed}
    # no mix of training or validation
    parts["mixes"] = params.mixes.model_dump(exclude={"decision_snrs_db"})
    parts["generation"] = params.generation.model_dump()
    if params.references.view != "clean":
        parts["view"] = params.references.view
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:DIGITS]


def accuracy(
    llm: AudioLLM, corpus: Corpus, mixes: Sequence[Mix], noise: NoiseLibrary, limit: int
) -> tuple[float, float]:
    """Return the shares of right free answers and of right forced choices to the questions about
    the mixes' clips; open questions have no forced choice.
    """
    of_clip: dict[str, Question] = {
        question.clip_id: question for question in corpus.questions_of("validation")
    }
    free = forced = offered = 0
    for part in batches(mixes, BATCH):
        asked = [of_clip[mix.clip_id] for mix in part]
        waveforms = [noise.render(mix, corpus.waveform(mix.clip_id)).noisy for mix in part]
        prompts = [prompt_of(row, wave) for wave, row in zip(waveforms, asked, strict=True)]
        for row, response in zip(asked, respond(llm, prompts, limit), strict=True):
            free += is_right(decode(llm, response.token_ids), row)
            if scores := response.choice_log_probs:
                offered += 1
                forced += scores.index(max(scores)) == row.answer_index
    return free / len(mixes), forced / max(1, offered)


def judge(llm: AudioLLM, corpus: Corpus, noise: NoiseLibrary, limit: int) -> Accuracy:
    """Return the model's accuracy on the validation mixes."""
    mixes = [mix for mix in read_rows(MIXES / "mixes.parquet", Mix) if mix.split == "validation"]
    if not mixes:
        raise UserError(
            "there is no validation split to choose settings on: raise corpus.validation_share"
        )
    clean = accuracy(llm, corpus, [mix for mix in mixes if mix.snr_db is None], noise, limit)
    noisy = accuracy(
        llm,
        corpus,
        [mix for mix in mixes if mix.snr_db is not None and mix.snr_db <= 0],
        noise,
        limit,
    )
    return Accuracy(clean[0], noisy[0], clean[1], noisy[1])


def references_of(params: Params) -> Path:
    """Return the folder of the references with the trial's view, which are made where there are
    none. Two trials of one view may not start at the same time before it exists.
    """
    view = params.references.view
    if view == "clean":
        return REFERENCES
    folder = Path("data/compared/references") / view
    if not folder.is_dir():
        with redirect_stdout(sys.stderr):
            make_references(
                folder, params.references, params.generation, view, params.seed, CORPUS, BASE
            )
    return folder


def run_trial(params: Params) -> dict[str, Any]:
    """Train once and return the accuracies before and after, with the seconds it took."""
    one_thread()
    corpus, llm = Corpus(CORPUS), open_base(BASE)
    noise = NoiseLibrary(corpus.waveform)
    targets = open_references(references_of(params))
    drawer = Drawer(
        params.seed, params.mixes, sources_of(corpus, noise_settings(params.seed, params.mixes))
    )
    training = [mix for clip in corpus.clips_of("train") for mix in drawer((clip.clip_id, "train"))]
    view = VIEWS[params.references.view](corpus, params.seed)
    source = TrainingRows(corpus, view, training, noise, targets, llm.tokenizer.pad_token_id)
    limit = corpus_limit(llm.tokenizer, corpus.questions.values(), params.generation.max_new_tokens)
    before = judge(llm, corpus, noise, limit)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        train_student(
            llm,
            source,
            params.train,
            limit,
            params.seed,
            Path(folder),
            lambda _step, _metrics: None,
        )
    seconds = round(time.monotonic() - started)
    return {
        "base": asdict(before),
        "student": asdict(judge(llm, corpus, noise, limit)),
        "seconds": seconds,
    }


def search(only: Sequence[str], preset: str | None, trials_file: Path, kept: Path) -> None:
    """Run all trials of ``trials_file`` that have no result in ``kept`` yet, each in a process of
    its own. Raises ``UserError`` where any failed.
    """
    wanted_by_method = load_yaml(trials_file.read_text(encoding="utf-8"))
    if unknown := set(only) - set(wanted_by_method):
        raise UserError(
            f"{trials_file} has no trials for {sorted(unknown)}; it has them for"
            f" {sorted(wanted_by_method)}"
        )
    artifacts = artifacts_id()
    done = {(row["artifacts"], row["parameters"]) for row in results(kept)}
    wanted = []
    for method, settings in trials(wanted_by_method):
        parameters = parameters_id(parameters_of(method, settings, preset))
        if (artifacts, parameters) not in done and (not only or method in only):
            wanted.append((method, settings, parameters))
    print(f"{len(wanted)} trials to run", flush=True)

    def one(trial: tuple[str, dict[str, Any], str]) -> bool:
        method, settings, parameters = trial
        command = [
            sys.executable,
            "-m",
            "benchmarks.tune",
            "trial",
            method,
            *(["--preset", preset] if preset else []),
            *(f"{key}={value}" for key, value in settings.items()),
        ]
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if ended.returncode != 0:
            print(f"FAILED {method} {settings}", flush=True)
            return False
        found = json.loads(ended.stdout.splitlines()[-1])
        row = {
            "artifacts": artifacts,
            "parameters": parameters,
            "method": method,
            "settings": settings,
        } | found
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(described(row), flush=True)
        return True

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        failed = list(pool.map(one, wanted)).count(False)
    if failed:
        raise UserError(f"{failed} of {len(wanted)} trials failed; the others are in {kept}")


def results(kept: Path) -> list[dict[str, Any]]:
    """Return all recorded trials of the file ``kept``."""
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.is_file() else []
    return [json.loads(line) for line in lines]


def described(row: Mapping[str, Any]) -> str:
    """Return one trial as a row of a Markdown table."""
    settings = ", ".join(
        (
            f"{key.removeprefix('train.')}={value:g}"
            if isinstance(value, float)
            else f"{key.removeprefix('train.')}={value}"
        )
        for key, value in row["settings"].items()
    )
    figures = (
        f"{100 * row['student'][name]:.1f}"
        for name in ("clean", "noisy", "clean_forced", "noisy_forced")
    )
    return (
        f"| {row['method']} | {settings or 'as in params.yaml'} | {' | '.join(figures)} |"
        f" {row['seconds']} |"
    )


def table(kept: Path) -> None:
    """Print all trials of ``kept``, those on each base together, that base first."""
    rows = results(kept)
    print(
        "| method | what differs | clean | ≤ 0 dB | clean, forced | ≤ 0 dB, forced | s"
        " |\n|---|---|---|---|---|---|---|"
    )
    for artifacts in dict.fromkeys(row["artifacts"] for row in rows):
        of_base = [row for row in rows if row["artifacts"] == artifacts]
        print(
            described(
                {
                    "method": f"base {artifacts}",
                    "settings": {},
                    "student": of_base[0]["base"],
                    "seconds": 0,
                }
            )
        )
        for row in sorted(of_base, key=lambda row: (row["method"], json.dumps(row["settings"]))):
            print(described(row))


def main() -> None:
    """Run the command line: nothing or method names, ``table``, or ``trial METHOD KEY=VALUE ...``;
    a fault is one line.
    """
    try:
        _run()
    except UserError as error:
        sys.exit(f"error: {error}")


def _run() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tune", description=__doc__)
    parser.add_argument("words", nargs="*", help="METHOD ..., table, or trial METHOD KEY=VALUE ...")
    parser.add_argument("--preset", help="preset that is laid over params.yaml")
    parser.add_argument("--search", type=Path, default=SEARCH, help="file of the trials")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file of the results")
    given = parser.parse_intermixed_args()
    command, *rest = given.words or [""]
    if command == "table":
        table(given.results)
    elif command == "trial":
        method, *overrides = rest
        changes = dict(override.split("=", 1) for override in overrides)
        params = parameters_of(method, changes, given.preset)
        if params.mixes.noise != "procedural":
            raise UserError("mixes.noise: tuning needs procedural noise")
        print(json.dumps(run_trial(params)))
    else:
        search(given.words, given.preset, given.search, given.results)


if __name__ == "__main__":
    main()
