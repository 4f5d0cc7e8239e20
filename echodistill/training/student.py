"""Make a student from artifacts on disk.

A killed training resumes from its last complete checkpoint, in the same MLflow run. Where several
processes train together (``accelerate launch``), only the main process writes, prints, logs and
uses the shared store.
"""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from echodistill.accelerator_settings import modules_of
from echodistill.audio.mixing import Mix
from echodistill.core.atomic import atomic_path
from echodistill.core.checksums import write_checksums
from echodistill.core.counted import counted
from echodistill.core.records import read_rows
from echodistill.data.mixes.noise_settings import open_noise
from echodistill.data.store import Corpus
from echodistill.methods.registry import module_of
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.checkpoint import base_revision, open_base
from echodistill.models.layout import BASE_REVISION, PROMPT_STYLE, RUN
from echodistill.models.precision import chosen_device, training_dtype
from echodistill.models.response_limit import corpus_limit
from echodistill.models.text_llm import open_text_llm
from echodistill.params.generation import GenerationParams
from echodistill.params.references import ViewName
from echodistill.params.train import TrainParams
from echodistill.revision import revision_tags
from echodistill.storage.client import checked_place
from echodistill.teachers.references import open_references
from echodistill.teachers.views import VIEWS
from echodistill.tracking.client import MetricStream
from echodistill.training.checkpoints import remove_checkpoints
from echodistill.training.device import one_thread
from echodistill.training.distributed import init, is_main, shutdown
from echodistill.training.metrics_file import METRICS
from echodistill.training.metrics_log import discard_metrics
from echodistill.training.remote_checkpoints import Run, uploaded_checkpoints
from echodistill.training.run_folder import fingerprint, run_folder
from echodistill.training.train import Trained, train_student, write_metrics
from echodistill.training.training_rows import TrainingRows
from echodistill.training.validation_rows import ValidationRows


@dataclass(frozen=True)
class StudentInputs:
    """The folders from which a student is made."""

    corpus: Path
    mixes: Path
    base: Path
    references: Path
    """Folder of the references, which must be made with the same ``view``."""


def make_student(
    out: Path,
    settings: TrainParams,
    generation: GenerationParams,
    seed: int,
    view: ViewName,
    view_seed: int,
    inputs: StudentInputs,
    one_core: bool = False,
) -> None:
    """Make the student folder ``out``: full weights or an adapter, ``metrics.jsonl`` and
    ``run.json``.

    ``seed`` seeds the random numbers of training; ``view_seed`` is the seed with which the
    references were made. ``one_core`` leaves the other cores to trainings that run at the same
    time; its sums are rounded differently, so it has a fingerprint of its own. Raise ``UserError``
    where an input or a service cannot be used.
    """
    if one_core:
        one_thread()
    place = checked_place() if is_main() else None  # The store is checked before any work.
    init()
    llm = open_base(inputs.base, dtype=training_dtype(settings.weights, chosen_device("auto")))
    corpus = Corpus(inputs.corpus)
    limit = corpus_limit(llm.tokenizer, corpus.questions.values(), generation.max_new_tokens)
    chosen = settings.effective() | {"max_new_tokens": limit}
    folders = {name: getattr(inputs, name) for name in ("corpus", "mixes", "base", "references")}
    run_fingerprint = fingerprint(
        "train",
        {"train": chosen, "seed": seed, "view": view, "view_seed": view_seed, "one_core": one_core},
        folders,
        module_of(settings.method),
        *modules_of(settings.accelerator),
    )
    folder = run_folder("train", run_fingerprint)
    every = read_rows(inputs.mixes / "mixes.parquet", Mix)
    mixes = [mix for mix in every if mix.split == "train"]
    noise = open_noise(inputs.mixes, corpus)
    targets = open_references(inputs.references)
    reads = settings.method_settings.text_teacher
    text_teacher = open_text_llm(inputs.base, llm) if reads else None
    source = TrainingRows(
        corpus, VIEWS[view](corpus, view_seed), mixes, noise, targets, llm.tokenizer.pad_token_id
    )
    run = partial(
        train_student,
        llm,
        source,
        settings,
        limit,
        seed,
        folder,
        validation=ValidationRows(corpus, every, noise),
        text_teacher=text_teacher,
    )
    with ExitStack() as open_until_end:
        if is_main():
            print(f"responses have at most {counted(limit, 'token')}")
            stream = open_until_end.enter_context(
                MetricStream(run_fingerprint, settings.method, revision_tags(Path()))
            )
            remote = open_until_end.enter_context(
                uploaded_checkpoints(place, Run("train", run_fingerprint), folder)
            )
            trained = run(stream, remote)
        else:
            trained = run(discard_metrics)
    if is_main():
        facts = {
            "fingerprint": run_fingerprint,
            "method": settings.method,
            "accelerator": settings.accelerator,
            "steps": settings.steps,
            "weights": settings.weights,
            "trainable_parameters": trained.trainable,
            PROMPT_STYLE: corpus.prompt_style,
            BASE_REVISION: base_revision(inputs.base),
        }
        _write(out, folder, facts, trained, llm)
        remove_checkpoints(folder)
    shutdown()


def _write(
    out: Path,
    folder: Path,
    facts: Mapping[str, Any],
    trained: Trained,
    llm: AudioLLM,
) -> None:
    """Write the student in float32, the dtype of training, and ``facts`` beside it.

    Rounding to bfloat16 would set most weights back to their initial values.
    """
    with atomic_path(out) as temporary:
        trained.model.save_pretrained(temporary, state_dict=trained.weights)
        llm.processor.save_pretrained(temporary)
        if facts["weights"] == "full":
            llm.save_generation_config(temporary)
        write_metrics(folder / METRICS, temporary / METRICS)
        (temporary / RUN).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        write_checksums(temporary)
