"""Decode, check, hash and encode one clip for the corpus. Once its bytes are fetched, any machine
can do this.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import soxr

from echodistill.audio.levels import SAMPLE_RATE, SILENCE_DBFS, Waveform, dbfs, format_duration
from echodistill.audio.stored import Decoded, decode_flac, encode_flac
from echodistill.core.errors import UserError
from echodistill.core.seeds import rng
from echodistill.data.sources import Raw, SourceClip, SourceFailed


@dataclass(frozen=True)
class Fetched:
    """A clip that is ready to be decoded, or the reason why it cannot be."""

    source: str
    """Name of the source in error messages."""
    raw: Raw | str
    """The fetched bytes, or the reason why the clip could not be fetched."""
    decode: Callable[[Raw], tuple[Decoded, str]]

    @property
    def size(self) -> int:
        """Return the number of fetched bytes."""
        return self.raw.size if isinstance(self.raw, Raw) else 0


@dataclass(frozen=True)
class Encoded:
    """A clip that is ready to be stored."""

    content: bytes
    """The FLAC file's bytes."""
    sha256: str
    """SHA-256 of ``content``."""
    source_sha256: str
    source_rate: int
    """Sampling rate in Hz before resampling."""
    duration_s: float
    level_dbfs: float
    trimmed: bool
    """Whether a small excess over the longest allowed duration was cut off."""


def fetch(clip: SourceClip) -> Fetched:
    """Fetch a clip's bytes. Raise ``SourceFailed`` when the source and not the clip is at fault."""
    try:
        return Fetched(clip.source, clip.fetch(), clip.decode)
    except SourceFailed:
        raise
    except UserError as error:
        return Fetched(clip.source, _reason(error, clip.source), clip.decode)


@dataclass(frozen=True)
class Encoder:
    """Decode, check and encode one clip, or return what is wrong with it, so that the results keep
    the order of the rows.

    Raise ``SourceFailed`` when the source and not the clip is at fault.
    """

    min_duration_s: float
    max_duration_s: float
    trim_excess_s: float

    def __call__(self, clip: SourceClip | Fetched) -> Encoded | str:
        fetched = fetch(clip) if isinstance(clip, SourceClip) else clip
        if isinstance(fetched.raw, str):
            return fetched.raw
        try:
            decoded, source_sha256 = fetched.decode(fetched.raw)
            waveform, trimmed = self._trimmed(decoded.waveform)
            duration_s, level = len(waveform) / SAMPLE_RATE, dbfs(waveform)
            if duration_s > self.max_duration_s:
                length = format_duration(duration_s, self.max_duration_s, 2)
                raise UserError(
                    f"{length} s is longer than the allowed {self.max_duration_s:g} s"
                    " (corpus.max_duration_s)"
                )
            if duration_s < self.min_duration_s:
                length = format_duration(duration_s, self.min_duration_s, 2)
                raise UserError(
                    f"{length} s is shorter than the allowed {self.min_duration_s:g} s"
                    " (corpus.min_duration_s)"
                )
            if level < SILENCE_DBFS:
                raise UserError(f"silent ({level:.0f} dBFS)")
        except SourceFailed:
            raise
        except UserError as error:
            return _reason(error, fetched.source)
        content = encode_flac(waveform)
        digest = hashlib.sha256(content).hexdigest()
        return Encoded(
            content, digest, source_sha256, decoded.source_rate, duration_s, level, trimmed
        )

    def _trimmed(self, waveform: Waveform) -> tuple[Waveform, bool]:
        """Return the waveform, and whether it was cut to the longest duration because its excess
        was small enough.
        """
        longest, excess = (
            int(round(seconds * SAMPLE_RATE, 6))
            for seconds in (self.max_duration_s, self.trim_excess_s)
        )
        small = longest < len(waveform) <= longest + excess
        return (waveform[:longest], True) if small else (waveform, False)


def _reason(error: UserError, source: str) -> str:
    """Return the message without the clip's name, which is shown beside the reason."""
    return str(error).removeprefix(f"{source}: ")


def probe() -> str:
    """Return the SHA-256 of what resampling, levels and the FLAC encoder give on this machine.
    Another processor or library may give other bytes.
    """
    digest = hashlib.sha256()
    for rate in (8_000, 22_050, 44_100):
        samples = 0.1 * rng("probe", rate).standard_normal(rate).astype(np.float32)
        content = encode_flac(soxr.resample(samples, rate, SAMPLE_RATE, quality="HQ"))
        digest.update(content + str(dbfs(decode_flac(content, "probe").waveform)).encode())
    return digest.hexdigest()
