"""Encode and decode clips as they are stored in the corpus: 16 kHz mono FLAC.

This module is separate from ``files`` so that a change of the rules for others' recordings retrains
nothing.
"""

import io
from dataclasses import dataclass

import numpy as np
import soundfile

from echodistill.audio.levels import SAMPLE_RATE, Waveform
from echodistill.core.errors import UserError


@dataclass(frozen=True)
class Decoded:
    """One decoded recording."""

    waveform: Waveform
    """Shape (samples,), 16 kHz mono, peak at most 1.0."""
    source_rate: int
    """Sampling rate in Hz, as stored in the file."""
    source_channels: int


def encode_flac(waveform: Waveform) -> bytes:
    """Return 16 kHz mono FLAC of 24 bits, which ``decode_flac`` decodes with an error below
    2^-23.
    """
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, SAMPLE_RATE, format="FLAC", subtype="PCM_24")
    return buffer.getvalue()


def decode_flac(content: bytes, name: str) -> Decoded:
    """Decode what ``encode_flac`` wrote, sample for sample. Raise ``UserError`` naming ``name``
    when it is damaged.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            samples = file.read(dtype="float32", always_2d=True)
            frames, rate, channels = file.frames, file.samplerate, file.channels
    except soundfile.LibsndfileError as error:
        raise UserError(f"{name}: the stored clip is damaged ({error.error_string})") from error
    if len(samples) < frames:
        raise UserError(
            f"{name}: the stored clip is damaged: {len(samples)} of {frames} frames are there"
        )
    return Decoded(np.ascontiguousarray(samples.mean(axis=1)), rate, channels)
