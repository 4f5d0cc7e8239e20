"""Keep the results of a slow denoiser on disk for the next model that receives the same clips."""

import hashlib
from pathlib import Path

import numpy as np

from echodistill.audio.levels import Waveform
from echodistill.core.atomic import atomic_path
from echodistill.core.checksums import payload_of, with_digest
from echodistill.inference.answer_grid import Preprocessor


class DiskCachedDenoiser:
    """A denoiser that cleans each waveform once and keeps the result in a folder, bit for bit.

    A resumed run finds the results of a killed one. A damaged result is computed again.
    """

    def __init__(self, preprocessor: Preprocessor, folder: Path) -> None:
        self._preprocessor, self._folder = preprocessor, folder

    def __call__(self, waveform: Waveform) -> Waveform:
        path = self._folder / f"{hashlib.sha256(waveform.tobytes()).hexdigest()}.f32"
        kept = payload_of(path.read_bytes()) if path.is_file() else None
        if kept is not None:
            return np.frombuffer(kept, dtype=np.float32).copy()
        cleaned = np.asarray(self._preprocessor(waveform), dtype=np.float32)
        with atomic_path(path) as temporary:
            temporary.write_bytes(with_digest(cleaned.tobytes()))
        return cleaned
