"""Make a folder of references: the teacher's answers to all training questions, from the shared
cache where they are known.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from echodistill.core.atomic import atomic_path
from echodistill.core.cache_location import cache_folder
from echodistill.core.checksums import write_checksums
from echodistill.core.counted import counted
from echodistill.core.environment import device_batch
from echodistill.core.errors import UserError
from echodistill.core.progress import bar
from echodistill.core.records import Question, Reference, write_rows
from echodistill.data.store import Corpus
from echodistill.evaluation.given_answers import given_answer, right_answer
from echodistill.models.audio_llm import AudioLLM, decode, end_ids
from echodistill.models.checkpoint import open_base
from echodistill.models.control_tokens import check_texts
from echodistill.models.identity import model_identity
from echodistill.models.layout import FACTS
from echodistill.models.response_limit import corpus_limit
from echodistill.params.generation import GenerationParams
from echodistill.params.references import ReferencesParams, ViewName
from echodistill.storage.client import checked_place, open_store
from echodistill.storage.entries import S3Entries
from echodistill.storage.place import Place
from echodistill.teachers.cache import ReferenceCache, TeacherTargets
from echodistill.teachers.reference_key import reference_key
from echodistill.teachers.references import (
    ROWS,
    TARGETS,
    ReferenceRequest,
    generate_targets,
    get_or_compute,
    save_targets,
)
from echodistill.teachers.shared_cache import SharedCache
from echodistill.teachers.views import VIEWS, View


@dataclass(frozen=True)
class Teacher:
    """A teacher model with all parts of a reference's key that depend on it."""

    llm: AudioLLM
    revision: str
    """Revision of the model's files, from ``base.json``."""
    identity: Mapping[str, str]
    """Result of ``model_identity`` for ``llm``."""
    decoding: Mapping[str, int]


def make_references(
    out: Path,
    settings: ReferencesParams,
    generation: GenerationParams,
    view_name: ViewName,
    seed: int,
    corpus_folder: Path,
    base_folder: Path,
) -> None:
    """Write ``references.parquet`` and ``distributions.safetensors`` to ``out``. ``seed``
    determines the random draws of a control's view.
    """
    place = checked_place()  # the store is checked before any work
    corpus = Corpus(corpus_folder)
    view = VIEWS[view_name](corpus, seed)
    questions = corpus.questions_of("train")
    if not questions:
        raise UserError(
            "the corpus has no training questions, so there is nothing to train: `echodistill run`"
            " evaluates the base on it"
        )
    llm = open_base(base_folder)
    limit = corpus_limit(llm.tokenizer, corpus.questions.values(), generation.max_new_tokens)
    print(f"responses have at most {counted(limit, 'token')}")
    revision = json.loads((base_folder / FACTS).read_text(encoding="utf-8"))["revision"]
    teacher = Teacher(llm, revision, model_identity(llm), _decoding(settings, limit))
    requests = [_request(question, view, teacher) for question in questions]
    asked = zip(questions, requests, strict=True)
    check_texts(
        llm.tokenizer,
        ((f"the prompt of question {q.question_id}", r.prompt.question) for q, r in asked),
    )
    cache = ReferenceCache(cache_folder()) if place is None else _shared_cache(place, requests)
    ask = partial(
        generate_targets,
        llm,
        max_new_tokens=limit,
        top_k=settings.top_k,
        full_up_to=settings.full_vocabulary_up_to,
    )
    with bar(len(requests), "references", "questions") as shown:
        targets = get_or_compute(cache, requests, ask, device_batch(), shown.update)
    rows = [
        _row(question, request.key, targets[request.key], llm)
        for question, request in zip(questions, requests, strict=True)
    ]
    with atomic_path(out) as temporary:
        temporary.mkdir()
        write_rows(temporary / ROWS, Reference, rows)
        save_targets(temporary / TARGETS, targets)
        write_checksums(temporary)
    right = sum(row.correct for row in rows)
    print(f"{counted(len(rows), 'reference')}, {right / len(rows):.1%} right")


def _shared_cache(place: Place, requests: Sequence[ReferenceRequest]) -> SharedCache:
    """Return the cache with the shared store behind it, after fetching the entries that other
    machines have computed.
    """
    cache = SharedCache(cache_folder(), S3Entries(open_store(place)))
    cache.prepare([request.key for request in requests])
    print(
        f"shared references: {cache.fetched} fetched, {cache.sent} sent, {cache.damaged} found"
        " damaged"
    )
    return cache


def _decoding(settings: ReferencesParams, limit: int) -> dict[str, int]:
    """Return the settings that an answer depends on; the teacher's view is a separate part of the
    key.
    """
    return settings.model_dump(exclude={"view"}) | {"max_new_tokens": limit}


def _request(question: Question, view: View, teacher: Teacher) -> ReferenceRequest:
    """Return the request for a question, with the key of everything that its answer depends on."""
    prompt = view.prompt(question)
    clips = 0 if prompt.waveform is None else 1
    text = teacher.llm.family.render(prompt.text, clips)
    identity = view.cache_identity(question)
    key = reference_key(identity, text, teacher.revision, teacher.identity, teacher.decoding)
    return ReferenceRequest(key, prompt)


def _row(question: Question, key: str, target: TeacherTargets, llm: AudioLLM) -> Reference:
    token_ids = target.token_ids.tolist()
    response = decode(llm, token_ids)
    parsed = given_answer(response, question.choices)
    truncated = token_ids[-1] not in end_ids(llm)
    return Reference(
        question.question_id,
        key,
        response,
        tuple(token_ids),
        truncated,
        parsed,
        parsed == right_answer(question.answer, question.choices),
    )
