"""A real lossy codec: Opus, as used in calls and meetings, through libsndfile."""

import io

import numpy as np
import soundfile

from echodistill.audio.distortions.full_scale import within_full_scale
from echodistill.audio.levels import SAMPLE_RATE, Waveform

# libsndfile takes a compression level, linear in the bit rate of a channel: 0 is 256 kbit/s, 1 is
# 6.
MAX_KBIT_S, MIN_KBIT_S = 256.0, 6.0


def codec(waveform: Waveform, kbit_s: float, stream: np.random.Generator) -> Waveform:
    """Encode and decode at a mean of ``kbit_s``. The result has shape (samples,) and is aligned in
    time with the input; nothing is drawn.

    Below about 10 kbit/s Opus removes everything above 4 kHz, as a telephone does.
    """
    if not waveform.any():  # Opus would add a faint noise to silence.
        return np.zeros_like(waveform)
    encoded = io.BytesIO()
    level = (MAX_KBIT_S - kbit_s) / (MAX_KBIT_S - MIN_KBIT_S)
    soundfile.write(
        encoded, waveform, SAMPLE_RATE, format="OGG", subtype="OPUS", compression_level=level
    )
    encoded.seek(0)
    decoded, _ = soundfile.read(encoded, dtype="float32")
    return within_full_scale(decoded)
