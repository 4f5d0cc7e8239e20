"""Compute spectrograms as small grey PNGs, which the page colours for light and dark themes."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from echodistill.audio.levels import SAMPLE_RATE, Waveform

WINDOW = 400  # samples, 25 ms
HOP = 80  # samples, 5 ms
BANDS = 64
"""Number of rows of the picture, equally wide on the mel scale up to 8 kHz."""
RANGE_DB = 60.0


def spectrogram(waveform: Waveform) -> NDArray[np.uint8]:
    """Return the mel power in dB, (BANDS, frames) uint8, high frequencies on top: 255 is the clip's
    loudest value, 0 is 60 dB or more below it.
    """
    padded = np.pad(waveform.astype(np.float64), WINDOW // 2, mode="constant")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW))) ** 2
    bands = power @ _mel_weights().T
    level_db = 10.0 * np.log10(np.maximum(bands, 1e-12))
    scaled = np.clip((level_db - level_db.max() + RANGE_DB) / RANGE_DB, 0.0, 1.0)
    return np.flipud((255.0 * scaled).round().astype(np.uint8).T)


def _mel_weights() -> NDArray[np.float64]:
    """Return triangular filters on the mel scale (O'Shaughnessy 1987), (BANDS, bins) float64."""
    bins_hz = np.fft.rfftfreq(WINDOW, 1.0 / SAMPLE_RATE)
    top = 2595.0 * np.log10(1.0 + bins_hz[-1] / 700.0)
    edges_hz = 700.0 * (10.0 ** (np.linspace(0.0, top, BANDS + 2) / 2595.0) - 1.0)
    low, middle, high = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    weights = np.clip(
        np.minimum((bins_hz - low) / (middle - low), (high - bins_hz) / (high - middle)), 0.0, None
    )
    # the lowest bands are narrower than a bin, so each takes the nearest bin
    empty = np.flatnonzero(weights.sum(axis=1) == 0.0)
    weights[empty, np.abs(bins_hz[None, :] - middle[empty]).argmin(axis=1)] = 1.0
    return weights


def png(picture: NDArray[np.uint8]) -> bytes:
    """Return a grey PNG of ``picture`` (rows, columns); equal pictures give equal bytes."""
    height, width = picture.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in picture)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(rows, 9))
        + _chunk(b"IEND", b"")
    )


def _chunk(name: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )
