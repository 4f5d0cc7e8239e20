"""Bootstrap intervals resampled by clip: the noises of one clip are not independent, so rows must not be. Pure numpy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Interval:
    """An estimate with its percentile bootstrap interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


def clip_weights(clips: int, draws: int, stream: np.random.Generator) -> NDArray[np.float64]:
    """How often each clip is drawn in each resample, (draws, clips); shared by all figures, so that differences stay paired."""
    return stream.multinomial(clips, np.full(clips, 1.0 / clips), size=draws).astype(np.float64)


def mean_interval(values: NDArray[np.floating], clip: NDArray[np.int64], weights: NDArray[np.float64], confidence: float) -> Interval:
    """Mean of ``values`` (N,) with an interval; ``clip`` (N,) says which clip a row belongs to.

    Give the difference of two systems on the same rows for a paired interval.
    """
    sums = np.bincount(clip, weights=values, minlength=weights.shape[1])
    counts = np.bincount(clip, minlength=weights.shape[1]).astype(np.float64)
    totals = weights @ counts
    resampled = (weights @ sums)[totals > 0] / totals[totals > 0]
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(resampled, [tail, 100.0 - tail])
    return Interval(float(np.mean(values)), float(low), float(high))
