"""Score a model by several samples of each response: how often one of them is right (pass@K), and
how many groups have both right and wrong samples, which a policy term learns from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from echodistill.core.batches import batches
from echodistill.core.records import Question
from echodistill.evaluation.given_answers import is_right
from echodistill.models.audio_llm import AudioLLM, decode, encode
from echodistill.models.base import Prompt
from echodistill.models.generation import sample
from echodistill.training.device import device_batch


@dataclass(frozen=True)
class SampledScore:
    """Rates over the questions that K responses each were sampled for."""

    questions: int
    samples: int
    """K, the number of samples of each question."""
    pass_at_1: float
    """Share of right samples."""
    pass_at_k: float
    """Share of questions with a right sample."""
    mixed_share: float
    """Share of questions with both right and wrong samples."""


def sampled_score(
    llm: AudioLLM,
    questions: Sequence[Question],
    prompt: Callable[[Question], Prompt],
    samples: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
) -> SampledScore:
    """Return the score of ``samples`` responses to each question's ``prompt``.

    Raise ``ValueError`` where there are no questions.
    """
    if not questions:
        raise ValueError("there are no questions to sample responses to")
    torch.manual_seed(seed)
    counts = []
    for part in batches(questions, max(1, device_batch() // samples)):
        batch = encode(llm, [prompt(question) for question in part]).repeat(samples)
        responses = sample(llm, batch, max_new_tokens, temperature)
        asked = [question for question in part for _ in range(samples)]
        right = [
            is_right(decode(llm, ids), question)
            for ids, question in zip(responses, asked, strict=True)
        ]
        counts += torch.tensor(right).view(-1, samples).sum(dim=1).tolist()
    total = len(counts)
    return SampledScore(
        questions=total,
        samples=samples,
        pass_at_1=sum(counts) / (total * samples),
        pass_at_k=sum(count > 0 for count in counts) / total,
        mixed_share=sum(0 < count < samples for count in counts) / total,
    )
