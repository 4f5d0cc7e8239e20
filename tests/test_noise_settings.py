"""Tests that rendering uses the settings with which the mixes were drawn, whatever params.yaml
contains later.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from echodistill.audio.files import write_wav
from echodistill.core.errors import UserError
from echodistill.data.mixes.noise_settings import FILE, open_noise, read_noise
from echodistill.data.store import Corpus
from echodistill.export import export_mixes
from echodistill.inference.answer_grid import grid_items
from echodistill.inference.single_clip import in_noise
from echodistill.stages.mixes import mixes as make_mixes
from tests.conftest import tone, write_corpus
from tests.noise_cases import sound, write_sounds
from tests.test_cli import cli
from tests.test_pipeline import ROOT
from tests.test_stages import params_of

KINDS = {
    "recorded": {
        "kinds": ["wind", "rain"],
        "unseen": ["rain"],
        "noise": "recordings",
        "procedural": [],
    },
    "beside": {
        "kinds": ["wind", "gauss", "crowd"],
        "unseen": ["wind"],
        "noise": "recordings",
        "procedural": ["gauss", "crowd"],
    },
    "procedural": {"kinds": ["wind", "gauss", "crowd"], "unseen": ["wind"], "noise": "procedural"},
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose params.yaml has the repository's own settings, which no mixes here are drawn
    with.
    """
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    write_corpus(tmp_path / "data/corpus", {"train": 12, "decision": 2, "test": 2})
    write_sounds(
        tmp_path / "sounds",
        *[f"{kind}/{number}.wav" for kind in ("wind", "rain") for number in range(4)],
    )
    return tmp_path


def draw(project: Path, which: str) -> None:
    params = params_of(mixes=KINDS[which] | {"recordings": "sounds", "snrs_db": [0]})
    make_mixes(params, project / "data/mixes", project / "data/corpus")


def noise_of(project: Path, mix_id: str) -> np.ndarray:
    """Noise of an exported mix, at the level of a recording."""
    (clean, noisy), _ = export_mixes(
        project / "data/corpus", project / "data/mixes", project / "wavs", [mix_id], "", 1
    )
    return soundfile.read(noisy)[0] - soundfile.read(clean)[0]


@pytest.mark.parametrize("which", KINDS)
def test_every_kind_is_exported_and_asked_about_as_it_was_drawn(which: str, project: Path) -> None:
    draw(project, which)
    for kind in KINDS[which]["kinds"]:
        assert np.abs(noise_of(project, f"test-0/{kind}@0")).max() > 0
        assert (
            in_noise(
                tone("low", 1), kind, 0.0, project / "data/corpus", project / "data/mixes"
            ).size
            == tone("low", 1).size
        )
    corpus = Corpus(project / "data/corpus")
    items = grid_items(corpus, project / "data/mixes", open_noise(project / "data/mixes", corpus))
    assert all(item.prompt().waveform is not None for item in items)


def test_a_recorded_wind_is_not_exported_as_a_procedural_one(project: Path) -> None:
    for number in range(4):
        whistle = 0.1 * np.sin(2 * np.pi * (3_000 + 0.1 * number) / 16_000 * np.arange(16_000))
        write_wav(project / f"sounds/wind/{number}.wav", whistle.astype(np.float32))
    draw(project, "recorded")
    found = noise_of(project, "test-0/wind@0")
    power = np.abs(np.fft.rfft(found)) ** 2
    hz = np.fft.rfftfreq(found.size, 1 / 16_000)
    assert power[np.abs(hz - 3_000) < 50].sum() > 0.9 * power.sum()


def test_the_command_line_reads_what_the_mixes_were_drawn_with(project: Path) -> None:
    draw(project, "recorded")
    exported = cli("export-audio", "wavs", "--condition", "rain@0", cwd=project)
    assert exported.returncode == 0, exported.stderr
    assert len(exported.stdout.split()) == 4
    write_wav(project / "clip.wav", tone("low", 1))
    (project / "models/student").mkdir(parents=True)
    (project / "models/student/run.json").write_text('{"weights": "full"}', encoding="utf-8")
    asked = cli("ask", "clip.wav", "Which?", "--noise", "gauss", cwd=project)
    assert "there is no noise 'gauss': data/mixes was drawn with wind, rain" in asked.stderr


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def to_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


SPOILT: dict[str, Callable[[Path], object]] = {
    "changed": lambda path: write_wav(path, sound("another")),
    "one bit changed": lambda path: path.write_bytes(
        path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1])
    ),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-400]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "silent": lambda path: write_wav(path, np.zeros(16_000, np.float32)),
    "text": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
    "a folder": to_folder,
    "a link to nothing": to_link,
    "a pipe": to_pipe,
    "all gone": lambda path: shutil.rmtree(path.parents[1]),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_changed_or_missing_recording_is_one_clear_error(how: str, project: Path) -> None:
    draw(project, "recorded")
    segments = read_noise(project / "data/mixes").segments
    (name,) = {
        segment.name for segment in segments if (segment.kind, segment.split) == ("wind", "test")
    }
    SPOILT[how](project / "sounds" / name)
    for read in (
        lambda: noise_of(project, "test-0/wind@0"),
        lambda: in_noise(
            tone("low", 1), "wind", 0.0, project / "data/corpus", project / "data/mixes"
        ),
    ):
        with pytest.raises(UserError) as caught:
            read()
        message = str(caught.value)
        assert message.startswith("noise recording sounds/")
        assert name in message
        assert message.endswith(
            "put it back as it was, or run `echodistill run`, which draws the mixes anew"
        )
        assert "\n" not in message
    assert not list((project / "wavs").glob("*")) if (project / "wavs").exists() else True


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"seed": 1}', b"\xff"])
def test_mixes_without_their_settings_are_reported(content: bytes | None, project: Path) -> None:
    draw(project, "procedural")
    (project / "data/mixes" / FILE).unlink()
    if content is not None:
        (project / "data/mixes" / FILE).write_bytes(content)
    message = "is missing: run `echodistill run`" if content is None else "is damaged"
    with pytest.raises(UserError, match=rf"data/mixes/noise\.json {message}"):
        noise_of(project, "test-0/gauss@0")


def test_procedural_noise_reads_no_recordings(project: Path) -> None:
    shutil.rmtree(project / "sounds")
    draw(project, "procedural")
    assert read_noise(project / "data/mixes").recorded is None
    assert noise_of(project, "test-0/crowd@0").any()


def test_mixes_of_another_corpus_are_reported(project: Path) -> None:
    draw(project, "procedural")
    shutil.rmtree(project / "data/corpus")
    write_corpus(project / "data/corpus", {"train": 12, "test": 1})
    with pytest.raises(
        UserError,
        match=r"data/corpus has no clip 'test-1', it was made anew since: run `echodistill run`",
    ):
        noise_of(project, "test-1/gauss@0")


def test_only_who_draws_mixes_opens_noise_without_its_settings() -> None:
    """All others use ``open_noise``, which reads it."""
    built = set()
    for path in (ROOT / "echodistill").rglob("*.py"):
        text = path.read_text(encoding="utf-8").replace("class NoiseLibrary", "")
        built |= (
            {path.relative_to(ROOT / "echodistill").as_posix()}
            if "NoiseLibrary(" in text
            else set()
        )
    assert built == {
        "data/mixes/noise_settings.py",
        "data/mixes/checking.py",
        "stages/mixes.py",
        "library.py",  # draws mixes in memory
    }
