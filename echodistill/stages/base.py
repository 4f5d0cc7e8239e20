"""Stage ``base``: make the base model. ``nano`` is built and pre-trained here; any other model is
recorded by a pointer.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TypedDict

from echodistill.core.atomic import atomic_path
from echodistill.core.checksums import write_checksums
from echodistill.core.counted import counted
from echodistill.core.errors import UserError
from echodistill.data.store import Corpus
from echodistill.evaluating import NANO, NANO_NEEDS_CLIPS
from echodistill.evaluation.skill import Skill, skill_text
from echodistill.inference.clean import clean_score, evaluation_splits
from echodistill.inference.sampled import SampledSkill, sampled_skill
from echodistill.models import nano
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.control_tokens import check_questions
from echodistill.models.faults import number_fault
from echodistill.models.layout import FACTS, POINTER, file_hashes, revision_of
from echodistill.models.loading import load, local_folder
from echodistill.models.prompts import question_text
from echodistill.models.response_limit import corpus_limit
from echodistill.params.base import SampledParams
from echodistill.params.whole import Params
from echodistill.stages.entry import run_stage
from echodistill.storage.client import checked_place
from echodistill.storage.place import Place
from echodistill.training.bar import ProgressBar
from echodistill.training.checkpoints import (
    latest_complete,
    remove_checkpoints,
    remove_unusable,
    step_of,
)
from echodistill.training.distributed import processes
from echodistill.training.metrics_file import METRICS, read_metrics, trim_after
from echodistill.training.metrics_log import MetricsLog, discard_metrics
from echodistill.training.pretrain import pretrain, target_of
from echodistill.training.remote_checkpoints import Run, uploaded_checkpoints
from echodistill.training.run_folder import fingerprint, run_folder
from echodistill.training.text_teacher import check_text_teacher, make_text_teacher

SNAPSHOTS = "snapshots"
"""Folder in which the hub's cache keeps a model's files, each revision in a subfolder named by its
commit.
"""


def base(params: Params, out: Path, corpus_folder: Path) -> None:
    """Write the base folder ``out``: model files or a pointer, and ``base.json`` with the facts
    about the model.
    """
    if processes() > 1:
        raise UserError(
            f"stage base runs in one process, not in {processes()}: start it without a launcher"
        )
    settings = params.base
    place = checked_place() if settings.model == NANO else None  # checked before any work
    corpus = Corpus(corpus_folder)
    if settings.model == NANO and not corpus.questions_of(corpus.pretraining_split):
        raise UserError(NANO_NEEDS_CLIPS)
    check_text_teacher(settings.text_teacher, corpus)
    losses: list[float] = []
    folder: Path | None = None
    if settings.model == NANO:
        llm, losses, folder = _pretrained_nano(params, corpus, corpus_folder, place)
    else:
        llm = load(settings.model, trust_remote_code=settings.trust_remote_code)
        check_questions(llm.tokenizer, corpus.questions.values())
    limit = corpus_limit(llm.tokenizer, corpus.questions.values(), params.generation.max_new_tokens)
    print(f"responses have at most {counted(limit, 'token')}")
    with atomic_path(out) as temporary:
        temporary.mkdir()
        if settings.model == NANO:
            llm.save(temporary)
            revision = revision_of(file_hashes(temporary))
        else:
            pointer = _pointer(settings.model, settings.trust_remote_code)
            revision = pointer["revision"]
            (temporary / POINTER).write_text(json.dumps(pointer, indent=1) + "\n", encoding="utf-8")
        left = make_text_teacher(temporary, settings, params.seed, llm, corpus, limit)
        skill = _skill(llm, corpus, limit, settings.model == NANO)
        sampled = _sampled(llm, corpus, skill, limit, settings.sampled, params.seed)
        facts = {
            "model": settings.model,
            "family": llm.model.config.model_type,
            "parameters": sum(parameter.numel() for parameter in llm.model.parameters()),
            "revision": revision,
            "losses": losses,
            "sampled": None if sampled is None else asdict(sampled),
            **asdict(skill),
        }
        (temporary / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        write_checksums(temporary)
    for used in filter(None, (folder, left)):
        remove_checkpoints(used)
    print(f"{settings.model}: {facts['parameters']:,} parameters; {skill_text(skill)}")


def _pretrained_nano(
    params: Params, corpus: Corpus, corpus_folder: Path, place: Place | None
) -> tuple[AudioLLM, list[float], Path]:
    settings = params.base.nano
    texts = []
    for question in corpus.questions_of(corpus.pretraining_split):
        asked = question_text(question.question, question.choices, question.style)
        texts += [asked, target_of(question)]
    window_s = params.corpus.max_duration_s
    llm = nano.build(
        texts,
        window_s,
        settings.width,
        settings.encoder_layers,
        settings.decoder_layers,
        params.seed,
    )
    check_questions(llm.tokenizer, corpus.questions.values())
    base = params.base.model_dump(exclude={"text_teacher", "text_nano"})
    facts = {"base": base, "seed": params.seed, "window": window_s}
    run_fingerprint = fingerprint("base", facts, {"corpus": corpus_folder})
    folder = run_folder("base", run_fingerprint)
    log = folder / METRICS
    with uploaded_checkpoints(place, Run("base", run_fingerprint), folder) as remote:
        remove_unusable(folder)
        resume = latest_complete(folder)
        trim_after(log, step_of(resume) if resume else 0)
        callbacks = [*remote, MetricsLog(log, discard_metrics), ProgressBar("base")]
        pretrain(llm, corpus, settings, params.seed, folder, lambda: callbacks)
    if number_fault(dict(llm.model.named_parameters())):
        raise UserError(
            "pre-training ended with weights that are no numbers: lower base.nano.learning_rate"
        )
    return llm, [row["loss"] for row in read_metrics(log)], folder


class Pointer(TypedDict):
    """The content of ``pointer.json``: a pinned base that was not made here."""

    model: str
    trust_remote_code: bool
    revision: str
    """Commit on the hub, or, for a local folder, the hash of all files that loading reads."""
    files: dict[str, str]
    """sha256 of each of these files; for a hub id, of those that were fetched."""


def _pointer(name: str, trust_remote_code: bool) -> Pointer:
    """Return the pointer to a loaded model that was not made here. Raise ``UserError`` if the hub
    gives no commit.
    """
    folder = local_folder(name, None)
    if folder is None or not (Path(name).is_dir() or folder.parent.name == SNAPSHOTS):
        raise UserError(
            f"base.model {name}: the hub gives no commit to pin: download it and give its folder"
        )
    files = file_hashes(folder)
    revision = revision_of(files) if Path(name).is_dir() else folder.name
    return {
        "model": name,
        "trust_remote_code": trust_remote_code,
        "revision": revision,
        "files": files,
    }


def _skill(llm: AudioLLM, corpus: Corpus, max_new_tokens: int, trained_here: bool) -> Skill:
    """Return the base's skill on questions about clips of unseen groups and, if it was trained
    here, about its training clips.
    """
    splits = evaluation_splits(corpus, trained_here)
    if not splits:
        return Skill()
    unseen = clean_score(llm, corpus, splits, max_new_tokens)
    own = clean_score(llm, corpus, ("train",), max_new_tokens) if trained_here else None
    return Skill(
        clean_acc=unseen.accuracy,
        clean_n=unseen.questions,
        judged_on=" and ".join(splits),
        chance=unseen.chance,
        unparsed=unseen.unparsed / unseen.questions,
        truncated=unseen.truncated / unseen.questions,
        train_acc=own.accuracy if own else None,
        train_n=own.questions if own else 0,
    )


def _sampled(
    llm: AudioLLM,
    corpus: Corpus,
    skill: Skill,
    max_new_tokens: int,
    settings: SampledParams,
    seed: int,
) -> SampledSkill | None:
    """Return the base's skill in several samples on the splits that ``skill`` was measured on;
    ``None`` where none are asked for.
    """
    splits = (skill.judged_on or "").split(" and ")
    asked = [
        row
        for split in splits
        for row in corpus.questions_of(split)
        if row.task == settings.task or not settings.task
    ][: settings.questions]
    if not settings.questions:
        return None
    if not asked:
        known = sorted({row.task for row in corpus.questions.values() if row.task})
        raise UserError(
            f"base.sampled.task: no question of task {settings.task!r} is in split"
            f" {skill.judged_on}; there are {', '.join(known) or 'none with a task'}"
        )
    return sampled_skill(llm, corpus, asked, settings.samples, max_new_tokens, seed)


if __name__ == "__main__":
    run_stage(base, sections=("seed", "corpus.max_duration_s", "base", "generation"))
