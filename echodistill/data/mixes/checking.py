"""Render a mix once and measure it, either from the corpus folder where it can be read, or from a
``RenderTask`` that holds all that is needed.
"""

import hashlib
from dataclasses import astuple, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echodistill.audio.kinds import CLEAN, CROWD
from echodistill.audio.levels import SAMPLE_RATE, Waveform, snr_db
from echodistill.audio.mixing import Mix, Rendered, draw, render
from echodistill.audio.noises import PROCEDURAL
from echodistill.audio.recordings import NoiseLibrary, RecordedNoise
from echodistill.audio.stored import decode_flac, encode_flac
from echodistill.core.records import MixCheck
from echodistill.core.seeds import rng
from echodistill.data.store import Corpus

CLIPS_KEPT = 256  # A builder keeps this many clips, because a test clip has many mixes in sequence.


class FileChecker:
    """Check of mixes that reads the corpus folder and the noise folder, which are opened at the
    first mix.
    """

    def __init__(self, corpus_folder: Path, recorded: RecordedNoise | None) -> None:
        self._given = corpus_folder, recorded

    def __reduce__(self) -> tuple[Any, ...]:
        return FileChecker, self._given  # The decoded clips are not pickled.

    def __call__(self, mix: Mix) -> MixCheck:
        """Return the SNR in dB, gain and peak of the rendered mix.

        Raise ``UserError`` when a file is damaged or silent.
        """
        corpus, noise = self._opened
        return _measure(mix, noise.render(mix, corpus.waveform(mix.clip_id)))

    @cached_property
    def _opened(self) -> tuple[Corpus, NoiseLibrary]:
        corpus = Corpus(self._given[0])
        return corpus, NoiseLibrary(corpus.waveform, self._given[1])


@dataclass(frozen=True)
class StoredClip:
    """A clip as it is stored in the corpus."""

    clip_id: str
    content: bytes
    """The FLAC file's bytes."""
    duration_s: float

    @cached_property
    def waveform(self) -> Waveform:
        """Return the waveform, shape (samples,), read-only. It is decoded once and kept as long as
        the clip.
        """
        waveform = decode_flac(self.content, self.clip_id).waveform
        waveform.flags.writeable = False
        return waveform


@dataclass(frozen=True)
class RenderTask:
    """A recipe and the audio that it is rendered from."""

    mix: Mix
    clip: StoredClip
    voices: tuple[StoredClip, ...]
    """Clips that a babble is made of; empty for other kinds."""
    excerpt: Waveform | None
    """Excerpt of a recording, shape (samples,): a recording may last an hour, but a mix needs only
    the length of its clip. ``None`` where no recording is used.
    """

    @property
    def size(self) -> int:
        """Return the number of bytes, at most: clips that tasks of a batch share are sent once."""
        return sum(len(clip.content) for clip in (self.clip, *self.voices)) + (
            0 if self.excerpt is None else self.excerpt.nbytes
        )


class RenderTaskBuilder:
    """Builder of render tasks from a corpus and the library that reads recorded noise."""

    def __init__(self, corpus: Corpus, library: NoiseLibrary) -> None:
        self._corpus = corpus
        self._library = library
        # The same clip is always the same object: pickle sends an object once for each batch,
        # however many tasks hold it.
        self._stored = lru_cache(maxsize=CLIPS_KEPT)(self._read)

    def __call__(self, mix: Mix) -> RenderTask:
        """Return the render task of ``mix``. Raise ``UserError`` when the corpus or a recording is
        damaged.
        """
        clip = self._stored(mix.clip_id)
        if mix.noise_kind not in self._library.recorded_kinds:
            voices = tuple(map(self._stored, mix.noise_sources)) if mix.noise_kind == CROWD else ()
            return RenderTask(mix, clip, voices, None)
        excerpt = self._library.noise(mix, round(clip.duration_s * SAMPLE_RATE))
        return RenderTask(mix, clip, (), np.asarray(excerpt, dtype=np.float32))

    def _read(self, clip_id: str) -> StoredClip:
        return StoredClip(
            clip_id, self._corpus.stored_bytes(clip_id), self._corpus.clips[clip_id].duration_s
        )


def check(task: RenderTask) -> MixCheck:
    """Return the measurements of a rendered task, the same as ``FileChecker`` returns for its
    mix.
    """
    return _measure(task.mix, render(task.mix, task.clip.waveform, _noise(task)))


def _measure(mix: Mix, rendered: Rendered) -> MixCheck:
    peak = float(max(np.max(np.abs(rendered.clean)), np.max(np.abs(rendered.noisy))))
    if mix.snr_db is None:
        return MixCheck(mix.mix_id, None, rendered.gain, peak)
    added = rendered.noisy.astype(np.float64) - rendered.clean.astype(np.float64)
    return MixCheck(mix.mix_id, snr_db(rendered.clean, added), rendered.gain, peak)


def _noise(task: RenderTask) -> NDArray[np.floating] | None:
    """Return the mix's noise before scaling, shape (samples,), or ``None`` for a clean mix."""
    if task.mix.noise_kind == CLEAN or task.excerpt is not None:
        return task.excerpt
    voices = {voice.clip_id: voice for voice in task.voices}
    return NoiseLibrary(lambda clip_id: voices[clip_id].waveform).noise(
        task.mix, len(task.clip.waveform)
    )


def probe() -> str:
    """Return the SHA-256 of what drawing and checking a mix of every kind gives on this machine.
    Another processor or library may give other bytes.
    """
    digest = hashlib.sha256()
    tone = (0.1 * rng("probe").standard_normal(SAMPLE_RATE)).astype(np.float32)
    clips = [
        StoredClip(name, encode_flac(part), 0.5)
        for name, part in zip("ab", np.split(tone, 2), strict=True)
    ]
    for kind in (CROWD, *PROCEDURAL):
        mix = draw(0, "a", "test", kind, 0.0, 0, ("a", "b") if kind == CROWD else ())
        task = RenderTask(mix, clips[0], (clips[1],) if kind == CROWD else (), None)
        digest.update(repr((mix, astuple(check(task)))).encode())
    return digest.hexdigest()
