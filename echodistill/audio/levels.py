"""Levels of waveforms. Pure numpy; a waveform is float, shape (samples,), full scale 1.0."""

import numpy as np
from numpy.typing import NDArray

Waveform = NDArray[np.float32]

SILENCE_DBFS = -70.0  # quieter than this over the whole clip counts as silent


def power(waveform: NDArray[np.floating]) -> float:
    """Mean square over the full clip, accumulated in float64 (unit: full scale squared)."""
    samples = np.asarray(waveform, dtype=np.float64)
    return float(np.mean(samples * samples)) if samples.size else 0.0


def dbfs(waveform: NDArray[np.floating]) -> float:
    """Mean power in dB relative to a full-scale square wave; ``-inf`` for digital silence."""
    mean_square = power(waveform)
    return float(10.0 * np.log10(mean_square)) if mean_square > 0.0 else float("-inf")


def snr_db(clean: NDArray[np.floating], noise: NDArray[np.floating]) -> float:
    """Ratio of full-clip mean powers in dB."""
    return float(10.0 * np.log10(power(clean) / power(noise)))
