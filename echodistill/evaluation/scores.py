"""Answers to scores. Pure: numpy arrays in, figures out; no model, no files.

Metrics (arXiv 2605.23954): *acc* exact match on noisy input; *clean_acc* on clean input; *noisy* agreement with the base model's
clean-input answer; *gsr* agreement with the same model's own clean-input answer (it rewards being consistently wrong: never read it
without acc). An unparsed answer counts as wrong and as disagreement; nothing is ever dropped from a denominator.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echodistill.audio.kinds import CLEAN
from echodistill.errors import UserError
from echodistill.evaluation.choices import is_right, parse_choice
from echodistill.records import Answer, Question

UNPARSED = -1


def is_right_answer(row: Answer, question: Question) -> bool:
    """Whether an answer names the right choice of its question and no other."""
    return is_right(row.response, question.choices, question.answer_index)


@dataclass(frozen=True)
class Scored:
    """One system's N noisy answers beside its clean ones; row i is the same question and mix for every system."""

    keys: tuple[tuple[str, str], ...]
    """(question id, mix id) of the N noisy rows, sorted."""
    clip: NDArray[np.int64]
    """Number of the clip each row belongs to, (N,)."""
    noise_kind: NDArray[np.str_]
    snr_db: NDArray[np.float64]
    right: NDArray[np.bool_]
    agrees_base: NDArray[np.bool_]
    agrees_self: NDArray[np.bool_]
    parsed: NDArray[np.bool_]
    clean_clip: NDArray[np.int64]
    """Number of the clip of each clean row, (M,)."""
    clean_right: NDArray[np.bool_]
    clean_parsed: NDArray[np.bool_]
    right_authors: NDArray[np.bool_] | None = None
    """As ``right`` by the rule of the benchmark's authors, where there is one (``authors``)."""
    clean_right_authors: NDArray[np.bool_] | None = None


def _parse(answers: Sequence[Answer], questions: Mapping[str, Question]) -> dict[tuple[str, str], tuple[Answer, int]]:
    parsed = {}
    for answer in answers:
        choice = parse_choice(answer.response, questions[answer.question_id].choices)
        parsed[answer.question_id, answer.mix_id] = (answer, UNPARSED if choice is None else choice)
    return parsed


def score_answers(answers: Sequence[Answer], base_answers: Sequence[Answer], questions: Mapping[str, Question]) -> Scored:
    """Score one system's answers. Raises ``UserError`` when a question lacks its clean answer."""
    own, base = _parse(answers, questions), _parse(base_answers, questions)
    own_clean = _clean_choice(own)
    base_clean = _clean_choice(base)
    if lacking := sorted({question for question, _ in own} - (own_clean.keys() & base_clean.keys())):
        raise UserError(f"questions {lacking[:5]} have no clean answer: run `echodistill run predict` again")
    clips = sorted({questions[question].clip_id for question, _ in own})
    number = {clip: index for index, clip in enumerate(clips)}
    noisy = sorted(key for key, (answer, _) in own.items() if answer.noise_kind != CLEAN)
    clean = sorted(own_clean)
    choice = np.array([own[key][1] for key in noisy], dtype=np.int64)
    gold = np.array([questions[question].answer_index for question, _ in noisy], dtype=np.int64)
    of_base = np.array([base_clean[question] for question, _ in noisy], dtype=np.int64)
    of_self = np.array([own_clean[question] for question, _ in noisy], dtype=np.int64)
    parsed = choice != UNPARSED
    return Scored(
        keys=tuple(noisy),
        clip=np.array([number[questions[question].clip_id] for question, _ in noisy], dtype=np.int64),
        noise_kind=np.array([own[key][0].noise_kind for key in noisy], dtype=np.str_),
        snr_db=np.array([own[key][0].snr_db for key in noisy], dtype=np.float64),
        right=choice == gold,
        agrees_base=(choice == of_base) & parsed,
        agrees_self=(choice == of_self) & parsed,
        parsed=parsed,
        clean_clip=np.array([number[questions[question].clip_id] for question in clean], dtype=np.int64),
        clean_right=np.array([own_clean[question] == questions[question].answer_index for question in clean]),
        clean_parsed=np.array([own_clean[question] != UNPARSED for question in clean]),
    )


def _clean_choice(parsed: Mapping[tuple[str, str], tuple[Answer, int]]) -> dict[str, int]:
    """Question id to the choice named on the clean clip."""
    return {question: choice for (question, _), (answer, choice) in parsed.items() if answer.noise_kind == CLEAN}


def cell(scored: Scored, rows: NDArray[np.bool_]) -> dict[str, float | int]:
    """Rates over the chosen rows. An empty choice has no rate: that is an error, not a zero."""
    if not rows.any():
        raise UserError("no answers in a cell of the comparison: mixes.snrs_db and mixes.kinds must give each cell its answers")
    return {
        "acc": float(scored.right[rows].mean()),
        "noisy": float(scored.agrees_base[rows].mean()),
        "gsr": float(scored.agrees_self[rows].mean()),
        "n": int(rows.sum()),
    }


def summarise(scored: Scored, unseen: Sequence[str], headline_max_snr_db: float) -> dict[str, object]:
    """A system's figures: headline over SNR up to ``headline_max_snr_db``, by SNR (all kinds), by kind, seen and unseen kinds.

    ``by_noise``, ``seen`` and ``unseen`` are over the headline's SNRs too.
    """
    headline = scored.snr_db <= headline_max_snr_db
    is_unseen = np.isin(scored.noise_kind, list(unseen))
    failures = np.concatenate([~scored.parsed, ~scored.clean_parsed])
    return {
        "clean_acc": float(scored.clean_right.mean()),
        **cell(scored, headline),
        "parse_failure_rate": float(failures.mean()),
        "by_snr": {f"{snr:g}": cell(scored, scored.snr_db == snr) for snr in np.unique(scored.snr_db)},
        "by_noise": {str(kind): cell(scored, headline & (scored.noise_kind == kind)) for kind in np.unique(scored.noise_kind)},
        "seen": cell(scored, headline & ~is_unseen),
        "unseen": cell(scored, headline & is_unseen) if is_unseen.any() else {},
    }
