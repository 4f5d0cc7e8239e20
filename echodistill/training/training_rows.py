"""Provide what a training row needs: the noisy view for the student, the clean view and the
reference for the teacher.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch

from echodistill.audio.mixing import Mix
from echodistill.audio.recordings import NoiseLibrary
from echodistill.core.errors import UserError
from echodistill.core.records import Question
from echodistill.core.seeds import rng
from echodistill.data.store import Corpus
from echodistill.methods.targets import Targets
from echodistill.models.base import Prompt, pad_rows, prompt_about_text, prompt_of
from echodistill.models.prompts import gold_response, question_text
from echodistill.teachers.cache import TeacherTargets
from echodistill.teachers.views import View


class RowPrompts(NamedTuple):
    """The prompts of several rows, in lists of equal length."""

    noisy: list[Prompt]
    """With the noisy clips, for the student."""
    teacher_view: list[Prompt]
    """With the teacher's view."""
    clean: list[Prompt]
    """With the clean clips, at the level that they have in the noisy ones."""


def stack_targets(targets: Sequence[TeacherTargets], pad_id: int) -> Targets:
    """Return the references of several rows, padded to one length."""
    token_ids, mask = pad_rows(
        [target.token_ids.tolist() for target in targets], pad_id, left=False
    )
    width = token_ids.shape[1]

    def padded(rows: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.stack(
            [torch.nn.functional.pad(row, (0, 0, 0, width - row.shape[0])) for row in rows]
        )

    tops = [target.top_ids for target in targets if target.top_ids is not None]
    return Targets(
        token_ids,
        mask,
        padded([target.log_probs for target in targets]),
        padded(tops) if tops else None,
    )


def sample_order(rows: int, count: int, seed: int) -> list[int]:
    """Return ``count`` row numbers: a permutation of all rows, then further permutations.

    The order is drawn for the whole training at once, because TRL's own sampler does not know in
    which epoch a resumed run is. Raise ``UserError`` where there are no rows.
    """
    if rows == 0:
        raise UserError("nothing to train on: no training clip has both a question and a mix")
    order: list[int] = []
    while len(order) < count:
        order += rng(seed, "visiting order", len(order) // rows).permutation(rows).tolist()
    return order[:count]


class TrainingRows:
    """Training rows by number: a question with one mix, which is rendered on request."""

    def __init__(
        self,
        corpus: Corpus,
        view: View,
        mixes: Sequence[Mix],
        noise: NoiseLibrary,
        targets: dict[str, TeacherTargets],
        pad_id: int,
    ) -> None:
        """Store the sources of the rows.

        ``targets`` are by question id, and empty for methods without a teacher's reference.
        """
        self._view, self._noise, self._targets, self._pad_id = view, noise, targets, pad_id
        self._corpus = corpus
        questions: dict[str, list[Question]] = {}
        for question in corpus.questions_of("train"):
            questions.setdefault(question.clip_id, []).append(question)
        self._rows = [
            (mix, question) for mix in mixes for question in questions.get(mix.clip_id, [])
        ]

    def check_fields(self, names: Iterable[str]) -> None:
        """Raise ``UserError`` where a question lacks a field of ``Question`` or ``Clip`` that a
        method needs.
        """
        for name in sorted(names):
            lacking = self._corpus.lacking((question for _, question in self._rows), name)
            if lacking:
                raise UserError(
                    f"the method needs `{name}` of every training question, and"
                    f" {len(lacking)} have none, question {lacking[0]} for one: fill it in, or"
                    " choose another train.method"
                )

    def __len__(self) -> int:
        return len(self._rows)

    def columns(self, order: Sequence[int]) -> dict[str, list[object]]:
        """Return the columns of the data set over which TRL iterates, with rows in ``order``.

        They have the inputs of the reward function, and the row number by which the audio is found.
        """
        questions = self.questions(order)
        return {
            "prompt": [
                question_text(question.question, question.choices, question.style)
                for question in questions
            ],
            "row": list(order),
            "choices": [list(question.choices) for question in questions],
            "answer": [question.answer for question in questions],
            "style": [question.style for question in questions],
        }

    def questions(self, rows: Sequence[int]) -> list[Question]:
        return [self._rows[row][1] for row in rows]

    def gold(self, tokenizer: Any, rows: Sequence[int]) -> Targets:
        """Return the gold answers of rows as tokens, the end token included."""
        answers = [gold_response(row.answer, row.style) for row in self.questions(rows)]
        ids = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in answers]
        return Targets(*pad_rows(ids, tokenizer.pad_token_id, left=False))

    def prompts(self, rows: Sequence[int]) -> "RowPrompts":
        """Return the prompts of rows."""
        prompts = RowPrompts([], [], [])
        for row in rows:
            mix, question = self._rows[row]
            rendered = self._noise.render(mix, self._corpus.waveform(mix.clip_id))
            prompts.noisy.append(prompt_of(question, rendered.noisy))
            prompts.teacher_view.append(self._view.prompt(question, rendered.gain))
            prompts.clean.append(prompt_of(question, rendered.clean))
        return prompts

    def transcribed(self, rows: Sequence[int]) -> list[str]:
        """Return the text of each row for a teacher without audio: the question about the clip's
        transcript, with its choices.
        """
        return [
            prompt_about_text(question, self._corpus.text_of(question.clip_id)).text
            for question in self.questions(rows)
        ]

    def references(self, rows: Sequence[int]) -> Targets:
        return stack_targets(
            [self._targets[self._rows[row][1].question_id] for row in rows], self._pad_id
        )
