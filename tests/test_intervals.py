"""Intervals over units and seeds cover what they promise where the truth is known, and p is that of
the interval.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm, ttest_1samp

from benchmarks.null_rejection import SEED_DEVIATIONS, rejection_rate
from echodistill.core.seeds import rng
from echodistill.evaluation.intervals import (
    MIN_P,
    mean_interval,
    p_value,
    rate_interval,
    resamples,
)

TRIALS, DRAWS = 1000, 500


def answers(
    stream: np.random.Generator,
    seeds: int,
    clips: int,
    rows: int,
    threshold: float,
    of_clip: float,
    of_seed: float,
) -> NDArray[np.float64]:
    """Right or wrong, (seeds, clips * rows): a clip is hard, a seed good or bad, the rest is
    chance. Probit, so the truth is known.
    """
    clip = of_clip * stream.standard_normal((1, clips, 1))
    seed = of_seed * stream.standard_normal((seeds, 1, 1))
    chance = stream.standard_normal((seeds, clips, rows))
    return (clip + seed + chance < threshold).reshape(seeds, -1).astype(np.float64)


def truth(threshold: float, of_clip: float, of_seed: float) -> float:
    return float(norm.cdf(threshold / np.sqrt(1.0 + of_clip**2 + of_seed**2)))


@pytest.mark.parametrize(
    ("seeds", "clips", "rows", "threshold", "of_clip", "of_seed"),
    [
        (1, 60, 5, 0.0, 1.0, 0.0),
        (1, 120, 30, 0.5, 1.0, 0.0),
        (3, 60, 5, 0.0, 1.0, 0.0),
        (3, 120, 10, 0.3, 1.0, 0.1),
        (3, 120, 10, 0.3, 1.0, 0.5),
        (5, 60, 5, -0.5, 0.5, 0.2),
    ],
)
def test_a_95_percent_interval_covers_93_to_97_percent_of_the_time(
    seeds: int, clips: int, rows: int, threshold: float, of_clip: float, of_seed: float
) -> None:
    wanted = truth(threshold, of_clip, of_seed)
    clip = np.repeat(np.arange(clips), rows)
    hits = 0
    for trial in range(TRIALS):
        stream = rng("coverage", seeds, clips, threshold, of_seed, trial)
        found = mean_interval(
            answers(stream, seeds, clips, rows, threshold, of_clip, of_seed),
            clip,
            resamples(clips, DRAWS, stream),
            0.95,
        )
        hits += found.low <= wanted <= found.high
    assert 0.93 <= hits / TRIALS <= 0.97, hits


def test_a_paired_difference_covers_too() -> None:
    """Two systems on the same clips, three seeds each."""
    wanted = truth(0.4, 1.0, 0.2) - truth(0.0, 1.0, 0.2)
    hits = 0
    for trial in range(TRIALS):
        stream = rng("paired", trial)
        clip = stream.standard_normal((1, 100, 1))
        sides = []
        for threshold in (0.4, 0.0):
            seed, chance = (
                0.2 * stream.standard_normal((3, 1, 1)),
                stream.standard_normal((3, 100, 4)),
            )
            sides.append((clip + seed + chance < threshold).reshape(3, -1).astype(np.float64))
        found = mean_interval(
            sides[0] - sides[1], np.repeat(np.arange(100), 4), resamples(100, DRAWS, stream), 0.95
        )
        hits += found.low <= wanted <= found.high
    assert 0.93 <= hits / TRIALS <= 0.97, hits


def test_one_seed_is_the_bootstrap_by_unit() -> None:
    """Against a percentile bootstrap of units, written out."""
    stream = rng("one seed")
    values = answers(stream, 1, 200, 4, 0.2, 1.0, 0.0)
    unit = np.repeat(np.arange(200), 4)
    found = mean_interval(values, unit, resamples(200, 4000, rng("draws")), 0.95)
    of_unit = values[0].reshape(200, 4)
    draws = [of_unit[stream.integers(0, 200, 200)].mean() for _ in range(4000)]
    low, high = np.percentile(draws, [2.5, 97.5])
    assert (found.value, found.low, found.high) == pytest.approx(
        (values.mean(), low, high), abs=0.003
    )


def test_rows_of_one_unit_are_no_new_evidence() -> None:
    values = rng("rows").random((1, 30)) < 0.6
    drawn = resamples(30, 2000, rng("same"))
    once = mean_interval(values.astype(float), np.arange(30), drawn, 0.95)
    repeated = mean_interval(
        np.repeat(values.astype(float), 10, axis=1), np.repeat(np.arange(30), 10), drawn, 0.95
    )
    assert (once.value, once.low, once.high) == pytest.approx(
        (repeated.value, repeated.low, repeated.high)
    )


def test_of_one_unit_nothing_is_known() -> None:
    values, unit, drawn = (
        np.array([[1.0, 1.0, 0.0, 1.0]]),
        np.zeros(4, dtype=np.int64),
        resamples(1, 100, rng("one")),
    )
    found = rate_interval(values, unit, drawn, 0.95)
    assert (found.low, found.value, found.high) == (0.0, 0.75, 1.0)
    assert p_value(values, unit, drawn, 0.95) == 1.0


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3]), st.sampled_from([0.9, 0.95, 0.99]))
@settings(deadline=None, max_examples=60)
def test_p_is_small_exactly_where_the_interval_leaves_out_zero(
    seed: int, seeds: int, confidence: float
) -> None:
    stream = np.random.default_rng(seed)
    gain = stream.normal(stream.uniform(-0.3, 0.3), 1.0, (seeds, 80)) + 0.1 * stream.normal(
        size=(seeds, 1)
    )
    unit, drawn = np.repeat(np.arange(20), 4), resamples(20, 300, stream)
    found = mean_interval(gain, unit, drawn, confidence)
    p = p_value(gain, unit, drawn, confidence)
    assert (p < 1.0 - confidence) == (found.low > 0.0 or found.high < 0.0)


def test_p_of_one_seed_is_that_of_the_t_test_where_units_are_many_and_alike() -> None:
    """Against scipy's t test of the units' means: the bootstrap's shape is then that of a normal
    distribution.
    """
    gain = rng("t test").normal(0.1, 1.0, (1, 400))
    found = p_value(gain, np.arange(400), resamples(400, 20_000, rng("draws")), 0.95)
    assert found == pytest.approx(float(ttest_1samp(gain[0], 0.0).pvalue), rel=0.25)


def test_a_system_against_itself_has_p_1_and_a_sure_difference_the_smallest() -> None:
    unit, drawn = np.arange(40), resamples(40, 200, rng("extremes"))
    assert p_value(np.zeros((3, 40)), unit, drawn, 0.95) == 1.0
    assert p_value(np.ones((3, 40)), unit, drawn, 0.95) == MIN_P


@pytest.mark.parametrize("deviation", SEED_DEVIATIONS)
def test_two_identical_methods_are_found_to_differ_in_3_to_7_percent(deviation: float) -> None:
    """p that pools the rows of all seeds rejects in up to 73 %."""
    assert 0.03 <= rejection_rate(deviation, 1200, 200) <= 0.07


def test_seeds_that_disagree_widen_the_interval() -> None:
    clip = np.arange(400)
    same = np.tile((clip % 2 == 0).astype(float), (3, 1))
    # three seeds of accuracies 0.4, 0.5 and 0.6
    apart = np.stack([(clip % 10 < share).astype(float) for share in (4, 5, 6)])
    narrow, wide = (
        mean_interval(values, clip, resamples(400, 2000, rng("widen")), 0.95)
        for values in (same, apart)
    )
    assert narrow.value == wide.value == 0.5
    assert narrow.high - narrow.low == pytest.approx(2 * 1.966 * np.sqrt(0.25 / 399), rel=0.06)
    # by hand: s.d. of the seeds' means 0.1, three of them; 4.30 is t with two degrees of freedom
    assert 2 * 0.1 / np.sqrt(3) * 2.5 < wide.high - wide.low < 2 * 0.1 / np.sqrt(3) * 4.5


def test_clips_of_unequal_rows_weigh_by_their_rows() -> None:
    clip = np.array([7, 7, 7, 9])
    found = mean_interval(
        np.array([[1.0, 1.0, 1.0, 0.0]]), clip, resamples(10, 500, rng("unequal")), 0.95
    )
    assert found.value == 0.75
    assert found.low < 0.75 < found.high


def test_all_alike_has_no_width() -> None:
    found = mean_interval(
        np.ones((2, 6)), np.repeat(np.arange(3), 2), resamples(3, 100, rng("alike")), 0.95
    )
    assert (found.low, found.value, found.high) == (1.0, 1.0, 1.0)
