"""Compute scores from answers. Pure: it takes numpy arrays and returns figures, without models or
files.

Metrics (arXiv 2605.23954): *acc* is exact match on noisy input; *clean_acc* is exact match on clean
input; *noisy* is agreement with the base model's answer to clean input; *gsr* is agreement with the
same model's own answer to clean input (consistently wrong answers raise it, so never interpret it
without acc). An unparsed answer counts as wrong and as disagreement; no answer is ever dropped from
their denominators.

Forced choice ignores the format of an answer: *acc_forced* is the share of questions whose right
choice has the highest summed log-probability of the offered texts, and *acc_forced_norm* is the
same with the mean over a text's tokens (length-normalised). If choices tie, the first counts.
Questions without choices have no forced choice and are left out of these two means alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echodistill.audio.kinds import CLEAN
from echodistill.core.errors import UserError
from echodistill.core.records import Answer, Question
from echodistill.evaluation.given_answers import given_answer, is_right, right_answer
from echodistill.evaluation.units import Sample, renumbered


def is_right_answer(row: Answer, question: Question) -> bool:
    """Return whether an answer gives the right answer to its question and no other."""
    return is_right(row.response, question)


@dataclass(frozen=True)
class Outcomes:
    """The results of N answers; each array is (N,)."""

    unit: NDArray[np.int64]
    """Number of the unit (``units``) that the answer's clip belongs to."""
    right: NDArray[np.bool_]
    unparsed: NDArray[np.bool_]
    """Whether the answer names no choice, or several, or is empty."""
    truncated: NDArray[np.bool_]
    """Whether the answer was cut at the length limit."""
    has_choices: NDArray[np.bool_]
    forced: NDArray[np.bool_]
    """Whether the right choice has the highest summed log-probability; false without choices."""
    forced_norm: NDArray[np.bool_]
    """Whether the right choice has the highest mean log-probability per token; false without
    choices.
    """
    right_authors: NDArray[np.bool_] | None = None
    """As ``right``, by the rule of the benchmark's authors; ``None`` if there is no such rule."""


@dataclass(frozen=True)
class Scored:
    """The scores of one system's N noisy answers and of its clean ones; row i is the same question
    and mix for every system.
    """

    keys: tuple[tuple[str, str], ...]
    """Question id and mix id of each of the N noisy rows, sorted."""
    clean_keys: tuple[str, ...]
    """Question ids of the clean rows, sorted."""
    noise_kind: NDArray[np.str_]
    snr_db: NDArray[np.float64]
    noisy: Outcomes
    agrees_base: NDArray[np.bool_]
    """Whether a noisy answer names the same choice as the base's answer to the clean clip."""
    agrees_self: NDArray[np.bool_]
    """Whether a noisy answer names the same choice as the same system's answer to the clean clip.
    """
    clean: Outcomes
    sample: Sample

    def same_rows(self, other: "Scored") -> bool:
        """Return whether both systems answered the same questions in the same mixes."""
        return self.keys == other.keys and self.clean_keys == other.clean_keys


Key = tuple[str, str]
Parsed = tuple[Answer, str | None]
"""A row and the answer that its response gives, or ``None``."""


def _parse(answers: Sequence[Answer], questions: Mapping[str, Question]) -> dict[Key, Parsed]:
    return {
        (row.question_id, row.mix_id): (
            row,
            given_answer(row.response, questions[row.question_id].choices),
        )
        for row in answers
    }


def score_answers(
    answers: Sequence[Answer],
    base_answers: Sequence[Answer],
    questions: Mapping[str, Question],
    units: Mapping[str, int],
) -> Scored:
    """Return the scores of one system's answers; ``units`` is ``unit_of`` the clips.

    Raise ``UserError`` if a question has no clean answer, or an answer lacks the scores of its
    choices.
    """
    parsed, base = _parse(answers, questions), _parse(base_answers, questions)
    parsed_clean, base_clean = _clean(parsed), _clean(base)
    if lacking := sorted(
        {question for question, _ in parsed} - (parsed_clean.keys() & base_clean.keys())
    ):
        raise UserError(
            f"questions {lacking[:5]} have no clean answer: run `echodistill run predict` again"
        )
    noisy = sorted(key for key, (answer, _) in parsed.items() if answer.noise_kind != CLEAN)
    clean = sorted(parsed_clean)
    rows = [*(parsed[key] for key in noisy), *(parsed_clean[question] for question in clean)]
    unit, sample = renumbered([questions[answer.question_id].clip_id for answer, _ in rows], units)

    def agrees(of_clean: Mapping[str, Parsed]) -> NDArray[np.bool_]:
        pairs = [(parsed[key][1], of_clean[key[0]][1]) for key in noisy]
        return np.array([given is not None and given == other for given, other in pairs], np.bool_)

    return Scored(
        keys=tuple(noisy),
        clean_keys=tuple(clean),
        noise_kind=np.array([parsed[key][0].noise_kind for key in noisy], dtype=np.str_),
        snr_db=np.array([parsed[key][0].snr_db for key in noisy], dtype=np.float64),
        noisy=_outcomes(rows[: len(noisy)], questions, unit[: len(noisy)]),
        agrees_base=agrees(base_clean),
        agrees_self=agrees(parsed_clean),
        clean=_outcomes(rows[len(noisy) :], questions, unit[len(noisy) :]),
        sample=sample,
    )


