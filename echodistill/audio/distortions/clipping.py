"""Clipping, as in a recording that was made too loud and is then scaled back to its level."""

import numpy as np

from echodistill.audio.distortions.full_scale import match_power
from echodistill.audio.levels import Waveform


def clipping(waveform: Waveform, percent: float, stream: np.random.Generator) -> Waveform:
    """Limit the loudest ``percent`` of the samples to one level, then restore the mean power. The
    shape is (samples,); nothing is drawn.

    Samples of digital silence are not counted, because limiting to a level of zero would leave
    nothing. The peak never rises, since limiting lowers the ratio of peak to mean.
    """
    loudness = np.sort(np.abs(waveform[waveform != 0.0]))
    cut = round(loudness.size * percent / 100.0)
    if cut == 0:
        return waveform.astype(np.float32)
    # The level is that of the loudest sample that stays unchanged.
    level = loudness[max(loudness.size - cut - 1, 0)]
    return match_power(np.clip(waveform, -level, level), waveform).astype(np.float32)
