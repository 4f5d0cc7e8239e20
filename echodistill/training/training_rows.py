"""What one row of training needs: the noisy view for the student, the clean view and the reference
for the teacher.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from echodistill.audio.mixing import Mix
from echodistill.audio.recordings import NoiseLibrary
from echodistill.errors import UserError
from echodistill.models.base import Prompt, pad_rows
from echodistill.models.prompts import question_text
from echodistill.records import Question
from echodistill.seeds import rng
from echodistill.teacher.cache import TeacherTargets
from echodistill.teacher.views import View


@dataclass(frozen=True)
class TeacherBatch:
    """References of B prompts, aligned by response offset and right-padded to T tokens."""

    token_ids: torch.Tensor
    """(B, T) int64."""
    mask: torch.Tensor
    """(B, T) int64, 1 on response tokens."""
    log_probs: torch.Tensor
    """(B, T, buckets) float32; zero behind a row's end, where the mask is 0."""
    top_ids: torch.Tensor | None
    """(B, T, buckets - 1) int64, ``None`` when the whole vocabulary was kept."""

    def named(self) -> dict[str, torch.Tensor]:
        """Return the tensors under their names in the trainer's batch dictionaries."""
        tensors = {
            "target_ids": self.token_ids,
            "target_mask": self.mask,
            "target_log": self.log_probs,
        }
        return tensors if self.top_ids is None else tensors | {"target_top": self.top_ids}


def stack_targets(targets: Sequence[TeacherTargets], pad_id: int) -> TeacherBatch:
    """Pad references to one length."""
    token_ids, mask = pad_rows(
        [target.token_ids.tolist() for target in targets], pad_id, left=False
    )
    width = token_ids.shape[1]

    def padded(rows: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.stack(
            [torch.nn.functional.pad(row, (0, 0, 0, width - row.shape[0])) for row in rows]
        )

    tops = [target.top_ids for target in targets if target.top_ids is not None]
    return TeacherBatch(
        token_ids,
        mask,
        padded([target.log_probs for target in targets]),
        padded(tops) if tops else None,
    )


def sample_order(rows: int, count: int, seed: int) -> list[int]:
    """``count`` row numbers: all rows shuffled, then all shuffled anew. Raises ``UserError``
    without rows.

    Drawn for the whole training at once: TRL's own sampler forgets in which epoch a resumed run is.
    """
    if rows == 0:
        raise UserError("nothing to train on: no training clip has both a question and a mix")
    order: list[int] = []
    while len(order) < count:
        order += rng(seed, "visiting order", len(order) // rows).permutation(rows).tolist()
    return order[:count]


class TrainingRows:
    """Training rows by number: a question under one mix, rendered when asked for."""

    def __init__(
        self,
        view: View,
        mixes: Sequence[Mix],
        noise: NoiseLibrary,
        targets: dict[str, TeacherTargets],
        pad_id: int,
    ) -> None:
        """``targets`` by question id; empty for methods without a teacher's reference."""
        self._view, self._noise, self._targets, self._pad_id = view, noise, targets, pad_id
        self._corpus = corpus = view.corpus
        questions: dict[str, list[Question]] = {}
        for question in corpus.questions_of("train"):
            questions.setdefault(question.clip_id, []).append(question)
        self._rows = [
            (mix, question) for mix in mixes for question in questions.get(mix.clip_id, [])
        ]

    def __len__(self) -> int:
        return len(self._rows)

    def columns(self, order: Sequence[int]) -> dict[str, list[object]]:
        """The data set TRL iterates over, rows in ``order``: what the reward function sees, and the
        row number to find the audio by.
        """
        questions = [self._rows[row][1] for row in order]
        return {
            "prompt": [
                question_text(question.question, question.choices) for question in questions
            ],
            "row": list(order),
            "choices": [list(question.choices) for question in questions],
            "answer_index": [question.answer_index for question in questions],
        }

    def answers(self, rows: Sequence[int]) -> list[str]:
        return [self._rows[row][1].answer for row in rows]

    def prompts(self, rows: Sequence[int]) -> tuple[list[Prompt], list[Prompt]]:
        """The noisy view (for the student) and the clean view (for the teacher, or its view of a
        control) of each row.
        """
        noisy, clean = [], []
        for row in rows:
            mix, question = self._rows[row]
            rendered = self._noise.render(mix, self._corpus.waveform(mix.clip_id))
            noisy.append(Prompt(rendered.noisy, question.question, question.choices))
            teacher_audio = rendered.clean
            if self._view.name != "clean":
                teacher_audio = (rendered.gain * self._view.waveform(mix.clip_id)).astype(
                    np.float32
                )
            clean.append(Prompt(teacher_audio, question.question, question.choices))
        return noisy, clean

    def references(self, rows: Sequence[int]) -> TeacherBatch:
        return stack_targets(
            [self._targets[self._rows[row][1].question_id] for row in rows], self._pad_id
        )
