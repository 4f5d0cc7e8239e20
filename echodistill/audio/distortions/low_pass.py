"""Limit the band to what a cheap microphone, a telephone or a wall transmits."""

import numpy as np

from echodistill.audio.distortions.full_scale import within_full_scale
from echodistill.audio.levels import SAMPLE_RATE, Waveform

TRANSITION = 0.1  # Width as a share of the cut-off; a narrower transition rings longer.
PADDING = SAMPLE_RATE // 4  # Number of samples in which the response decays.


def low_pass(waveform: Waveform, cutoff_hz: float, stream: np.random.Generator) -> Waveform:
    """Remove frequencies above ``cutoff_hz``, where the response is half. The result has shape
    (samples,) and no delay; nothing is drawn.
    """
    length = waveform.size + PADDING  # Without padding the end would wrap round to the start.
    length += -length % 1024  # A length with a large prime factor takes several times as long.
    spectrum = np.fft.rfft(waveform.astype(np.float64), length)
    frequency_hz = np.fft.rfftfreq(length, 1.0 / SAMPLE_RATE)
    above = np.clip((frequency_hz / cutoff_hz - 1.0) / TRANSITION + 0.5, 0.0, 1.0)
    # The gain is a raised cosine, which is real and even, so it has no phase and no delay.
    gain = 0.5 + 0.5 * np.cos(np.pi * above)
    return within_full_scale(np.fft.irfft(spectrum * gain, length)[: waveform.size])
