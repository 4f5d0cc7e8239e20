"""Band limiting: what a cheap microphone, a telephone or a wall lets through."""

import numpy as np

from echodistill.audio.distortions.full_scale import within_full_scale
from echodistill.audio.levels import SAMPLE_RATE, Waveform

TRANSITION = 0.1  # of the cut-off: narrower rings longer
PADDING = SAMPLE_RATE // 4  # samples the response dies away in


def low_pass(waveform: Waveform, cutoff_hz: float, stream: np.random.Generator) -> Waveform:
    """Removes what lies above ``cutoff_hz``, where the response is half. Shape (samples,), no
    delay; nothing is drawn.
    """
    length = waveform.size + PADDING  # or the end would wrap round to the start
    length += -length % 1024  # a length with a large prime factor takes several times as long
    spectrum = np.fft.rfft(waveform.astype(np.float64), length)
    frequency_hz = np.fft.rfftfreq(length, 1.0 / SAMPLE_RATE)
    above = np.clip((frequency_hz / cutoff_hz - 1.0) / TRANSITION + 0.5, 0.0, 1.0)
    # a raised cosine: real and even, so no phase and no delay
    gain = 0.5 + 0.5 * np.cos(np.pi * above)
    return within_full_scale(np.fft.irfft(spectrum * gain, length)[: waveform.size])
