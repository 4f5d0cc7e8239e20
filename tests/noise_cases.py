"""Noise settings and folders of recorded noise for tests."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from echodistill.audio.files import write_wav
from echodistill.audio.levels import Waveform
from echodistill.audio.recordings import RecordedNoise, Segment, read_recording
from echodistill.core.seeds import rng
from echodistill.data.mixes.noise_settings import NoiseSettings, write_noise

PROCEDURAL = NoiseSettings(seed=1, kinds=("gauss", "crowd", "wind"), recordings=None, segments=())
"""What a mixes folder that a test writes by hand was drawn with."""


def write_procedural(mixes_folder: Path) -> None:
    write_noise(mixes_folder, PROCEDURAL)


def sound(name: str, duration_s: float = 1.0) -> Waveform:
    """White noise of its own."""
    return (0.1 * rng("sound", name).standard_normal(int(16_000 * duration_s))).astype("float32")


def write_sounds(folder: Path, *names: str, duration_s: float = 1.0) -> Path:
    """Write a recording of its own under each name."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(folder / name, sound(name, duration_s))
    return folder


def used_by_train(folder: Path, kinds: Mapping[str, str]) -> RecordedNoise:
    """Return recordings, given by name with their kind, of which training uses all."""
    segments = []
    for name, kind in kinds.items():
        sha256, waveform = read_recording(folder / name)
        audio = hashlib.sha256(waveform.tobytes()).hexdigest()
        segments.append(Segment(kind, name, sha256, audio, "train", 0, len(waveform)))
    return RecordedNoise(folder, tuple(segments))
