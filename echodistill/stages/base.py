"""Stage ``base``: the model to make robust. ``nano`` is built and pre-trained here; any other is pointed to."""

import json
from pathlib import Path
from typing import TypedDict

from echodistill.atomic import atomic_path
from echodistill.batches import batches
from echodistill.checksums import write_checksums
from echodistill.datasets.store import Corpus
from echodistill.environment import device_batch
from echodistill.errors import UserError
from echodistill.evaluation.choices import is_right
from echodistill.models import nano
from echodistill.models.audio_llm import AudioLLM, Prompt, decode, encode, generate, load, local_folder
from echodistill.models.control_tokens import check_questions
from echodistill.models.faults import number_fault
from echodistill.models.layout import FACTS, POINTER, file_hashes, revision_of
from echodistill.models.prompts import question_text
from echodistill.models.response_limit import corpus_limit
from echodistill.params import Params
from echodistill.stages.entry import run_stage
from echodistill.storage.client import checked_place
from echodistill.storage.place import Place
from echodistill.training.bar import ProgressBar
from echodistill.training.checkpoints import latest_complete, remove_checkpoints, remove_unusable, step_of
from echodistill.training.metrics_file import METRICS, read_metrics, trim_after
from echodistill.training.metrics_log import MetricsLog, nowhere
from echodistill.training.pretrain import pretrain
from echodistill.training.ranks import processes
from echodistill.training.remote_checkpoints import Run, mirrored
from echodistill.training.run_folder import fingerprint, run_folder

NANO = "nano"
MAX_QUESTIONS = 500
SNAPSHOTS = "snapshots"
"""The folder in which the hub's cache keeps a model's files, in a folder called by their commit."""


def base(params: Params, out: Path, corpus_folder: Path) -> None:
    """Make the base folder ``out``: model files or a pointer, and ``base.json`` with what is known of the model."""
    if processes() > 1:
        raise UserError(f"stage base works in one process, not in {processes()}: start it without a launcher")
    settings = params.base
    place = checked_place() if settings.model == NANO else None  # before any work
    corpus = Corpus(corpus_folder)
    losses: list[float] = []
    folder: Path | None = None
    if settings.model == NANO:
        llm, losses, folder = _pretrained_nano(params, corpus, corpus_folder, place)
    else:
        llm = load(settings.model, trust_remote_code=settings.trust_remote_code)
        check_questions(llm.tokenizer, corpus.questions.values())
    limit = corpus_limit(llm.tokenizer, corpus.questions.values(), params.generation.max_new_tokens)
    print(f"responses have at most {limit} tokens")
    with atomic_path(out) as temporary:
        temporary.mkdir()
        if settings.model == NANO:
            llm.save(temporary)
            revision = revision_of(file_hashes(temporary))
        else:
            pointer = _pointer(settings.model, settings.trust_remote_code)
            revision = pointer["revision"]
            (temporary / POINTER).write_text(json.dumps(pointer, indent=1) + "\n", encoding="utf-8")
        facts = {
            "model": settings.model,
            "family": llm.model.config.model_type,
            "parameters": sum(parameter.numel() for parameter in llm.model.parameters()),
            "revision": revision,
            "losses": losses,
            **_clean_accuracy(llm, corpus, limit),
        }
        (temporary / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        write_checksums(temporary)
    if folder is not None:
        remove_checkpoints(folder)
    judged = f"clean accuracy {facts['clean_acc']:.3f} on {facts['clean_n']} {facts['judged_on']} questions"
    print(f"{settings.model}: {facts['parameters']:,} parameters, {judged}")


def _pretrained_nano(params: Params, corpus: Corpus, corpus_folder: Path, place: Place | None) -> tuple[AudioLLM, list[float], Path]:
    settings = params.base.nano
    texts = []
    for question in corpus.questions_of("train"):
        texts += [question_text(question.question, question.choices), question.answer]
    window_s = params.corpus.max_duration_s
    llm = nano.build(texts, window_s, settings.width, settings.encoder_layers, settings.decoder_layers, params.seed)
    check_questions(llm.tokenizer, corpus.questions.values())
    facts = {"base": params.base.model_dump(), "seed": params.seed, "window": window_s}
    mark = fingerprint("base", facts, {"corpus": corpus_folder})
    folder = run_folder("base", mark)
    log = folder / METRICS
    with mirrored(place, Run("base", mark), folder, lambda: None) as remote:
        remove_unusable(folder)
        resume = latest_complete(folder)
        trim_after(log, step_of(resume) if resume else 0)
        callbacks = [*remote, MetricsLog(log, nowhere), ProgressBar("base")]
        pretrain(llm, corpus, settings, params.seed, folder, lambda: callbacks)
    if number_fault(dict(llm.model.named_parameters())):
        raise UserError("pre-training ended with weights that are no numbers: lower base.nano.learning_rate")
    return llm, [row["loss"] for row in read_metrics(log)], folder


class Pointer(TypedDict):
    """``pointer.json``: a base that is not ours, pinned."""

    model: str
    trust_remote_code: bool
    revision: str
    """The hub's commit; of a local folder the hash of all files that loading reads."""
    files: dict[str, str]
    """The sha256 of each of these files; of a hub id of those that were fetched."""


def _pointer(name: str, trust_remote_code: bool) -> Pointer:
    """Return what identifies a model that is not ours and was loaded. Raises ``UserError`` where the hub tells no commit."""
    folder = local_folder(name, None)
    if folder is None or not (Path(name).is_dir() or folder.parent.name == SNAPSHOTS):
        raise UserError(f"base.model {name}: the hub tells no commit to pin: download it and give its folder")
    files = file_hashes(folder)
    revision = revision_of(files) if Path(name).is_dir() else folder.name
    return {"model": name, "trust_remote_code": trust_remote_code, "revision": revision, "files": files}


def _clean_accuracy(llm: AudioLLM, corpus: Corpus, max_new_tokens: int) -> dict[str, float | int | str]:
    """Accuracy on clean clips: those of the validation split, or of the training split where a source has too few groups for one."""
    judged_on = "validation" if corpus.questions_of("validation") else "train"
    questions = corpus.questions_of(judged_on)
    questions = questions[:: -(-len(questions) // MAX_QUESTIONS)]
    right = 0
    for part in batches(questions, device_batch()):
        prompts = [Prompt(corpus.waveform(row.clip_id), row.question, row.choices) for row in part]
        for row, response in zip(part, generate(llm, encode(llm, prompts), max_new_tokens), strict=True):
            right += is_right(decode(llm, response), row.choices, row.answer_index)
    chance = sum(1.0 / len(row.choices) for row in questions if row.choices) / len(questions)
    return {"clean_acc": right / len(questions), "clean_n": len(questions), "judged_on": judged_on, "chance": chance}


if __name__ == "__main__":
    run_stage(base, sections=("seed", "corpus.max_duration_s", "base", "generation"))
