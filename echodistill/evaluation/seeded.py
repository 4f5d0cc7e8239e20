"""Intervals over clips and training seeds: a hierarchical bootstrap, widened to what few seeds can promise. Pure numpy and scipy.

Every seed's model answers the same clips, so seeds and clips are crossed, and both are resampled. Three seeds drawn with replacement
give ten different means at most, and a skewed three a skewed interval: the level of seeds is drawn from a normal distribution of their
variance (a parametric bootstrap), the level of clips is resampled as it is and gives the interval its shape.

The width is that of the two-way analysis of variance with Student's t, midway between two ways to take t: Satterthwaite's
pooled degrees of freedom are too many where few seeds differ much, each factor's own, in quadrature, too few where they hardly
do. tests/test_seeded.py holds the interval to 93 to 97 % coverage with one seed, three and five, alike and unlike.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from echodistill.evaluation.intervals import Interval, clip_weights


@dataclass(frozen=True)
class Resamples:
    """What is drawn once for a whole table, so that all its figures are of the same resamples."""

    weights_DC: NDArray[np.float64]
    """How often each clip is drawn in each resample."""
    normal_D: NDArray[np.float64]
    """Standard normal, for the level of seeds."""


def resamples(clips: int, draws: int, stream: np.random.Generator) -> Resamples:
    """Draw them; clips are numbered from 0."""
    return Resamples(clip_weights(clips, draws, stream), stream.standard_normal(draws))


def seeded_interval(values_SN: NDArray[np.floating], clip_N: NDArray[np.int64], drawn: Resamples, confidence: float) -> Interval:
    """Mean of ``values_SN`` (seeds, rows) with an interval for the mean over all seeds and clips; ``clip_N`` says whose each row is.

    Give the difference of two systems on the same rows, seed by seed, for a paired interval. With one seed the interval is for that
    seed's model: what other seeds would give cannot be known. Needs two clips at least.
    """
    clips, rows_C = np.unique(clip_N, return_counts=True)
    number_N = np.searchsorted(clips, clip_N)
    sums_SC = np.zeros((values_SN.shape[0], clips.size))
    for sums_C, values_N in zip(sums_SC, values_SN, strict=True):
        np.add.at(sums_C, number_N, values_N)
    mean = float(values_SN.mean())
    tail = (1.0 - confidence) / 2.0
    width, of_seeds = _half_width(sums_SC, rows_C, mean, 1.0 - tail)
    weights_DC = drawn.weights_DC[:, clips]
    rows_D = weights_DC @ rows_C
    some = rows_D > 0
    resampled_D = (weights_DC @ sums_SC.mean(axis=0))[some] / rows_D[some] + of_seeds * drawn.normal_D[some]
    deviation = float(resampled_D.std())
    if deviation == 0.0:
        return Interval(mean, mean, mean)
    widen = width / (deviation * float(stats.norm.ppf(1.0 - tail)))
    low, high = np.percentile(resampled_D, [100.0 * tail, 100.0 * (1.0 - tail)])
    return Interval(mean, mean + widen * (float(low) - mean), mean + widen * (float(high) - mean))


def rate_interval(values_SN: NDArray[np.floating], clip_N: NDArray[np.int64], drawn: Resamples, confidence: float) -> Interval:
    """``seeded_interval`` of a rate: it cannot lie beyond 0 and 1."""
    found = seeded_interval(values_SN, clip_N, drawn, confidence)
    return Interval(found.value, max(0.0, found.low), min(1.0, found.high))


def _half_width(sums_SC: NDArray[np.float64], rows_C: NDArray[np.int64], mean: float, quantile: float) -> tuple[float, float]:
    """Of a symmetric interval, from the two-way analysis of variance without replication; and what of its s.d. is the seeds' own."""
    # the mean is a ratio where clips have unequal rows: linearised, each cell adds this much to it
    part_SC = (sums_SC - mean * rows_C) / rows_C.mean()
    seeds, clips = part_SC.shape
    by_clip = float(part_SC.mean(axis=0).var(ddof=1)) / clips
    t_clips = float(stats.t.ppf(quantile, clips - 1))
    if seeds == 1:
        return t_clips * float(np.sqrt(by_clip)), 0.0
    by_seed = float(part_SC.mean(axis=1).var(ddof=1)) / seeds
    rest_SC = part_SC - part_SC.mean(axis=0) - part_SC.mean(axis=1, keepdims=True) + part_SC.mean()
    # what is neither of clips nor of seeds is in both of the others
    rest = float((rest_SC**2).sum()) / ((seeds - 1) * (clips - 1)) / (seeds * clips)
    variance = max(by_clip + by_seed - rest, by_clip, by_seed)
    if variance == 0.0:
        return 0.0, 0.0
    degrees = variance**2 / (by_clip**2 / (clips - 1) + by_seed**2 / (seeds - 1))
    pooled = float(stats.t.ppf(quantile, max(degrees, seeds - 1.0))) * np.sqrt(variance)
    t_seeds = float(stats.t.ppf(quantile, seeds - 1))
    apart = np.sqrt(t_clips**2 * max(0.0, by_clip - rest) + t_seeds**2 * by_seed)
    return float(pooled + apart) / 2.0, float(np.sqrt(max(0.0, by_seed - rest)))
