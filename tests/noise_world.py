"""Recorded noise, and the mixes and gates of a small corpus with it."""

from pathlib import Path

import pytest

from echodistill.audio.mixing import Mix
from echodistill.audio.recordings import Segment
from echodistill.core.records import read_rows
from echodistill.data.mixes.noise_settings import NoiseSettings, read_noise
from echodistill.gates.expect import Expect
from echodistill.gates.mixes import mixes_checks
from echodistill.gates.runner import validate
from echodistill.params.whole import Params
from echodistill.stages.mixes import mixes as make_mixes
from tests.conftest import write_corpus
from tests.noise_cases import write_sounds
from tests.test_stages import params_of

SUFFIXES = ("wav", "WAV", "flac", "ogg", "opus", "mp3", "aiff", "aif", "au", "caf", "w64")


def names(kind: str, count: int) -> list[str]:
    return [f"{kind}/{number}.wav" for number in range(count)]


def splits_of(segments: tuple[Segment, ...]) -> dict[str, set[str]]:
    """By recording: the splits that use some of it."""
    found: dict[str, set[str]] = {}
    for segment in segments:
        found.setdefault(segment.name, set()).add(segment.split)
    return found


@pytest.fixture
def world(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "corpus", {"train": 40, "validation": 4, "decision": 8, "test": 4})
    write_sounds(
        tmp_path / "noise",
        *names("rain", 8),
        *names("crowd", 5),
        *names("hail", 4),
        "alarm.wav",
        duration_s=1.5,
    )
    return tmp_path


def settings(world: Path, **changes: object) -> Params:
    mixes = {
        "kinds": ["rain", "crowd", "alarm", "gauss", "hail"],
        "unseen": ["hail"],
        "noise": "recordings",
        "recordings": str(world / "noise"),
        "procedural": ["gauss"],
        "snrs_db": [-5, 0],
        "train_draws": 3,
        "train_clean_share": 0.1,
    }
    return params_of(mixes=mixes | changes)


def made(world: Path, **changes: object) -> tuple[list[Mix], NoiseSettings]:
    make_mixes(settings(world, **changes), world / "mixes", world / "corpus")
    return read_rows(world / "mixes/mixes.parquet", Mix), read_noise(world / "mixes")


def verdict(world: Path, checks: list[Expect]) -> dict[str, tuple[str, ...]]:
    """By failed expectation: the offending ids."""
    return {
        result.description: result.ids
        for result in validate("mixes", checks, docs=None).results
        if not result.passed
    }


def checks(world: Path, **changes: object) -> list[Expect]:
    return mixes_checks(world / "mixes", world / "corpus", settings(world, **changes))
