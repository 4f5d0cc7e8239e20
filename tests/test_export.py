"""Wavs to listen to: each mix has files of its own, whatever clips are called."""

import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from echodistill.core.errors import UserError
from echodistill.core.records import Clip, Question, read_rows, write_rows
from echodistill.export import export_mixes, file_names
from echodistill.stages.mixes import mixes as make_mixes
from tests.conftest import write_corpus
from tests.test_stages import params_of

PAIRS = [
    ("a/b.wav", "a_b.wav"),
    ("a/b/c", "a_b/c"),
    ("a\\b", "a/b"),
    ("a_b", "a\nb"),
    ("a\tb", "a\x00b"),
    ("Clip", "clip"),
    ("STRASSE", "straße"),
    (unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")),
    ("x" * 240, "x" * 240 + "y"),
    ("ü" * 120, "ü" * 120 + "y"),
    ("日本" * 60, "日本" * 60 + "語"),
    ("x" * 250, "X" * 250),
    ("../up", ".._up"),
    ("/root", "_root"),
    ("a\ud800", "a?"),
    ("a//b", "a/_b"),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_no_two_mixes_have_one_file(one: str, other: str, tmp_path: Path) -> None:
    mixes = [
        f"{clip}/{condition}"
        for clip in (one, other, "third")
        for condition in ("clean", "crowd@-10", "crowd@-10/1")
    ]
    names = file_names(mixes)
    compared = {unicodedata.normalize("NFC", name).casefold() for name in names.values()}
    assert len(compared) == len(mixes)
    assert names["third/crowd@-10"] == "third_crowd@-10"
    for name in names.values():
        path = tmp_path / f".{name}.noisy.wav.0123456789ab.tmp"
        path.touch()  # what is written first has the longest name
        assert path.parent == tmp_path
        assert path.resolve().parent == tmp_path.resolve()
    assert file_names(mixes[::-1]) == names


def test_kinds_and_clips_that_run_together_are_distinguished() -> None:
    names = file_names(["a/b_gauss@5", "a_b/gauss@5"])
    assert len(set(names.values())) == 2
    assert all(name.startswith("a_b_gauss@5-") for name in names.values())


@pytest.mark.parametrize(
    ("one", "other"), [("a/b.wav", "a_b.wav"), ("Clip", "clip"), ("n" * 200, "n" * 201)]
)
def test_each_of_two_clips_is_exported(one: str, other: str, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    write_corpus(corpus, {"train": 4, "test": 2})
    ids = {"test-0": one, "test-1": other}
    clips = read_rows(corpus / "clips.parquet", Clip)
    write_rows(
        corpus / "clips.parquet",
        Clip,
        [replace(row, clip_id=ids.get(row.clip_id, row.clip_id)) for row in clips],
    )
    questions = read_rows(corpus / "questions.parquet", Question)
    write_rows(
        corpus / "questions.parquet",
        Question,
        [replace(row, clip_id=ids.get(row.clip_id, row.clip_id)) for row in questions],
    )
    make_mixes(
        params_of(mixes={"kinds": ["gauss"], "unseen": [], "snrs_db": [0]}),
        tmp_path / "mixes",
        corpus,
    )
    wanted = [f"{one}/gauss@0", f"{other}/gauss@0", f"{one}/gauss@0"]
    written, asked = export_mixes(
        corpus, tmp_path / "mixes", tmp_path / "wavs", wanted, "gauss@0", 2
    )
    assert len(written) == len(set(written)) == len(list((tmp_path / "wavs").iterdir())) == 4
    assert len(asked) == 2
    lengths = {len(soundfile.read(path)[0]) for path in written if path.name.endswith("clean.wav")}
    assert lengths == {6_400, 7_200}  # each has its own clip
    with pytest.raises(UserError) as caught:
        export_mixes(corpus, tmp_path / "mixes", tmp_path / "wavs", [], "gaus@0", 2)
    assert str(caught.value) == (
        "no test mix under condition 'gaus@0'; there are clean and KIND@SNR, such as gauss@0, of"
        " the kinds gauss: did you mean gauss@0?"
    )
