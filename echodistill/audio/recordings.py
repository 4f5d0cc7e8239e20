"""Where the noise of a recipe comes from: procedural kinds, babble of clips, or a folder of recordings.

A folder holds one sub-folder a kind (``rain/a.wav``). Recordings shorter than a clip are looped from a random place.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echodistill.audio.files import decode_file
from echodistill.audio.kinds import CLEAN, CROWD
from echodistill.audio.levels import SILENCE_DBFS, Waveform, dbfs, excerpt, without_offset
from echodistill.audio.mixing import Mix, Rendered, render
from echodistill.audio.noises import PROCEDURAL, crowd
from echodistill.errors import UserError
from echodistill.paths import unwatched
from echodistill.seeds import rng

MAX_RECORDING_S = 3600.0
SUFFIXES = {".wav", ".flac", ".ogg", ".mp3"}


def list_recordings(folder: Path, kinds: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Recordings of each kind as paths relative to ``folder``. Raises ``UserError`` when a kind has none."""
    found = {}
    for kind in kinds:
        below = sorted((folder / kind).glob("**/*"))
        paths = [path for path in below if path.suffix.lower() in SUFFIXES and not path.is_dir()]
        for path in [folder / kind / "*", *(path / "*" for path in below if path.is_dir())]:
            if fault := unwatched(path, folder):
                raise UserError(f"mixes.recordings, kind {kind}: {fault}")
        if not paths:
            raise UserError(f"mixes.recordings: {folder / kind} holds no recordings; each of mixes.kinds needs a sub-folder")
        found[kind] = tuple(path.relative_to(folder).as_posix() for path in paths)
    return found


def recordings_folder(noise: str, path: str) -> Path | None:
    """Where recordings are, or ``None`` for procedural noise (``mixes.noise`` and ``mixes.recordings`` of the parameters)."""
    return Path(path) if noise == "recordings" else None


class NoiseLibrary:
    """Renders mixes: finds or makes the noise each recipe names."""

    def __init__(self, clip: Callable[[str], Waveform], recordings: Path | None = None) -> None:
        """``clip`` gives a clip's waveform by id, for babble; ``recordings`` is the folder recipes refer to."""
        self._clip = clip
        self._recordings = recordings
        self._read = lru_cache(maxsize=256)(self._decode)

    def noise(self, mix: Mix, samples: int) -> NDArray[np.floating]:
        """The recipe's noise before scaling, shape (samples,). The same for the same recipe, always."""
        stream = rng(mix.noise_seed)
        if self._recordings is not None:
            return without_offset(excerpt(stream, self._read(mix.noise_sources[0]), samples))
        if mix.noise_kind == CROWD:
            return crowd(stream, samples, [self._clip(clip_id) for clip_id in mix.noise_sources])
        return PROCEDURAL[mix.noise_kind](stream, samples)

    def render(self, mix: Mix, clean: Waveform) -> Rendered:
        """Both views of a mix; see ``mixing.render``."""
        return render(mix, clean, None if mix.noise_kind == CLEAN else self.noise(mix, len(clean)))

    def _decode(self, name: str) -> Waveform:
        assert self._recordings is not None
        waveform = decode_file(self._recordings / name, MAX_RECORDING_S).waveform
        if dbfs(waveform) < SILENCE_DBFS:
            raise UserError(f"noise recording {self._recordings / name} is silent: remove it")
        return waveform
