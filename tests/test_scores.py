"""Scores and intervals against hand-worked cases and an independent bootstrap."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echodistill.errors import UserError
from echodistill.evaluation.comparison import compare_systems
from echodistill.evaluation.intervals import clip_weights, mean_interval
from echodistill.evaluation.scores import score_answers, summarise
from echodistill.params import CompareParams
from echodistill.records import Answer, Question
from echodistill.seeds import rng
from tests.answers import answer

QUESTIONS = {name: Question(name, f"clip-{name}", "test", "Which?", ("red", "blue", "green"), "red", 0) for name in ("q1", "q2", "q3")}


def answers(table: dict[str, list[str]]) -> list[Answer]:
    """Per question: the clean answer, then the answers at wind -10, wind 20, gauss -10."""
    conditions = [("clean", None), ("wind", -10.0), ("wind", 20.0), ("gauss", -10.0)]
    return [
        answer(f"{question}/{kind}@{snr}", question, kind, snr, response, QUESTIONS[question].choices)
        for question, responses in table.items()
        for (kind, snr), response in zip(conditions, responses, strict=True)
    ]


BASE = answers({"q1": ["red", "blue", "red", "hm"], "q2": ["blue", "blue", "blue", "red"], "q3": ["red", "red", "red", "red"]})
STUDENT = answers({"q1": ["red", "red", "red", "A."], "q2": ["blue", "red", "blue", "blue"], "q3": ["", "", "red", "green"]})


def test_hand_worked_figures() -> None:
    base = summarise(score_answers(BASE, BASE, QUESTIONS), ["wind"], 0.0)
    assert base["clean_acc"] == pytest.approx(2 / 3)
    # -10 dB: q1 blue, hm; q2 blue, red; q3 red, red
    assert base["acc"] == pytest.approx(3 / 6)
    assert base["gsr"] == base["noisy"] == pytest.approx(3 / 6)
    assert base["parse_failure_rate"] == pytest.approx(1 / 12)
    student = summarise(score_answers(STUDENT, BASE, QUESTIONS), ["wind"], 0.0)
    # q1 red, A.; q2 red, blue; q3 "", green
    assert student["acc"] == pytest.approx(3 / 6)
    assert student["noisy"] == pytest.approx(3 / 6)
    assert student["gsr"] == pytest.approx(3 / 6)
    assert student["by_snr"]["20"] == {"acc": 2 / 3, "noisy": 1.0, "gsr": 2 / 3, "n": 3}  # type: ignore[index]
    assert student["unseen"]["n"] == 3  # type: ignore[index]


def test_two_unparsed_answers_do_not_agree() -> None:
    both = answers({"q1": ["hm", "hm", "hm", "hm"]})
    assert summarise(score_answers(both, both, QUESTIONS), [], 0.0)["gsr"] == 0.0


def test_a_missing_clean_answer_is_an_error() -> None:
    with pytest.raises(UserError, match="q1"):
        score_answers([row for row in BASE if row.mix_id != "q1/clean@None"], BASE, QUESTIONS)


def test_systems_must_have_answered_the_same() -> None:
    settings_of = CompareParams(headline_max_snr_db=0.0, bootstrap_draws=100, confidence=0.95)
    with pytest.raises(UserError, match="did not answer the same"):
        compare_systems("x", score_answers(BASE, BASE, QUESTIONS), score_answers(STUDENT[:-1], BASE, QUESTIONS), settings_of, [], 1)


def test_the_interval_is_resampled_by_clip() -> None:
    """Ten equal rows of a clip are one observation: repeating rows must not narrow the interval."""
    stream = rng("interval")
    values = stream.random(30)
    weights = clip_weights(30, 4000, rng(1))
    once = mean_interval(values, np.arange(30), weights, 0.95)
    repeated = mean_interval(np.repeat(values, 10), np.repeat(np.arange(30), 10), weights, 0.95)
    assert (repeated.low, repeated.high) == pytest.approx((once.low, once.high))
    half_width = 1.96 * values.std() / np.sqrt(30)
    assert once.high - once.low == pytest.approx(2 * half_width, rel=0.1)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=12), st.integers(0, 10**6))
def test_unequal_clips_match_a_plain_bootstrap(sizes: list[int], seed: int) -> None:
    stream = rng(seed)
    clip = np.repeat(np.arange(len(sizes)), sizes)
    values = stream.integers(0, 2, clip.size).astype(float)
    weights = clip_weights(len(sizes), 200, rng(seed, "draws"))
    got = mean_interval(values, clip, weights, 0.9)
    means = []
    for row in weights:
        drawn = np.concatenate([values[clip == c] for c in range(len(sizes)) for _ in range(int(row[c]))])
        means.append(drawn.mean())
    assert (got.low, got.high) == pytest.approx(tuple(np.percentile(means, [5, 95])))


def test_the_interval_covers() -> None:
    """On data of known truth a 95 % interval holds it about 95 % of the time."""
    hits = 0
    for trial in range(300):
        stream = rng("coverage", trial)
        skill = stream.beta(2, 2, 60)
        values = (stream.random((60, 5)) < skill[:, None]).astype(float).ravel()
        found = mean_interval(values, np.repeat(np.arange(60), 5), clip_weights(60, 500, stream), 0.95)
        hits += found.low <= 0.5 <= found.high
    assert 0.91 <= hits / 300 <= 0.98
