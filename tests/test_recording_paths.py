"""Recordings whose name the manifest spells in another case or Unicode form, or with another
system's strokes; long names.
"""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from echodistill.audio.files import write_wav
from tests.folders import ROW, only_question, only_reason, read_jsonl, write_recordings

NFC, NFD = (unicodedata.normalize(form, "Größe é.wav") for form in ("NFC", "NFD"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_recordings(tmp_path)


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(root / name, np.full(8_000, 0.1, dtype=np.float32))


@pytest.mark.parametrize(
    ("there", "written"),
    [
        (NFC, NFD),
        (NFD, NFC),
        (f"é/{NFC}".replace("é", NFC[-5]), f"{NFD[-6:-4]}/{NFD}"),
        ("Rain.WAV", "rain.wav"),
        ("rain.wav", "RAIN.WAV"),
        ("rain.wav", "Rain"),
        ("rain.WAV", "rain"),
        ("Street/Rain.wav", "street/rain.wav"),
        (NFD.upper(), NFC.lower()),
        ("street/rain.wav", "street\\rain.wav"),
        ("street/rain.wav", ".\\Street\\RAIN.wav"),
        ("x" * 236 + ".wav", "x" * 236 + ".wav"),
        ("x" * 236 + ".wav", "X" * 236),
        ("x" * 251 + ".wav", "x" * 251),
        ("é" * 120 + ".wav", "e\u0301" * 120 + ".wav"),
    ],
)
def test_another_spelling_finds_the_file(root: Path, there: str, written: str) -> None:
    put(root, there)
    found = read_jsonl(root, ROW | {"audio_path": written})
    assert only_question(found).answer == "blue"
    assert found.clips[0].clip_id == there
    found.clips[0].read()


def test_the_file_that_is_called_so_is_taken_first(root: Path) -> None:
    put(root, "rain.wav", "Rain.wav", NFC, NFD)
    for name in ("rain.wav", "Rain.wav", NFC, NFD):
        assert read_jsonl(root, ROW | {"audio_path": name}).clips[0].clip_id == name
    put(root, NFC.upper())
    (root / NFC).unlink()
    assert read_jsonl(root, ROW | {"audio_path": NFC}).clips[0].clip_id == NFD


def test_two_spellings_of_one_file_are_one_clip(root: Path) -> None:
    put(root, "rain.wav")
    found = read_jsonl(
        root, ROW | {"audio_path": "Rain.wav"}, ROW | {"id": "q2", "audio_path": "rain"}
    )
    assert [len(clip.questions) for clip in found.clips] == [2]


def test_where_several_are_alike_none_is_taken(root: Path) -> None:
    put(root, "rain.wav", "Rain.wav")
    reason = only_reason(read_jsonl(root, ROW | {"audio_path": "RAIN.wav"}))
    assert (
        reason
        == "no such audio file: RAIN.wav: Rain.wav and rain.wav are there: write the one that is"
        " meant"
    )


@pytest.mark.parametrize(
    "written", ["rian.wav", "Rain.flac", "sub/rain.wav", "..\\rain.wav", "rain\\x.wav", "x" * 300]
)
def test_other_names_are_other_files(root: Path, written: str) -> None:
    put(root, "rain.wav")
    assert only_reason(read_jsonl(root, ROW | {"audio_path": written})).startswith(
        ("no such audio file: ", "audio path")
    )
