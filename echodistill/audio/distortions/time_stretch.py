"""Make speech faster or slower at the same pitch with WSOLA.

Source: Verhelst, Roelands 1993. Frames of the clip are put closer together or further apart. Each
is taken from the place near its own that best continues the previous frame, so that pitch periods
join.
"""

import numpy as np
from numpy.typing import NDArray

from echodistill.audio.distortions.full_scale import within_full_scale
from echodistill.audio.levels import SAMPLE_RATE, Waveform

HOP = 256  # Samples of 16 ms; a frame has two hops.
# Samples searched in each direction; both together hold a whole period of a voice of 50 Hz.
SEARCH = SAMPLE_RATE // 100


def time_stretch(waveform: Waveform, factor: float, stream: np.random.Generator) -> Waveform:
    """Return the clip with ``factor`` times its duration, shape (round(samples * factor),). Nothing
    is drawn.
    """
    length = round(waveform.size * factor)
    margin = 2 * HOP + SEARCH
    samples = np.pad(waveform.astype(np.float64), (margin, 2 * margin))
    # Windows that are shifted by a hop add up to one.
    window = 0.5 - 0.5 * np.cos(np.pi * np.arange(2 * HOP) / HOP)
    total = np.zeros(length + 4 * HOP)
    start = 0
    for number in range(-(-length // HOP) + 1):
        # Frames are centred at ``number * HOP`` of the output, so that it begins with the first
        # frame's second half.
        wanted = margin + min(round(number * HOP / factor), waveform.size) - HOP
        start = (
            _best_start(samples, wanted, samples[start + HOP : start + 3 * HOP])
            if number
            else wanted
        )
        total[number * HOP : (number + 2) * HOP] += window * samples[start : start + 2 * HOP]
    return within_full_scale(total[HOP : HOP + length])


def _best_start(
    samples: NDArray[np.float64], wanted: int, continuation: NDArray[np.float64]
) -> int:
    """Return the offset near ``wanted`` at which the clip is most similar to ``continuation``;
    ``wanted`` itself where no other offset is better.
    """
    region = samples[wanted - SEARCH : wanted + SEARCH + continuation.size]
    energy = np.concatenate([[0.0], np.cumsum(region * region)])
    similarity = np.correlate(region, continuation, "valid") / np.sqrt(
        energy[continuation.size :] - energy[: -continuation.size] + 1e-9
    )
    best = int(np.argmax(similarity))
    return wanted - SEARCH + best if similarity[best] > similarity[SEARCH] + 1e-9 else wanted
