"""Read audio files of others, and write wav files; no other module does. Inside the project a clip
is 16 kHz mono float32.
"""

import io
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from echodistill.audio.containers.recordings import recordings_in
from echodistill.audio.containers.unusable import CONVERT, KEEP_REST, Truncated, Unusable
from echodistill.audio.levels import SAMPLE_RATE, Waveform, format_duration, without_offset
from echodistill.audio.stored import Decoded
from echodistill.core.errors import UserError
from echodistill.core.paths import fault_of_path

MAX_CHANNELS = 32
MAX_DECODED_BYTES = 2 * 2**30
"""Maximum size in bytes of one decoded file, with all its channels at its own rate."""


class TooLong(UserError):
    """The fault of a recording that lasts longer than its reader accepts."""


def read_file(path: Path) -> bytes:
    """Return a recording's bytes, not decoded. Raise ``UserError`` naming the file and the
    fault.
    """
    if fault := fault_of_path(path):
        raise UserError(f"{path}: {fault}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def decode_file(path: Path, max_duration_s: float) -> Decoded:
    """Decode a recording. Raise ``UserError`` naming the file and the fault."""
    return decode_bytes(read_file(path), str(path), max_duration_s)


def decode_bytes(content: bytes, name: str, max_duration_s: float) -> Decoded:
    """Decode wav, aiff, au, caf, w64, sphere, flac, ogg or mp3 bytes to 16 kHz mono.

    Consecutive recordings in one file are joined. Channels are averaged, a constant offset is
    removed (it is no sound, but would count in every level), other rates are resampled, and a peak
    above full scale is scaled down to it. The length that a header claims is checked before
    anything of that size is allocated. Raise ``UserError`` naming ``name`` and the fault: empty, no
    audio, truncated, too long (``TooLong``), too large, NaN samples.
    """
    if not content:
        raise UserError(f"{name}: the file is empty")
    try:
        recordings = recordings_in(content)
        limit = _Limit(name, max_duration_s)
        parts = [_read(recording, limit) for recording in recordings]
    except Unusable as error:
        cure = f": {error.cure}{_ffmpeg_hint(name)}" if error.cure else ""
        raise UserError(f"{name}: {error}{cure}") from error
    if len(formats := {(part.rate, part.samples.shape[1]) for part in parts}) > 1:
        of = " and ".join(f"{channels} channels at {rate} Hz" for rate, channels in sorted(formats))
        raise UserError(
            f"{name}: joined of recordings that differ ({of}): give each a file of its own"
        )
    rate = parts[0].rate
    samples = (
        np.concatenate([part.samples for part in parts]) if len(parts) > 1 else parts[0].samples
    )
    if len(samples) == 0:
        raise UserError(f"{name}: holds no samples")
    if not np.isfinite(samples).all():
        raise UserError(f"{name}: holds NaN or infinite samples")
    mono = without_offset(samples.mean(axis=1))
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ")
    peak = float(np.max(np.abs(mono), initial=0.0))
    if peak > 1.0:
        mono = mono / peak
    return Decoded(np.ascontiguousarray(mono, dtype=np.float32), rate, samples.shape[1])


@dataclass(frozen=True)
class _Part:
    samples: NDArray[np.float32]
    """Decoded samples, shape (samples, channels)."""
    rate: int
    """Sampling rate in Hz."""


class _Limit:
    """The duration and size that may still be decoded of a file, over all recordings that it
    holds.
    """

    def __init__(self, name: str, max_duration_s: float) -> None:
        self._name = name
        self._max_duration_s = max_duration_s
        self._duration_s = 0.0
        self._size = 0

    def add(self, frames: int, rate: int, channels: int) -> None:
        """Count a recording before it is decoded. Raise ``UserError`` when the file would exceed a
        limit, or the header's numbers are impossible.
        """
        if not (0 < channels <= MAX_CHANNELS) or rate <= 0:
            raise UserError(f"{self._name}: the header claims {channels} channels at {rate} Hz")
        self._duration_s += frames / rate
        self._size += 4 * frames * channels
        if self._duration_s > self._max_duration_s:
            length = format_duration(self._duration_s, self._max_duration_s, 1)
            raise TooLong(
                f"{self._name}: {length} s is longer than the allowed {self._max_duration_s:g} s"
            )
        if self._size > MAX_DECODED_BYTES:
            held = (
                f"{self._duration_s:.1f} s of {channels} channels at {rate} Hz are"
                f" {self._size / 2**30:.1f} GiB when decoded"
            )
            raise UserError(
                f"{self._name}: {held}, more than {MAX_DECODED_BYTES / 2**30:g}: cut it, resample"
                " it or mix it down first"
            )


class _Bytes(io.BytesIO):
    """A recording's bytes. A damaged header may make the decoder seek outside them, for which
    soundfile would print a traceback.
    """

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


def _read(recording: bytes, limit: _Limit) -> _Part:
    """Decode one recording to its end. Raise ``Unusable`` when it cannot be opened or not be read
    to its end.
    """
    try:
        with soundfile.SoundFile(_Bytes(recording)) as file:
            limit.add(file.frames, file.samplerate, file.channels)
            try:
                # The number of frames is given, because some codecs (GSM 6.10) cannot seek and so
                # cannot tell how many are left.
                samples = file.read(file.frames, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                what = f"truncated, damaged or of an unusual codec ({file.subtype})"
                raise Unusable(
                    f"{what}: it cannot be read to its end: {error.error_string.rstrip('.')}",
                    KEEP_REST,
                ) from error
            if len(samples) < file.frames:
                raise Truncated(f"{len(samples)} of {file.frames} frames are there")
            return _Part(samples, file.samplerate)
    except soundfile.LibsndfileError as error:
        raise Unusable(
            f"not an audio file that can be decoded ({error.error_string})", CONVERT
        ) from error


def _ffmpeg_hint(name: str) -> str:
    """Return text with the ffmpeg command that converts a file to wav; only the name of the program
    where the recording is no file (a row of a parquet file, an upload).
    """
    path = Path(name)
    if not re.fullmatch(r"\.\w{1,5}", path.suffix):
        return " with ffmpeg"
    target = path.with_suffix(".wav" if path.suffix.lower() != ".wav" else ".converted.wav")
    return (
        f": `ffmpeg -i {shlex.quote(str(path))} {shlex.quote(str(target))}`, and name the new file"
    )


def write_wav(path: Path, waveform: Waveform) -> None:
    """Write a wav file, 16 kHz mono 32-bit float."""
    with path.open("wb") as file:  # Opening the file through libsndfile would give no errno.
        soundfile.write(file, waveform, SAMPLE_RATE, format="WAV", subtype="FLOAT")
