"""A method, a view and a reward that the package does not know train like its own; they are the
examples of ``docs/extending.md``.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from echodistill.audio.mixing import draw
from echodistill.audio.recordings import NoiseLibrary
from echodistill.core.errors import UserError
from echodistill.core.records import Question
from echodistill.data.store import Corpus
from echodistill.methods.advantages import group_advantages
from echodistill.methods.base import (
    Batch,
    Context,
    Forward,
    LossTerms,
    Method,
    TeacherSpec,
    require,
)
from echodistill.methods.divergences import distill_loss
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.base import Prompt
from echodistill.models.loading import load
from echodistill.params.methods import GrpoSettings, MethodSettings
from echodistill.rewards.registry import REWARDS
from echodistill.teachers.references import generate_targets
from echodistill.teachers.views import AudioView
from echodistill.training.metrics_file import read_metrics
from echodistill.training.train import train_student
from echodistill.training.training_rows import TrainingRows
from tests.test_trainer import LIMIT, settings_of


class OnPolicySettings(MethodSettings):
    label = "on-policy distillation"
    description = "KL(student, teacher) on the student's own samples"
    needs = frozenset({"answer"})
    last_weight: float
    """Weight of the loss at the end of a training; at its beginning it is 1."""


class Steps(TrainerCallback):
    """Counts optimizer steps."""

    count = 0

    def on_step_end(self, *_given: object, **_more: object) -> None:
        Steps.count += 1


class OnPolicy(Method):
    """Reverse KL to the teacher on the student's own samples, with a weight that grows."""

    samples = True
    teachers = (TeacherSpec(frozenset({"log_probs"})),)
    rewards = ("answer",)

    def __init__(self, settings: OnPolicySettings) -> None:
        self.settings: OnPolicySettings = settings

    def annotate(self, batch: Batch, context: Context) -> None:
        ids, mask = batch.samples
        teacher = require(context.teacher.logits(require(context.teacher_prompts), ids, mask))
        batch.scores["teacher"] = teacher.log_softmax(dim=-1)
        batch.advantages = torch.zeros(len(ids), device=ids.device)
        context.record("right", (require(context.rewards) > 0).float().mean())

    def loss(self, batch: Batch, student: Forward) -> LossTerms:
        ids, mask = batch.samples
        log_probs = require(student.logits(batch.prompts, ids, mask)).log_softmax(dim=-1)
        weight = 1.0 + (self.settings.last_weight - 1.0) * student.progress
        loss = distill_loss("reverse", batch.scores["teacher"], log_probs, mask).mean()
        return LossTerms(weight * loss, {"kl": loss, "weight": loss.new_tensor(weight)})

    def callbacks(self) -> list[TrainerCallback]:
        return [Steps()]


class QuestionAlone(AudioView):
    """A view that gives the teacher the question without any audio."""

    def prompt(self, question: Question, gain: float = 1.0) -> Prompt:
        return Prompt(None, question.question, question.choices)

    def cache_identity(self, question: Question) -> str:
        return "no audio"


BRIEF = 10
"""The most words of a brief response."""


def brief_reward(completions: Sequence[str], **_columns: object) -> list[float]:
    """Return 0.5 for a brief response, 0 for a longer one."""
    return [0.5 if len(text.split()) <= BRIEF else 0.0 for text in completions]


class BriefGrpo(Method):
    """GRPO that prefers brief responses among those that are equally right."""

    samples = True
    rewards = ("answer", "brief")

    def __init__(self, settings: GrpoSettings) -> None:
        self.settings = settings

    def annotate(self, batch: Batch, context: Context) -> None:
        batch.advantages = group_advantages(require(context.rewards)).flatten()


def rows_with(corpus: Corpus, llm: AudioLLM) -> TrainingRows:
    view, questions = QuestionAlone(corpus, 1), corpus.questions_of("train")
    targets = generate_targets(llm, [view.prompt(each) for each in questions], LIMIT, 8, 4096)
    mixes = [
        draw(1, clip.clip_id, "train", "gauss", -20.0, 0, ()) for clip in corpus.clips_of("train")
    ]
    by_id = {each.question_id: one for each, one in zip(questions, targets, strict=True)}
    noise = NoiseLibrary(corpus.waveform)
    return TrainingRows(corpus, view, mixes, noise, by_id, llm.tokenizer.pad_token_id)


@pytest.mark.parametrize("weights", ["full", "lora"])
def test_a_method_and_a_view_of_a_user_train(
    weights: str, tiny_llm: AudioLLM, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    tiny_llm.save(tmp_path / "base")
    llm = load(str(tmp_path / "base"), device="cpu")
    before = llm.model.lm_head.weight.detach().clone()
    Steps.count = 0
    method = OnPolicy(OnPolicySettings(learning_rate=1e-3, last_weight=3.0))
    trained = train_student(
        llm,
        rows_with(tiny_corpus, llm),
        settings_of(weights=weights, steps=4),
        LIMIT,
        1,
        tmp_path,
        lambda *_: None,
        method=method,
    )
    logged = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in logged] == [1, 2, 3, 4]
    assert all({"loss", "kl", "right", "sampled_tokens"} <= row.keys() for row in logged)
    assert all(row["kl"] > 0 for row in logged)  # the teacher has no audio
    assert [row["weight"] for row in logged] == pytest.approx([1.0, 1.5, 2.0, 2.5])
    assert Steps.count == 4
    moved = not torch.equal(before, trained.model.get_output_embeddings().weight)
    assert moved == (weights == "full")  # an adapter leaves the head as it is


def test_a_reward_of_a_user_is_added_up(
    tiny_llm: AudioLLM, tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert brief_reward(["a dog", "word " * 11]) == [0.5, 0.0]
    monkeypatch.setitem(REWARDS, "brief", brief_reward)
    tiny_llm.save(tmp_path / "base")
    llm = load(str(tmp_path / "base"), device="cpu")
    train_student(
        llm,
        rows_with(tiny_corpus, llm),
        settings_of(steps=1),
        LIMIT,
        1,
        tmp_path,
        lambda *_: None,
        method=BriefGrpo(GrpoSettings(learning_rate=1e-3, kl_weight=0.0, clip=0.2)),
    )
    (row,) = read_metrics(tmp_path / "metrics.jsonl")
    assert row["rewards/brief_reward/mean"] == 0.5  # no response has more than LIMIT tokens
    assert row["reward"] == pytest.approx(row["rewards/answer_reward/mean"] + 0.5)


def test_what_a_method_needs_is_reported_before_any_work(
    tiny_llm: AudioLLM, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_with(tiny_corpus, tiny_llm)
    rows.check_fields(OnPolicySettings.needs)
    mix, question = rows._rows[0]
    monkeypatch.setattr(rows, "_rows", [(mix, replace(question, answer=""))])
    with pytest.raises(UserError, match=rf"needs `answer` .* question {question.question_id} for"):
        rows.check_fields(OnPolicySettings.needs)
