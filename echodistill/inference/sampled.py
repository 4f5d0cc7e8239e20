"""Measure what a base leaves a policy term to learn: how often one of several samples of a response
is right (pass@K), how many groups have both right and wrong samples, and how much better the model
answers when text replaces the clip.
"""

from collections.abc import Callable, Sequence

import torch

from echodistill.core.batches import batches
from echodistill.core.records import Question
from echodistill.data.store import Corpus
from echodistill.evaluation.given_answers import is_right
from echodistill.evaluation.skill import SampledSkill
from echodistill.models.audio_llm import AudioLLM, decode, encode
from echodistill.models.base import Prompt, PromptBatch, prompt_about_text, prompt_of
from echodistill.models.generation import generate, sample
from echodistill.training.device import device_batch

TEMPERATURE = 1.0
Asked = tuple[Question, Callable[[], Prompt]]
"""A question and a function that makes its prompt."""


def sampled_skill(
    llm: AudioLLM,
    corpus: Corpus,
    questions: Sequence[Question],
    samples: int,
    max_new_tokens: int,
    seed: int,
) -> SampledSkill:
    """Return the skill of a model, with ``samples`` responses to each question sampled at
    temperature 1. Raise ``ValueError`` where there are no questions.
    """
    if not questions:
        raise ValueError("there are no questions to sample responses to")

    def about_clip(question: Question) -> Asked:
        return question, lambda: prompt_of(question, corpus.waveform(question.clip_id))

    def about_text(question: Question) -> Asked:
        return question, lambda: prompt_about_text(question, corpus.text_of(question.clip_id))

    def greedy(batch: PromptBatch) -> list[list[int]]:
        return generate(llm, batch, max_new_tokens)

    torch.manual_seed(seed)
    described = all(corpus.text_of(question.clip_id) for question in questions)
    counts = right_samples(llm, list(map(about_clip, questions)), samples, max_new_tokens)
    clean = _right(llm, list(map(about_clip, questions)), greedy, 1)
    text = _right(llm, list(map(about_text, questions)), greedy, 1) if described else None
    total = len(questions)
    return SampledSkill(
        questions=total,
        samples=samples,
        pass_at_1=sum(counts) / (total * samples),
        pass_at_k=sum(count > 0 for count in counts) / total,
        mixed_share=sum(0 < count < samples for count in counts) / total,
        clean_acc=sum(clean) / total,
        text_acc=None if text is None else sum(text) / total,
    )


def right_samples(
    llm: AudioLLM, asked: Sequence[Asked], samples: int, max_new_tokens: int
) -> list[int]:
    """Return the number of right ones among ``samples`` responses to each prompt, sampled at
    temperature 1.
    """

    def sampled(batch: PromptBatch) -> list[list[int]]:
        return sample(llm, batch.repeat(samples), max_new_tokens, TEMPERATURE)

    return _right(llm, asked, sampled, samples)


def _right(
    llm: AudioLLM,
    asked: Sequence[Asked],
    respond: Callable[[PromptBatch], list[list[int]]],
    each: int,
) -> list[int]:
    """Return the number of right responses to each prompt, of ``each`` that ``respond`` gives one
    after another.
    """
    counts: list[int] = []
    for part in batches(asked, max(1, device_batch() // each)):
        responses = respond(encode(llm, [prompt() for _, prompt in part]))
        questions = [question for question, _ in part for _ in range(each)]
        right = [
            is_right(decode(llm, ids), question)
            for ids, question in zip(responses, questions, strict=True)
        ]
        counts += [sum(right[start : start + each]) for start in range(0, len(right), each)]
    return counts
