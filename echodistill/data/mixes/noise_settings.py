"""Read and write ``noise.json`` of a mixes folder: the settings that its mixes were drawn with.

Code that renders a mix reads this file and not ``params.yaml``, which may have changed since.
"""

from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from echodistill.audio.recordings import NoiseLibrary, RecordedNoise, Segment
from echodistill.core.errors import UserError
from echodistill.data.mixes.division import divide_recordings
from echodistill.data.store import Corpus
from echodistill.params.mixes import MixesParams

FILE = "noise.json"


class NoiseSettings(BaseModel):
    """Settings of the noise in a folder of mixes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int
    """Seed of the recipes."""
    kinds: tuple[str, ...]
    recordings: str | None
    """Path of the folder of recordings; ``None`` where no kind is recorded."""
    segments: tuple[Segment, ...]
    """Segments of the kinds that are recorded; the other kinds are procedural."""

    @property
    def recorded(self) -> RecordedNoise | None:
        """Return the recordings, or ``None`` where no kind is recorded."""
        return (
            None if self.recordings is None else RecordedNoise(Path(self.recordings), self.segments)
        )

    @cached_property
    def recorded_kinds(self) -> frozenset[str]:
        """Return the kinds that are taken from recordings."""
        return frozenset(segment.kind for segment in self.segments)


def noise_settings(seed: int, settings: MixesParams) -> NoiseSettings:
    """Return the noise settings for the section ``mixes``, for which all recordings are read.

    Raise ``UserError`` where recordings are missing or cannot be used.
    """
    kinds, recorded = settings.kinds, settings.recorded
    if not recorded:
        return NoiseSettings(seed=seed, kinds=kinds, recordings=None, segments=())
    segments = divide_recordings(Path(settings.recordings), recorded, seed)
    return NoiseSettings(seed=seed, kinds=kinds, recordings=settings.recordings, segments=segments)


def write_noise(mixes_folder: Path, noise: NoiseSettings) -> None:
    """Write ``noise.json`` into a mixes folder, the same bytes for the same settings."""
    (mixes_folder / FILE).write_text(noise.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_noise(mixes_folder: Path) -> NoiseSettings:
    """Return the settings that ``mixes_folder`` was drawn with. Raise ``UserError`` when they are
    missing or damaged.
    """
    path = mixes_folder / FILE
    try:
        return NoiseSettings.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is missing: run `echodistill run`, which draws the mixes"
        ) from error
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): make it a readable file"
        ) from error
    except ValidationError as error:
        raise UserError(
            f"{path} is damaged ({error.errors()[0]['msg']}): delete it and run `echodistill run`"
        ) from error


def open_noise(mixes_folder: Path, corpus: Corpus) -> NoiseLibrary:
    """Return the library of the noise that the mixes of ``mixes_folder`` were drawn with.

    Raise ``UserError`` when ``noise.json`` is missing or damaged.
    """
    return NoiseLibrary(corpus.waveform, read_noise(mixes_folder).recorded)
