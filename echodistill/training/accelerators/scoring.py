"""Score a student by its greedy answers to fixed validation items."""

from collections.abc import Sequence
from dataclasses import dataclass

from echodistill.core.batches import batches
from echodistill.core.environment import device_batch
from echodistill.evaluation.given_answers import given_answer, right_answer
from echodistill.models.audio_llm import AudioLLM, decode, encode
from echodistill.models.generation import generate
from echodistill.training.distributed import all_gather_object, processes, rank
from echodistill.training.validation_rows import ValidationItem, ValidationRows


@dataclass(frozen=True)
class Score:
    """Counts of the answers to all items."""

    right: int
    parsed: int
    """Number of answers that name exactly one choice."""
    items: int

    @property
    def accuracy(self) -> float:
        """Return the share of right answers; an answer that names no choice is wrong."""
        return self.right / self.items

    @property
    def parse_rate(self) -> float:
        """Return the share of answers that name a choice."""
        return self.parsed / self.items


class Scorer:
    """Scores a student on the same items each time, so that two scores are paired."""

    def __init__(
        self,
        llm: AudioLLM,
        rows: ValidationRows,
        items: Sequence[ValidationItem],
        max_new_tokens: int,
    ) -> None:
        self._llm, self._rows, self._items = llm, rows, items
        self._max_new_tokens = max_new_tokens

    def __call__(self) -> Score:
        """Return the score of the student's present weights.

        Several processes divide the items among themselves, and all of them return the sum. The
        caller must switch off dropout.
        """
        own = self._items[rank() :: processes()]
        counts = [self._counted(part) for part in batches(own, device_batch())]
        every = [count for of_process in all_gather_object(counts) for count in of_process]
        return Score(
            sum(right for right, _ in every), sum(parsed for _, parsed in every), len(self._items)
        )

    def _counted(self, items: Sequence[ValidationItem]) -> tuple[int, int]:
        """Return the numbers of right answers and of answers that name a choice."""
        prompts = [self._rows.prompt(item) for item in items]
        responses = generate(self._llm, encode(self._llm, prompts), self._max_new_tokens)
        named = [
            given_answer(decode(self._llm, ids), item.question.choices)
            for ids, item in zip(responses, items, strict=True)
        ]
        right = [
            given == right_answer(item.question.answer, item.question.choices)
            for given, item in zip(named, items, strict=True)
        ]
        return sum(right), sum(choice is not None for choice in named)
