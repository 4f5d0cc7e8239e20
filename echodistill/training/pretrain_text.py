"""Train the text teacher of a ``nano`` from random weights: on the questions about training clips,
with the transcript in place of the clip, towards the gold answers.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

import torch
from transformers import Trainer, TrainerCallback

from echodistill.core.batches import batches
from echodistill.core.records import Question
from echodistill.core.seeds import rng
from echodistill.data.store import Corpus
from echodistill.evaluation.given_answers import is_right
from echodistill.methods.supervised import cross_entropy
from echodistill.models.base import pad_rows, prompt_about_text
from echodistill.models.scoring import score
from echodistill.models.text_llm import TextLLM
from echodistill.params.base import TextNanoParams
from echodistill.training.bar import remove_printer
from echodistill.training.checkpoints import CompleteCheckpoints, ExactWeights, train_to_end
from echodistill.training.device import device_batch
from echodistill.training.pretrain import pretraining_arguments, target_of

MAX_QUESTIONS = 500
"""Most questions that a text teacher is judged on."""


class _Numbers(torch.utils.data.Dataset[int]):
    """A data set of the numbers below ``count``."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> int:
        return number


class _TextTrainer(ExactWeights, Trainer):
    """A trainer with cross-entropy on the gold answer; example ``i`` is a question that a stream
    draws which ``i`` seeds, so a resume changes nothing.
    """

    def __init__(self, llm: TextLLM, corpus: Corpus, seed: int, count: int, **options: Any) -> None:
        self._llm, self._corpus, self._seed = llm, corpus, seed
        self._questions = transcribed_questions(corpus, corpus.pretraining_split)
        super().__init__(
            model=llm.model, train_dataset=_Numbers(count), data_collator=list, **options
        )

    def _get_train_sampler(self, *_args: Any, **_kwargs: Any) -> torch.utils.data.Sampler:
        return torch.utils.data.SequentialSampler(self.train_dataset)

    def _prepare_inputs(self, inputs: Any) -> Any:
        return inputs

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        streams = (rng(self._seed, "text teacher", number) for number in inputs)
        chosen = [self._questions[stream.integers(len(self._questions))] for stream in streams]
        texts = [transcribed_text(self._corpus, question) for question in chosen]
        batch, tokenizer = self._llm.encode(texts).to(self.args.device), self._llm.tokenizer
        gold = [
            [*tokenizer(target_of(each))["input_ids"], tokenizer.eos_token_id] for each in chosen
        ]
        ids, mask = (
            tensor.to(self.args.device)
            for tensor in pad_rows(gold, tokenizer.pad_token_id, left=False)
        )
        return cross_entropy(score(model, batch, ids, mask, self._llm), ids, mask).mean()


def transcribed_text(corpus: Corpus, question: Question) -> str:
    """Return the question about the text that replaces its clip, with its choices."""
    return prompt_about_text(question, corpus.text_of(question.clip_id)).text


def transcribed_questions(corpus: Corpus, split: str) -> list[Question]:
    """Return the questions of a split whose clip has a transcript."""
    questions = corpus.questions_of(split)
    lacking = set(corpus.lacking(questions, "transcript"))
    return [each for each in questions if each.question_id not in lacking]


def pretrain_text(
    llm: TextLLM,
    corpus: Corpus,
    settings: TextNanoParams,
    seed: int,
    folder: Path,
    callbacks: Callable[[], list[TrainerCallback]],
) -> None:
    """Train ``llm`` in place, with checkpoints in ``folder``, from which a killed run resumes.

    At least one training clip must have a transcript.
    """
    trainer = _TextTrainer(
        llm,
        corpus,
        seed,
        settings.steps * settings.batch,
        args=pretraining_arguments(settings, seed, folder),
        callbacks=[CompleteCheckpoints(), *callbacks()],
    )
    remove_printer(trainer)
    train_to_end(trainer, folder, settings.steps)
    llm.model.eval()


def text_accuracy(llm: TextLLM, corpus: Corpus, max_new_tokens: int) -> tuple[int, int]:
    """Return how many questions about transcripts of validation clips are answered right, and how
    many were asked.
    """
    questions = transcribed_questions(corpus, "validation")[:MAX_QUESTIONS]
    right = 0
    for part in batches(questions, device_batch()):
        texts = [transcribed_text(corpus, question) for question in part]
        for question, answer in zip(part, llm.answers(texts, max_new_tokens), strict=True):
            right += is_right(answer, question)
    return right, len(questions)
