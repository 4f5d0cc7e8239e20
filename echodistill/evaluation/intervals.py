"""Compute intervals over units (speakers or clips) and training seeds, and the p-values that belong
to them. Pure numpy and scipy.

Every seed's model answers the same clips, so seeds and units are crossed, and both are resampled (a
hierarchical bootstrap). Three seeds drawn with replacement give at most ten different means, and
three skewed seeds give a skewed interval: the level of seeds is therefore drawn from a normal
distribution with their variance (a parametric bootstrap). The level of units is resampled from the
data and determines the shape of the interval.

The width is that of the two-way analysis of variance with Student's t, and is a weighted mean of
two ways to choose t: the pooled degrees of freedom (Satterthwaite) are too many if few seeds differ
much, and each factor's own degrees of freedom, combined in quadrature, are too few if the seeds
hardly differ. tests/test_intervals.py checks that the intervals cover 93 to 97 % with one seed,
three and five, alike and unlike, and ``python -m benchmarks.null_rejection`` measures how often p
rejects a difference that does not exist.

Axes: S seeds, N rows, U units, D resamples.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

MIN_P = 1e-9
POOLED_SHARE = 0.5
"""Weight of the width with pooled degrees of freedom; the rest is the weight of the width with each
factor's own degrees of freedom.
"""
MIN_SHARE = 0.4
"""Lower bound of the variance, as a share of the units' variance. The unbiased estimate may be
small or negative by chance, but a higher bound makes intervals too wide if neither seeds nor units
differ beyond chance.
"""
MAX_DIFFERENCE = 1.0
"""Largest possible difference of two rates; -1 and 1 are the ends of an interval that only one unit
gives.
"""


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """Return the fields as they are written to JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Resamples:
    """The random draws of a whole table: all its figures use the same resamples, so that
    differences stay paired.
    """

    weights_DU: NDArray[np.float64]
    """Number of times that each unit is drawn in each resample."""
    normal_D: NDArray[np.float64]
    """Standard normal draws for the level of seeds."""


def resamples(units: int, draws: int, stream: np.random.Generator) -> Resamples:
    """Return ``draws`` resamples of ``units`` units, which are numbered from 0."""
    weights = stream.multinomial(units, np.full(units, 1.0 / units), size=draws).astype(np.float64)
    return Resamples(weights, stream.standard_normal(draws))


def mean_interval(
    values_SN: NDArray[np.floating], unit_N: NDArray[np.int64], drawn: Resamples, confidence: float
) -> Interval:
    """Return the mean of ``values_SN`` with an interval for the mean over all seeds and units;
    ``unit_N`` holds the number of each row's unit.

    For a paired interval, give the difference of two systems on the same rows, seed by seed. With
    one seed the interval is for that seed's model, since the results of other seeds cannot be
    known. With one unit the interval is from -1 to 1 around the mean, since nothing is known about
    other units.
    """
    mean = float(values_SN.mean())
    spread = _Spread(values_SN, unit_N)
    if spread.units == 1:
        return Interval(mean, -MAX_DIFFERENCE, MAX_DIFFERENCE)
    below, above = spread.shape(drawn, confidence)
    width = spread.half_width(confidence)
    return Interval(mean, mean - below * width, mean + above * width)


def rate_interval(
    values_SN: NDArray[np.floating], unit_N: NDArray[np.int64], drawn: Resamples, confidence: float
) -> Interval:
    """Return ``mean_interval`` of a rate, with its ends limited to 0 and 1."""
    found = mean_interval(values_SN, unit_N, drawn, confidence)
    return Interval(found.value, max(0.0, found.low), min(1.0, found.high))


def p_value(
    values_SN: NDArray[np.floating], unit_N: NDArray[np.int64], drawn: Resamples, confidence: float
) -> float:
    """Return the two-sided p-value for a mean of 0: it is below ``1 - confidence`` if the interval
    of ``confidence`` does not contain 0.

    It uses the interval's own statistic: p is 1 minus the confidence at which the interval's nearer
    end touches 0, with the interval's shape kept as it is at ``confidence``. Differences between
    seeds count as well as differences between units, so the p-value is about the methods and not
    about the models that were trained.
    """
    mean = float(values_SN.mean())
    spread = _Spread(values_SN, unit_N)
    if mean == 0.0 or spread.units == 1:
        return 1.0
    below, above = spread.shape(drawn, confidence)
    reach = abs(mean) / (below if mean > 0 else above)

    def beyond(p: float) -> float:
        return spread.half_width(1.0 - p) - reach

    if beyond(MIN_P) <= 0.0:
        return MIN_P
    return float(optimize.brentq(beyond, MIN_P, 1.0, xtol=1e-12))


