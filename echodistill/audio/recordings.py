"""Find or make the noise of a recipe: procedural kinds, babble of clips, or a folder of recordings.

A folder holds one sub-folder for each kind (``rain/a.wav``), or files that are named after their
kind (``rain.wav``, ``rain_2.wav``). Recordings shorter than a clip are looped from a random place.
"""

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from glob import glob
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echodistill.audio.files import decode_bytes, read_file
from echodistill.audio.kinds import CLEAN, CROWD
from echodistill.audio.levels import SILENCE_DBFS, Waveform, dbfs, excerpt, without_offset
from echodistill.audio.mixing import Mix, Rendered, render
from echodistill.audio.noises import PROCEDURAL, crowd
from echodistill.core.errors import UserError
from echodistill.core.paths import linked_folder_fault
from echodistill.core.seeds import rng

MAX_RECORDING_S = 3600.0
SUFFIXES = {
    f".{name}"
    for name in (
        "wav flac ogg oga opus mp3 aif aiff aifc au caf w64 rf64 m4a aac wma amr webm mp4".split()
    )
}
"""Endings of the files that are read as recordings. One that cannot be decoded is an error and is
not left out silently.
"""
_NUMBERED = re.compile(r"(.+?)[-_. ]*\(?[0-9]+\)?")


def list_recordings(folder: Path, kinds: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the recordings of each kind as sorted paths relative to ``folder``.

    Hidden files are left out, because some systems and editors create their own. Raise
    ``UserError`` when a kind has no recording, and where DVC would notice no change of one.
    """
    if not folder.is_dir():
        raise UserError(
            f"mixes.recordings: there is no folder {folder}: name the one that holds the recordings"
            " of noise"
        )
    found: dict[str, list[str]] = {kind: [] for kind in kinds}
    for name in sorted(os.listdir(folder)):
        path = folder / name
        kind = _kind_of(name if path.is_dir() else _stem(name), kinds, numbered=not path.is_dir())
        if kind is None or name.startswith("."):
            continue
        # `glob` also follows links to folders.
        below = glob("**", root_dir=path, recursive=True) if path.is_dir() else []
        files = [f"{name}/{part}" for part in below] if path.is_dir() else [name]
        found[kind] += [
            file
            for file in files
            if Path(file).suffix.lower() in SUFFIXES and not (folder / file).is_dir()
        ]
    for kind, names in found.items():
        if not names:
            known = (
                ", ".join(sorted(name for name in os.listdir(folder) if not name.startswith(".")))
                or "nothing"
            )
            cure = (
                f", or name {kind} in mixes.procedural"
                if kind in PROCEDURAL or kind == CROWD
                else ""
            )
            raise UserError(
                f"mixes.recordings: {folder} holds no recordings of {kind!r}, neither in"
                f" {folder / kind} nor as {kind}.wav; it holds {known:.200}. Add some, take"
                f" {kind!r} out of mixes.kinds{cure}"
            )
        if faults := [
            fault for name in names if (fault := linked_folder_fault(folder / name, folder))
        ]:
            raise UserError(f"mixes.recordings, kind {kind}: {faults[0]}")
    return {kind: tuple(sorted(names)) for kind, names in found.items()}


def _stem(name: str) -> str:
    path = Path(name)
    return path.stem if path.suffix.lower() in SUFFIXES else ""


def _kind_of(name: str, kinds: Sequence[str], numbered: bool) -> str | None:
    """Return the kind that a folder or a file's stem names, or ``None``; a file may have a number
    after its kind.

    Systems store accents in two forms, which look the same and are treated the same here.
    """
    by_name = {unicodedata.normalize("NFC", kind): kind for kind in kinds}
    name = unicodedata.normalize("NFC", name)
    if name in by_name or not numbered:
        return by_name.get(name)
    match = _NUMBERED.fullmatch(name)
    return by_name.get(match[1]) if match else None


def read_recording(path: Path) -> tuple[str, Waveform]:
    """Return the SHA-256 of a recording's bytes, and its waveform of shape (samples,).

    Raise ``UserError`` naming the file where it cannot be read or is silent.
    """
    content = read_file(path)
    waveform = decode_bytes(content, str(path), MAX_RECORDING_S).waveform
    if dbfs(waveform) < SILENCE_DBFS:
        raise UserError(f"{path}: is silent")
    return hashlib.sha256(content).hexdigest(), waveform


@dataclass(frozen=True)
class Segment:
    """The part of a recording that one split uses: all of it, or a part of its own where splits
    share the recording.
    """

    kind: str
    name: str
    """Path below the folder of recordings."""
    sha256: str
    """SHA-256 of the file's bytes."""
    audio_sha256: str
    """SHA-256 of the decoded samples, which is the same for a copy in another format or with other
    tags.
    """
    split: str
    start: int
    """First sample of the part, at 16 kHz."""
    stop: int


@dataclass(frozen=True)
class RecordedNoise:
    """The folder of recordings that recipes refer to, and the segments that each split uses."""

    folder: Path
    segments: tuple[Segment, ...]


class NoiseLibrary:
    """Renderer of mixes, which finds or makes the noise that each recipe names."""

    def __init__(
        self, clip: Callable[[str], Waveform], recorded: RecordedNoise | None = None
    ) -> None:
        """Store ``clip``, which returns a clip's waveform by id, for babble; kinds that are not
        ``recorded`` are procedural.
        """
        self._clip = clip
        self._folder = recorded.folder if recorded else None
        self._segments = (
            {(segment.name, segment.split): segment for segment in recorded.segments}
            if recorded
            else {}
        )
        self.recorded_kinds = frozenset(segment.kind for segment in self._segments.values())
        self._read = lru_cache(maxsize=256)(self._decode)

    def noise(self, mix: Mix, samples: int) -> NDArray[np.floating]:
        """Return the recipe's noise before scaling, shape (samples,), always the same for the same
        recipe.
        """
        stream = rng(mix.noise_seed)
        if mix.noise_kind in self.recorded_kinds:
            return without_offset(excerpt(stream, self._segment(mix), samples))
        if mix.noise_kind == CROWD:
            return crowd(stream, samples, [self._clip(clip_id) for clip_id in mix.noise_sources])
        return PROCEDURAL[mix.noise_kind](stream, samples)

    def render(self, mix: Mix, clean: Waveform) -> Rendered:
        """Return both views of a mix; see ``mixing.render``."""
        return render(mix, clean, None if mix.noise_kind == CLEAN else self.noise(mix, len(clean)))

    def _segment(self, mix: Mix) -> Waveform:
        """Return the part of the mix's recording that the mix's split uses.

        Raise ``UserError`` where the split must not use the recording, or the recording has
        changed.
        """
        segment = self._segments.get((mix.noise_sources[0], mix.split))
        if segment is None:
            raise UserError(
                f"mix {mix.mix_id} has noise that {mix.split} must not use: run `echodistill run`,"
                " which draws anew"
            )
        return self._read(segment.name, segment.sha256)[segment.start : segment.stop]

    def _decode(self, name: str, sha256: str) -> Waveform:
        assert self._folder is not None
        cure = "put it back as it was, or run `echodistill run`, which draws the mixes anew"
        try:
            found, waveform = read_recording(self._folder / name)
        except UserError as error:
            raise UserError(f"noise recording {error}: {cure}") from error
        if found != sha256:
            raise UserError(
                f"noise recording {self._folder / name} is not the one that the mixes were drawn"
                f" with: {cure}"
            )
        return waveform
