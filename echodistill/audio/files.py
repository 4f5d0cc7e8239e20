"""The only place that reads or writes audio files. Inside the project a clip is 16 kHz mono float32."""

import io
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from echodistill.audio.levels import SAMPLE_RATE, Waveform
from echodistill.errors import UserError

MAX_CHANNELS = 32
MAX_DECODED_BYTES = 2 * 2**30
"""Of one recording, with all its channels at its own rate."""


class TooLong(UserError):
    """A recording lasts longer than its reader takes."""


@dataclass(frozen=True)
class Decoded:
    """One decoded recording."""

    waveform: Waveform
    """Shape (samples,), 16 kHz mono, peak at most 1.0."""
    source_rate: int
    """Hz, as stored in the file."""
    source_channels: int


def read_file(path: Path) -> bytes:
    """A recording's bytes, not decoded. Raises ``UserError`` naming the file and the fault."""
    if not path.is_file():
        raise UserError(f"{path}: no such audio file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def decode_file(path: Path, max_duration_s: float) -> Decoded:
    """Decode a recording. Raises ``UserError`` naming the file and the fault."""
    return decode_bytes(read_file(path), str(path), max_duration_s)


def decode_bytes(content: bytes, name: str, max_duration_s: float) -> Decoded:
    """Decode wav, flac, ogg or mp3 bytes to 16 kHz mono.

    Channels are averaged, other rates resampled, and a peak above full scale is scaled down to it. The length a header claims is
    checked before anything of that size is allocated. Raises ``UserError`` naming ``name`` and the fault: empty, no audio,
    truncated, too long (``TooLong``), too large, NaN samples.
    """
    if not content:
        raise UserError(f"{name}: the file is empty")
    _check_riff(content, name)
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            frames, rate, channels = file.frames, file.samplerate, file.channels
            if not (0 < channels <= MAX_CHANNELS) or rate <= 0:
                raise UserError(f"{name}: the header claims {channels} channels at {rate} Hz")
            if frames / rate > max_duration_s:
                raise TooLong(f"{name}: {frames / rate:.1f} s is longer than the allowed {max_duration_s:g} s")
            if (size := 4 * frames * channels) > MAX_DECODED_BYTES:
                held = f"{frames / rate:.1f} s of {channels} channels at {rate} Hz are {size / 2**30:.1f} GiB when decoded"
                raise UserError(f"{name}: {held}, more than {MAX_DECODED_BYTES / 2**30:g}: cut it, resample it or mix it down first")
            samples = file.read(dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise UserError(f"{name}: not an audio file that can be decoded ({error.error_string})") from error
    if len(samples) == 0:
        raise UserError(f"{name}: holds no samples")
    if len(samples) < frames:
        raise UserError(f"{name}: truncated: {len(samples)} of {frames} frames are there")
    if not np.isfinite(samples).all():
        raise UserError(f"{name}: holds NaN or infinite samples")
    mono = samples.mean(axis=1)
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ")
    peak = float(np.max(np.abs(mono), initial=0.0))
    if peak > 1.0:
        mono = mono / peak
    return Decoded(waveform=np.ascontiguousarray(mono, dtype=np.float32), source_rate=rate, source_channels=channels)


def _check_riff(content: bytes, name: str) -> None:
    """Refuse a wav whose header claims what the file does not hold; libsndfile would read such files as shorter ones."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        return
    position = 12
    while position + 8 <= len(content):
        chunk, size = content[position : position + 4], struct.unpack("<I", content[position + 4 : position + 8])[0]
        if chunk == b"fmt " and position + 24 <= len(content):
            channels, rate = struct.unpack("<HI", content[position + 10 : position + 16])
            if channels == 0 or rate == 0:
                raise UserError(f"{name}: the header claims {channels} channels at {rate} Hz")
        if chunk == b"data":
            held = len(content) - position - 8
            # 0xFFFFFFFF is what a streaming writer leaves: the length is unknown, not wrong
            if size > held and size != 0xFFFFFFFF:
                raise UserError(f"{name}: truncated: the header claims {size} bytes of samples, {held} are there")
            return
        position += 8 + size + size % 2
    raise UserError(f"{name}: truncated: the wav has no sample data")


def encode_flac(waveform: Waveform) -> bytes:
    """16 kHz mono FLAC, 24 bit; what ``decode_bytes`` gives back differs by less than 2^-23."""
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, SAMPLE_RATE, format="FLAC", subtype="PCM_24")
    return buffer.getvalue()


def write_wav(path: Path, waveform: Waveform) -> None:
    """Write a 16 kHz mono 32-bit float wav."""
    with path.open("wb") as file:  # libsndfile's own opening gives no errno
        soundfile.write(file, waveform, SAMPLE_RATE, format="WAV", subtype="FLOAT")
