"""Compute levels and lengths of waveforms. Pure numpy; a waveform is float, shape (samples,), full
scale 1.0.
"""

import numpy as np
from numpy.typing import NDArray

from echodistill.core.errors import UserError

Waveform = NDArray[np.float32]

SAMPLE_RATE = 16_000  # Sampling rate in Hz of every waveform inside the project.
EXCERPT_DRAWS = 16  # Number of random places that are tried before the loudest one is used.
# The end of a looped noise fades into its beginning over 20 ms.
FADE_SAMPLES = SAMPLE_RATE // 50
PADDING_SAMPLES = 64  # A run of at least this many exact zeros is padding and not sound.
DURATION_DECIMALS = 5  # A sample at 192 kHz lasts 0.00001 s.
SILENCE_DBFS = -70.0  # A clip whose mean power is lower counts as silent.


def format_duration(duration_s: float, limit_s: float, decimals: int) -> str:
    """Return a duration in seconds as text with ``decimals`` decimals, or with more where it would
    look equal to ``limit_s``.

    So a clip of 30.0001 s is not refused as "30.0 s is longer than the allowed 30 s".
    """
    for places in range(decimals, DURATION_DECIMALS):
        if (text := f"{duration_s:.{places}f}") != f"{limit_s:.{places}f}":
            return text
    return f"{duration_s:.{DURATION_DECIMALS}f}"


def power(waveform: NDArray[np.floating]) -> float:
    """Return the mean square over the full clip, accumulated in float64 (unit: full scale
    squared).
    """
    samples = np.asarray(waveform, dtype=np.float64)
    return float(np.mean(samples * samples)) if samples.size else 0.0


def without_offset(waveform: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the waveform without its constant offset, which is no sound, but would count in every
    power and so in the SNR.

    Where zeros were put around or between sound that has an offset, the offset is that of the sound
    alone and is removed only there: removing it from the zeros would leave steps, which are
    audible. An offset below the level of silence is computed over all samples and removed from all.
    """
    if not waveform.size:
        return waveform
    padding = _runs_of_zeros(waveform)
    if padding.any() and not padding.all():
        offset = waveform[~padding].mean(dtype=np.float64)
        if abs(offset) >= 10.0 ** (SILENCE_DBFS / 20.0):
            return np.where(padding, waveform, waveform - offset.astype(waveform.dtype))
    return waveform - waveform.mean(dtype=np.float64).astype(waveform.dtype)


def _runs_of_zeros(waveform: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which samples belong to a run of at least ``PADDING_SAMPLES`` exact zeros."""
    is_zero = np.concatenate([[False], waveform == 0.0, [False]])
    edges = np.flatnonzero(is_zero[1:] != is_zero[:-1])
    first, behind = edges[::2], edges[1::2]
    found = np.zeros(waveform.size + 1, dtype=np.int64)
    long = behind - first >= PADDING_SAMPLES
    found[first[long]] += 1
    found[behind[long]] -= 1
    return np.cumsum(found[:-1]) > 0


def dbfs(waveform: NDArray[np.floating]) -> float:
    """Return the mean power in dB relative to a full-scale square wave; ``-inf`` for digital
    silence.
    """
    mean_square = power(waveform)
    return float(10.0 * np.log10(mean_square)) if mean_square > 0.0 else float("-inf")


def snr_db(clean: NDArray[np.floating], noise: NDArray[np.floating]) -> float:
    """Return the ratio of the full-clip mean powers in dB."""
    return float(10.0 * np.log10(power(clean) / power(noise)))


def fit_length(noise: NDArray[np.floating], samples: int, offset: int) -> NDArray[np.floating]:
    """Return ``samples`` samples of ``noise`` from ``offset`` on: cut out where it is long enough,
    else looped without a click.

    In a loop the last F samples (20 ms, at most a quarter of the noise) fade out while the first F
    fade in, so it repeats after ``noise.size - F`` samples. The gains are the cosine and the sine
    of one angle, so that uncorrelated sound keeps its power.
    """
    if noise.size == 0:
        raise UserError("a noise recording has no samples: remove it from the noise folder")
    start = offset % noise.size
    if start + samples <= noise.size:
        return noise[start : start + samples].copy()
    fade = min(FADE_SAMPLES, noise.size // 4)
    period = noise.size - fade
    place = (start + np.arange(samples)) % period
    looped = noise[place]
    seam = place < fade
    angle = (place[seam] + 0.5) * (np.pi / 2 / max(1, fade))
    looped[seam] = np.sin(angle) * noise[place[seam]] + np.cos(angle) * noise[period + place[seam]]
    return looped


def excerpt(
    stream: np.random.Generator, recording: NDArray[np.floating], samples: int
) -> NDArray[np.floating]:
    """Return ``samples`` samples of a recording from a random place that is not silent, looped if
    the recording is too short.

    Many sound libraries pad their files with digital silence, for which no SNR is defined. A
    constant part is silent too, whatever its offset.
    """
    for _ in range(EXCERPT_DRAWS):
        part = fit_length(recording, samples, int(stream.integers(0, max(1, recording.size))))
        if dbfs(without_offset(part)) >= SILENCE_DBFS:
            return part
    loudest = int(np.argmax(np.abs(recording)))
    # The excerpt starts early enough to need no fade, where that is possible.
    return fit_length(recording, samples, min(loudest, max(0, recording.size - samples)))


def scaled(waveform: Waveform, gain: float) -> Waveform:
    """Return ``waveform`` (samples,) float32 times ``gain``, rounded once."""
    return (gain * waveform.astype(np.float64)).astype(np.float32)
