"""Adjust the level of a distorted clip."""

import numpy as np
from numpy.typing import NDArray

from echodistill.audio.levels import Waveform, power

MAX_PEAK = 0.999  # Largest peak after scaling down; full scale is 1.


def within_full_scale(samples: NDArray[np.floating]) -> Waveform:
    """Return the samples in float32, scaled down as a whole where a peak exceeds full scale, since
    it would be clipped in a file.
    """
    peak = float(np.max(np.abs(samples), initial=0.0))
    return (samples if peak <= 1.0 else samples * (MAX_PEAK / peak)).astype(np.float32)


def match_power(samples: NDArray[np.floating], like: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return ``samples`` at the mean power of ``like``, because a change of level is not to be
    studied. Silence stays silence.
    """
    found = power(samples)
    gain = np.sqrt(power(like) / found) if found > 0.0 else 0.0
    return samples.astype(np.float64) * gain
