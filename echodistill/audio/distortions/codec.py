"""A real lossy codec: Opus, as calls and meetings use it, through libsndfile."""

import io

import numpy as np
import soundfile

from echodistill.audio.distortions.full_scale import within_full_scale
from echodistill.audio.levels import SAMPLE_RATE, Waveform

# libsndfile asks for a level: 0 is 256 kbit/s a channel, 1 is 6 kbit/s, linear in between
MOST_KBIT_S, LEAST_KBIT_S = 256.0, 6.0


def codec(waveform: Waveform, kbit_s: float, stream: np.random.Generator) -> Waveform:
    """Encodes and decodes at a mean of ``kbit_s``. Shape (samples,), in time with the input;
    nothing is drawn.

    Below about 10 kbit/s Opus gives up what lies above 4 kHz, as the telephone does.
    """
    if not waveform.any():  # it would add a faint noise
        return np.zeros_like(waveform)
    encoded = io.BytesIO()
    level = (MOST_KBIT_S - kbit_s) / (MOST_KBIT_S - LEAST_KBIT_S)
    soundfile.write(
        encoded, waveform, SAMPLE_RATE, format="OGG", subtype="OPUS", compression_level=level
    )
    encoded.seek(0)
    decoded, _ = soundfile.read(encoded, dtype="float32")
    return within_full_scale(decoded)
