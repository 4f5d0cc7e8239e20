"""Score a model on questions about clean clips, and choose the clips that a base is judged on.

A base is judged on clips of groups that it was not trained on, because a base that only memorised
its training clips would score perfectly on those.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from echodistill.core.batches import batches
from echodistill.core.records import Question
from echodistill.data.store import Corpus
from echodistill.evaluation.given_answers import given_answer, right_answer
from echodistill.evaluation.skill import fewest_questions
from echodistill.models.audio_llm import AudioLLM, decode, encode, end_ids
from echodistill.models.base import prompt_of
from echodistill.models.generation import generate
from echodistill.training.device import device_batch

MAX_QUESTIONS = 500
UNSEEN_SPLITS = ("validation", "decision", "test")
"""Splits on which a base that was trained on the training split is judged: the first one, and the
following ones only where it has too few questions.
"""
TRAINING_SPLITS = ("train", "validation")
"""Splits on which a base from elsewhere is judged: it was trained on none of these clips."""


@dataclass(frozen=True)
class CleanScore:
    """Counts of a model's answers to questions about clean clips."""

    questions: int
    right: int
    unparsed: int
    """Number of answers that name no choice, or several, or are empty."""
    truncated: int
    """Number of answers that were cut at the length limit."""
    chance: float
    """Expected share of right answers when guessing: the mean over the questions of 1 / choices."""

    @property
    def accuracy(self) -> float:
        """Return the share of right answers."""
        return self.right / self.questions


def evaluation_splits(corpus: Corpus, trained_here: bool) -> tuple[str, ...]:
    """Return the splits whose clips a base was not trained on; empty where the corpus holds only a
    test.

    ``trained_here`` states that the base was trained on the training split. It is then judged on
    the groups of the validation split; where these have too few questions to tell skill from
    chance, the decision split is added, and then the test.
    """
    if not trained_here:
        return tuple(split for split in TRAINING_SPLITS if corpus.questions_of(split))
    chosen: list[str] = []
    asked: list[Question] = []
    for split in UNSEEN_SPLITS:
        if asked and len(asked) >= fewest_questions(_chance(asked)):
            break
        if questions := corpus.questions_of(split):
            chosen.append(split)
            asked += questions
    return tuple(chosen)


def _chance(questions: Sequence[Question]) -> float:
    """Return the expected share of right answers when guessing: the mean over the questions of 1 /
    choices.
    """
    return sum(1.0 / len(row.choices) for row in questions if row.choices) / len(questions)


def clean_score(
    llm: AudioLLM, corpus: Corpus, splits: Sequence[str], max_new_tokens: int
) -> CleanScore:
    """Return the score on the questions of ``splits``, or on an evenly spaced part of at most 500
    of them.

    Raise ``ValueError`` where the splits have no questions.
    """
    questions = [question for split in splits for question in corpus.questions_of(split)]
    if not questions:
        raise ValueError(f"splits {splits} have no questions")
    asked = questions[:: -(-len(questions) // MAX_QUESTIONS)]
    right = unparsed = truncated = 0
    for part in batches(asked, device_batch()):
        for row, response in zip(part, _responses(llm, corpus, part, max_new_tokens), strict=True):
            given = given_answer(decode(llm, response), row.choices)
            right += given == right_answer(row.answer, row.choices)
            unparsed += given is None
            truncated += response[-1] not in end_ids(llm)
    return CleanScore(len(asked), right, unparsed, truncated, _chance(asked))


def _responses(
    llm: AudioLLM, corpus: Corpus, rows: Sequence[Question], max_new_tokens: int
) -> list[list[int]]:
    prompts = [prompt_of(row, corpus.waveform(row.clip_id)) for row in rows]
    return generate(llm, encode(llm, prompts), max_new_tokens)