def _outcomes(
    rows: Sequence[Parsed], questions: Mapping[str, Question], unit: NDArray[np.int64]
) -> Outcomes:
    asked = [questions[answer.question_id] for answer, _ in rows]
    right = [
        given == right_answer(question.answer, question.choices)
        for (_, given), question in zip(rows, asked, strict=True)
    ]
    forced = [_forced(answer, question) for (answer, _), question in zip(rows, asked, strict=True)]
    by_sum, by_mean = np.array(forced, dtype=np.bool_).reshape(-1, 2).T
    return Outcomes(
        unit=unit,
        right=np.array(right, dtype=np.bool_),
        unparsed=np.array([given is None for _, given in rows], dtype=np.bool_),
        truncated=np.array([answer.truncated for answer, _ in rows], dtype=np.bool_),
        has_choices=np.array([bool(question.choices) for question in asked], dtype=np.bool_),
        forced=by_sum,
        forced_norm=by_mean,
    )


def _forced(answer: Answer, question: Question) -> tuple[bool, bool]:
    """Return whether the right choice has the highest summed log-probability, and the highest mean;
    of equal ones the first counts.

    Raise ``UserError`` unless each choice has its score.
    """
    scores, tokens = np.array(answer.choice_log_probs), np.array(answer.choice_tokens)
    if {scores.size, tokens.size} != {len(question.choices)} or np.isnan(scores).any():
        raise UserError(
            f"the answer to question {answer.question_id} in mix {answer.mix_id} has {scores.size}"
            f" choice_log_probs and {tokens.size} choice_tokens for {len(question.choices)}"
            " choices, or one is no number: run `echodistill run predict` again (`echodistill"
            " compare` for its systems)"
        )
    if not question.choices:
        return False, False
    right = question.answer_index
    return bool(np.argmax(scores) == right), bool(np.argmax(scores / tokens) == right)


def _clean(parsed: Mapping[Key, Parsed]) -> dict[str, Parsed]:
    """Return the answers on clean clips by question id."""
    return {question: row for (question, _), row in parsed.items() if row[0].noise_kind == CLEAN}


def rates(outcomes: Outcomes, rows: NDArray[np.bool_]) -> dict[str, float]:
    """Return the rates over the chosen rows; those of forced choice are included only if a question
    has choices.
    """
    found = {"acc": float(outcomes.right[rows].mean())}
    if (offered := rows & outcomes.has_choices).any():
        found["acc_forced"] = float(outcomes.forced[offered].mean())
        found["acc_forced_norm"] = float(outcomes.forced_norm[offered].mean())
    return found | {
        "unparsed": float(outcomes.unparsed[rows].mean()),
        "truncated": float(outcomes.truncated[rows].mean()),
    }


def cell(scored: Scored, rows: NDArray[np.bool_]) -> dict[str, float | int]:
    """Return the rates over the chosen noisy rows, the number of these rows, and how many of their
    questions have choices.

    Raise ``UserError`` if no rows are chosen, since they have no rate.
    """
    if not rows.any():
        raise UserError(
            "no answers in a cell of the comparison: mixes.snrs_db and mixes.kinds must give each"
            " cell its answers"
        )
    return {
        **rates(scored.noisy, rows),
        "noisy": float(scored.agrees_base[rows].mean()),
        "gsr": float(scored.agrees_self[rows].mean()),
        "n": int(rows.sum()),
        "n_forced": int((rows & scored.noisy.has_choices).sum()),
    }


def summarise(
    scored: Scored, unseen: Sequence[str], headline_max_snr_db: float
) -> dict[str, object]:
    """Return a system's figures: over the headline (SNR up to ``headline_max_snr_db`` dB), by SNR
    (all kinds of noise), by kind, and over seen and unseen kinds.

    ``by_noise``, ``seen`` and ``unseen`` are over the headline's SNRs too; ``clean_acc`` and the
    other ``clean_`` figures are over clean input.
    """
    headline = scored.snr_db <= headline_max_snr_db
    is_unseen = np.isin(scored.noise_kind, list(unseen))
    clean = rates(scored.clean, np.ones_like(scored.clean.right))
    return {
        **{f"clean_{name}": rate for name, rate in clean.items()},
        **cell(scored, headline),
        "by_snr": {
            f"{snr:g}": cell(scored, scored.snr_db == snr) for snr in np.unique(scored.snr_db)
        },
        "by_noise": {
            str(kind): cell(scored, headline & (scored.noise_kind == kind))
            for kind in np.unique(scored.noise_kind)
        },
        "seen": cell(scored, headline & ~is_unseen),
        "unseen": cell(scored, headline & is_unseen) if is_unseen.any() else {},
    }
