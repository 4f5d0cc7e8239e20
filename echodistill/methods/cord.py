"""CORD (arXiv 2601.16547): distil a teacher that is given the transcript into a student that is
given the audio, along the student's own responses.

The teacher is the frozen initial model whose prompt has the transcript in place of the audio. Both
levels are in one step: a weighted divergence of each token, and a policy gradient on a judge's
rewards. No right answer is used.

This implementation differs from the paper as follows [ours]:
1. The student's clips are noisy, as in every method here.
2. The text is always the transcript; captions of sounds are not supported.
3. The judge compares parsed choices where a question has any; see ``rewards.judge``. A teacher's
   answer that names no choice agrees with none.
4. The divergence is computed at temperature 1, and the policy gradient at the temperature with
   which the responses were sampled.
"""

import torch

from echodistill.core.records import Question
from echodistill.evaluation.open_answers import final_answer
from echodistill.methods.advantages import centred_advantages, zero_variance
from echodistill.methods.base import (
    Batch,
    Context,
    Forward,
    LossTerms,
    Method,
    Need,
    TeacherSpec,
    require,
)
from echodistill.methods.divergences import divergence, sequence_mean, sequence_sum
from echodistill.methods.on_samples import chosen_samples
from echodistill.methods.supervised import token_log_probs
from echodistill.methods.token_weights import weighted_sum
from echodistill.params.methods import CordSettings
from echodistill.rewards.judge import Case, judge_rewards, open_comparison

TEACHER = "teacher_log_probs"
"""Key of the score that ``annotate`` computes: the teacher's log-probabilities along each sample,
(B, T, V).
"""


class Cord(Method):
    samples = True
    teachers = (TeacherSpec(frozenset({"targets", "log_probs"})),)
    """What both levels need; an object has what its own levels need."""
    judge = True

    def __init__(self, settings: CordSettings) -> None:
        """Prepare the levels that ``settings`` choose. Raise ``UserError`` where the judge cannot
        be used.
        """
        self.settings: CordSettings = settings
        self._by_token = settings.levels != "sequence"
        self._by_sequence = settings.levels != "token"
        needs: dict[Need, bool] = {"log_probs": self._by_token, "targets": self._by_sequence}
        self.teachers = (TeacherSpec(frozenset(need for need, used in needs.items() if used)),)
        if self._by_sequence:
            self._same = open_comparison(
                settings.judge, settings.judge_model, settings.judge_similarity
            )

    @torch.no_grad()
    def annotate(self, batch: Batch, context: Context) -> None:
        """Set the advantages of the judge's rewards, and the teacher's log-probabilities of each
        token.
        """
        ids, mask = batch.samples
        batch.advantages = torch.zeros(len(ids), device=ids.device)
        if self._by_token:
            logits = require(context.teacher.logits(require(context.teacher_prompts), ids, mask))
            batch.scores[TEACHER] = logits.log_softmax(dim=-1)
        if self._by_sequence:
            rewards = self._rewards(batch, context)
            batch.advantages = centred_advantages(rewards).flatten()
            context.record("agreement", rewards.mean())
            context.record("zero_variance_groups", zero_variance(rewards).float().mean())

    def _rewards(self, batch: Batch, context: Context) -> torch.Tensor:
        """Return the judge's rewards, one row for each prompt: (B / K, K)."""
        ids, mask = batch.samples
        targets = require(batch.targets).take(batch.first_of_group)
        answers, count = context.texts(ids, mask), batch.group_size
        references = context.texts(targets.token_ids, targets.mask)
        cases = [
            _case(question, answer, reference)
            for number, (question, reference) in enumerate(
                zip(context.questions(context.rows), references, strict=True)
            )
            for answer in answers[number * count : (number + 1) * count]
        ]
        rewards = torch.tensor(judge_rewards(cases, self._same), device=ids.device)
        return rewards.view(-1, count)

    def loss(self, batch: Batch, student: Forward) -> LossTerms:
        """Return ``L_tok + L_seq``, or the one that ``levels`` names.

        Without the token level, rows with zero advantage add neither loss nor gradient, so the
        model is not run on them.
        """
        advantages = require(batch.advantages)
        chosen = torch.ones_like(advantages, dtype=torch.bool)
        if not self._by_token:
            chosen = advantages != 0
        samples = chosen_samples(batch, student, chosen)
        total, metrics = advantages.new_zeros(()), {}
        if samples is None:
            return LossTerms(total)
        logits, ids, mask = samples
        if self._by_token:
            reverse = divergence("reverse", batch.scores[TEACHER], logits.log_softmax(dim=-1))
            metrics["kl"] = sequence_mean(reverse, mask).mean()
            metrics["token_loss"] = weighted_sum(
                reverse,
                mask,
                self.settings.critical_tokens,
                self.settings.critical_weight,
                self.settings.first_weight,
            ).mean()
            total = total + metrics["token_loss"]
        if self._by_sequence:
            log_prob = sequence_sum(token_log_probs(logits / student.temperature, ids), mask)
            metrics["policy_loss"] = -(advantages[chosen] * log_prob).sum() / len(advantages)
            total = total + metrics["policy_loss"]
        return LossTerms(total, metrics)


def _case(question: Question, answer: str, reference: str) -> Case:
    """Return the case that a judge decides: of two chains of steps, the answers alone."""
    if question.style == "chain" and not question.choices:
        answer, reference = final_answer(answer), final_answer(reference)
    return Case(question.question, question.choices, answer, reference)


METHOD = Cord