class _Spread:
    """The two-way analysis of variance without replication of one mean."""

    def __init__(self, values_SN: NDArray[np.floating], unit_N: NDArray[np.int64]) -> None:
        self._numbers, rows_U = np.unique(unit_N, return_counts=True)
        number_N = np.searchsorted(self._numbers, unit_N)
        seeds, self.units = values_SN.shape[0], self._numbers.size
        sums_SU = np.stack([np.bincount(number_N, values_N, self.units) for values_N in values_SN])
        self._rows_U, self._sums_U = rows_U, sums_SU.mean(axis=0)
        self._seeds = seeds
        self._mean = float(values_SN.mean())
        # the mean is a ratio if units have unequal numbers of rows: this is each cell's
        # contribution to the linearised mean
        part_SU = (sums_SU - self._mean * rows_U) / rows_U.mean()
        self._by_unit = self._by_seed = self._rest = 0.0
        if self.units > 1:
            self._by_unit = float(part_SU.mean(axis=0).var(ddof=1)) / self.units
        if seeds > 1:
            self._by_seed = float(part_SU.mean(axis=1).var(ddof=1)) / seeds
        if seeds > 1 and self.units > 1:
            rest_SU = (
                part_SU
                - part_SU.mean(axis=0)
                - part_SU.mean(axis=1, keepdims=True)
                + part_SU.mean()
            )
            # the residual variance is contained in both of the other variances
            self._rest = (
                float((rest_SU**2).sum()) / ((seeds - 1) * (self.units - 1)) / (seeds * self.units)
            )

    @cached_property
    def _of_seeds(self) -> float:
        """The standard deviation of the mean that is due to the seeds alone."""
        return float(np.sqrt(max(0.0, self._by_seed - self._rest)))

    def half_width(self, confidence: float) -> float:
        """Return half the width of a symmetric interval; it grows with the confidence."""
        quantile = (1.0 + confidence) / 2.0
        t_units = float(special.stdtrit(self.units - 1, quantile))
        if self._seeds == 1:
            return t_units * float(np.sqrt(self._by_unit))
        variance = max(
            self._by_unit + self._by_seed - self._rest, MIN_SHARE * self._by_unit, self._by_seed
        )
        if variance == 0.0:
            return 0.0
        degrees = variance**2 / (
            self._by_unit**2 / (self.units - 1) + self._by_seed**2 / (self._seeds - 1)
        )
        pooled = float(special.stdtrit(max(degrees, self._seeds - 1.0), quantile)) * np.sqrt(
            variance
        )
        t_seeds = float(special.stdtrit(self._seeds - 1, quantile))
        apart = np.sqrt(
            t_units**2 * max(0.0, self._by_unit - self._rest) + t_seeds**2 * self._by_seed
        )
        return float(POOLED_SHARE * pooled + (1.0 - POOLED_SHARE) * apart)

    def shape(self, drawn: Resamples, confidence: float) -> tuple[float, float]:
        """Return the distance of the bootstrap interval's ends below and above the mean, as
        multiples of its symmetric half width.
        """
        every = self._numbers.size == drawn.weights_DU.shape[1]
        weights_DU = drawn.weights_DU if every else drawn.weights_DU[:, self._numbers]
        rows_D = weights_DU @ self._rows_U
        some = rows_D > 0
        resampled_D = (weights_DU @ self._sums_U)[some] / rows_D[
            some
        ] + self._of_seeds * drawn.normal_D[some]
        deviation = float(resampled_D.std())
        if deviation == 0.0:
            return 1.0, 1.0
        tail = (1.0 - confidence) / 2.0
        low, high = np.percentile(resampled_D, [100.0 * tail, 100.0 * (1.0 - tail)])
        symmetric = deviation * float(special.ndtri(1.0 - tail))
        smallest = float(np.finfo(np.float64).tiny)
        return max(smallest, (self._mean - float(low)) / symmetric), max(
            smallest, (float(high) - self._mean) / symmetric
        )
