"""A student against another system on the decision split: paired differences with intervals over groups. Pure.

Axes: N noisy answers, M clean answers, G groups (speakers, places, or clips where the source names no group).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from echodistill.audio.kinds import CLEAN
from echodistill.errors import UserError
from echodistill.evaluation.criteria import DecisionSize, Differences
from echodistill.evaluation.intervals import Interval, clip_weights, mean_interval
from echodistill.evaluation.scores import score_answers
from echodistill.params import CompareParams
from echodistill.records import Answer, Clip, Question
from echodistill.seeds import rng


def decision_size(answers: Sequence[Answer], questions: Mapping[str, Question], clips: Mapping[str, Clip]) -> DecisionSize:
    """Return the number of clips that the answers are about, and of these clips' groups."""
    heard = {questions[row.question_id].clip_id for row in answers}
    return DecisionSize(len(heard), len({clips[clip_id].group for clip_id in heard}))


def paired_differences(
    student: Sequence[Answer],
    other: Sequence[Answer],
    questions: Mapping[str, Question],
    clips: Mapping[str, Clip],
    settings: CompareParams,
    seed: int,
) -> Differences:
    """Return the student's figures less the other system's on the same items, with intervals over groups of clips.

    ``acc``, ``forced_acc`` and ``gsr`` are over SNRs up to ``settings.headline_max_snr_db``. ``forced_acc`` takes
    the most likely of the offered choices for the answer, so that no wording counts.

    Raises ``UserError`` where the two did not answer the same items.
    """
    if odd := sorted(set(map(_item, student)) ^ set(map(_item, other)))[:3]:
        raise UserError(f"two systems did not answer the same decision items, e.g. {odd}: run `echodistill run` again")
    of_student, of_other = (score_answers(answers, other, questions) for answers in (student, other))
    noisy = np.array(of_student.snr_db <= settings.headline_max_snr_db)
    keys = [key for key, counted in zip(of_student.keys, noisy, strict=True) if counted]
    clean = sorted(row.question_id for row in student if row.noise_kind == CLEAN)  # the order of `clean_right`
    groups = sorted({clips[questions[row.question_id].clip_id].group for row in student})
    number = {group: index for index, group in enumerate(groups)}

    def group_of(question_ids: Sequence[str]) -> NDArray[np.int64]:
        return np.array([number[clips[questions[name].clip_id].group] for name in question_ids], dtype=np.int64)

    noisy_group_N, clean_group_M = group_of([question_id for question_id, _ in keys]), group_of(clean)
    weights = clip_weights(len(groups), settings.bootstrap_draws, rng(seed, "decision"))

    def interval(of_student: NDArray[np.bool_], of_other: NDArray[np.bool_], group: NDArray[np.int64]) -> Interval:
        gain = of_student.astype(float) - of_other.astype(float)
        return mean_interval(gain, group, weights, settings.confidence)

    forced = [_forced_right(answers, keys, questions) for answers in (student, other)]
    return {
        "acc": interval(of_student.right[noisy], of_other.right[noisy], noisy_group_N),
        "forced_acc": interval(forced[0], forced[1], noisy_group_N),
        "gsr": interval(of_student.agrees_self[noisy], of_other.agrees_self[noisy], noisy_group_N),
        "clean_acc": interval(of_student.clean_right, of_other.clean_right, clean_group_M),
    }


def _item(row: Answer) -> tuple[str, str]:
    return row.question_id, row.mix_id


def _forced_right(answers: Sequence[Answer], keys: Sequence[tuple[str, str]], questions: Mapping[str, Question]) -> NDArray[np.bool_]:
    """Whether the most likely choice is the right one, for each item of ``keys``; never for a question without choices."""
    scores = {_item(row): row.choice_log_probs for row in answers}
    return np.array([_most_likely(scores[key]) == questions[key[0]].answer_index for key in keys], dtype=np.bool_)


def _most_likely(log_probs: Sequence[float]) -> int | None:
    return int(np.argmax(log_probs)) if log_probs else None
