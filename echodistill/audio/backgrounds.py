"""Synthesise the background sounds that questions about the acoustic scene are asked about. Pure.

They are none of the noises that clips are made robust against.
"""

import numpy as np

from echodistill.audio.levels import SAMPLE_RATE, Waveform

BACKGROUNDS = ("beeps", "hum", "clicks", "sweeps")
BEEP_HZ, HUM_HZ, SWEEP_HZ = 1_000.0, 110.0, (400.0, 2_000.0)
PERIOD_S, CLICK_PERIOD_S = 0.25, 0.08
"""Time in seconds from one beep or sweep to the next, and from one click to the next."""


def background(name: str, samples: int) -> Waveform:
    """Return a background of ``samples`` samples at 16 kHz with unit power, float32.

    Raise ``ValueError`` for a name that is none of ``BACKGROUNDS``.
    """
    time_s = np.arange(samples) / SAMPLE_RATE
    if name == "beeps":
        sound = np.sin(2 * np.pi * BEEP_HZ * time_s) * (time_s % PERIOD_S < PERIOD_S / 2)
    elif name == "hum":
        harmonics = np.arange(1, 4)[:, None]
        sound = (np.sin(2 * np.pi * HUM_HZ * harmonics * time_s) / harmonics).sum(axis=0)
    elif name == "clicks":
        sound = np.exp(-(time_s % CLICK_PERIOD_S) / 0.002) * np.cos(2 * np.pi * 3_000.0 * time_s)
    elif name == "sweeps":
        low, high = SWEEP_HZ
        phase_s = time_s % PERIOD_S
        sound = np.sin(2 * np.pi * (low + (high - low) * phase_s / (2 * PERIOD_S)) * phase_s)
    else:
        raise ValueError(f"there is no background {name!r}: {', '.join(BACKGROUNDS)}")
    return (sound / np.sqrt(np.mean(np.square(sound)))).astype(np.float32)
