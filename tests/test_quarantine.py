"""The report on quarantined rows: the number for each reason, and the cure."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from echodistill.audio.files import write_wav
from echodistill.core.errors import UserError
from echodistill.core.records import Quarantined
from echodistill.data.reasons import EXAMPLE_ROW, kinds_of
from echodistill.data.store import Corpus
from echodistill.params.whole import validate_params
from echodistill.stages.corpus import SHOWN_ROWS, corpus
from echodistill.stages.entry import params_view
from echodistill.stages.gate import gate
from tests import benchmark_rows as b
from tests.corpus_params import PARAMS
from tests.folders import ROW, read_jsonl, write_recordings
from tests.test_separate_test_source import rows_of, write_folder


def make(root: Path, **changes: object) -> Corpus:
    raw = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    raw["corpus"] |= {
        "source": "folder",
        "path": str(root / "raw"),
        "max_quarantined_share": 1.0,
    } | changes
    corpus(
        params_view(validate_params(raw, "test"), ("seed", "corpus", "prompt.style")), root / "out"
    )
    return Corpus(root / "out")


def lasting(path: Path, seconds: float) -> None:
    write_wav(
        path,
        np.random.default_rng(1).uniform(-0.1, 0.1, round(16_000 * seconds)).astype(np.float32),
    )


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty clips, of which 13 are bad for five reasons."""
    monkeypatch.chdir(tmp_path)
    rows = rows_of(40)
    write_folder(tmp_path / "raw", rows)
    for number in range(6):
        lasting(tmp_path / f"raw/{number}.wav", 1.45 + 0.1 * number)
    for number in range(6, 9):
        lasting(tmp_path / f"raw/{number}.wav", 0.1)
    (tmp_path / "raw/9.wav").unlink()
    rows[10] |= {"choices": ["a", "b", "A."]}
    rows[11] |= {"choices": ["a", "c", "C"]}
    rows[12] |= {"answer": "purple"}
    b.write_json(tmp_path / "raw/manifest.jsonl", rows)
    return tmp_path


LINES = [
    "6 too long: corpus.max_duration_s=2",
    "3 too short: corpus.min_duration_s=0.09",
    "2 with a choice that is given twice: write each choice once",
    "1 without their recording: put it below corpus.path (of a test's own source corpus.test.path)",
    "1 whose answer is no choice: write a choice's text, letter or number",
]


def test_reasons_are_counted_with_their_cures(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(world)
    printed = capsys.readouterr().out.splitlines()
    start = next(number for number, line in enumerate(printed) if "13 rows quarantined" in line)
    assert printed[start + 1 : start + 6] == [f"  {line}" for line in LINES]
    named = [line for line in printed if line.startswith("quarantined ")]
    assert len(named) == len(set(named)) == SHOWN_ROWS + 3 + 2 + 1 + 1


def test_too_many_bad_rows_stop_with_all_reasons_in_one_line(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError) as caught:
        make(world, max_quarantined_share=0.2)
    assert (
        str(caught.value)
        == "13 of 40 rows of folder are bad, more than corpus.max_quarantined_share = 0.2 allows:"
        f" fix these rows, or allow more. {'; '.join(LINES)}. .echodistill/quarantined.txt lists"
        " them all"
    )
    assert len(Path(".echodistill/quarantined.txt").read_text(encoding="utf-8").splitlines()) == 13


def test_the_cures_cure(world: Path) -> None:
    assert len(make(world).clips) == 27
    assert len(make(world, max_duration_s=2).clips) == 33
    assert len(make(world, trim_excess_s=0.8).clips) == 33
    assert len(make(world, min_duration_s=0.09).clips) == 30


def test_every_row_that_is_missing_is_in_the_verdict_and_printed_once(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(world)
    raw = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    raw["corpus"] |= {"max_quarantined_share": 0.5}
    gate(validate_params(raw, "test"), "corpus", world / "reports/gates/corpus.json", world / "out")
    notes = json.loads((world / "reports/gates/corpus.json").read_text(encoding="utf-8"))["notes"]
    assert len(notes) == 13
    assert "manifest.jsonl:11 (id r10): choice 'a' is given twice" in notes
    assert capsys.readouterr().out.count("choice 'a' is given twice") == 1


@pytest.mark.parametrize("excess", [1, 320, 800])
def test_a_small_excess_is_cut_where_that_is_stated(
    tmp_path: Path, excess: int, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "raw", rows_of(12))
    samples = np.random.default_rng(1).uniform(-0.1, 0.1, 19_200 + excess).astype(np.float32)
    write_wav(tmp_path / "raw/3.wav", samples)
    soundfile.write(tmp_path / "raw/4.wav", samples[: 19_200 + 801], 16_000, subtype="PCM_16")
    assert "3.wav" not in make(tmp_path).clips
    capsys.readouterr()
    made = make(tmp_path, trim_excess_s=0.05)
    assert made.clips["3.wav"].duration_s == 1.2
    assert made.waveform("3.wav") == pytest.approx((samples - samples.mean())[:19_200], abs=1e-6)
    assert (
        "2 clips were longer than corpus.max_duration_s by up to corpus.trim_excess_s, and cut"
        " to it" in capsys.readouterr().out
    )
    lasting(tmp_path / "raw/3.wav", 1.2501)
    assert "3.wav" not in make(tmp_path, trim_excess_s=0.05).clips


def test_the_cure_for_a_missing_field_names_what_is_read_and_an_example_row(tmp_path: Path) -> None:
    write_recordings(tmp_path)
    rows = [{name: value for name, value in ROW.items() if name != left_out} for left_out in ROW]
    lines = [kind.line for kind in kinds_of(read_jsonl(tmp_path, *rows).quarantined, 1)]
    assert all(f"a whole row: {EXAMPLE_ROW}" in line for line in lines)
    (of_choices,) = (line for line in lines if line.startswith("1 without choices: "))
    for spelling in ('"choices": [', "choice_a, choice_b", "A, B", "choice_1, choice_2"):
        assert spelling in of_choices
    read = read_jsonl(tmp_path, EXAMPLE_ROW.replace("a1.wav", "a.wav"))
    assert not read.quarantined


@pytest.mark.parametrize(
    ("reasons", "lines"),
    [
        (
            ["30.0 s is longer than the allowed 30 s (corpus.max_duration_s)"] * 3,
            ["3 too long: corpus.max_duration_s=31, or"],
        ),
        (
            ["31.4 s is longer than the allowed 30 s", "95.0 s is longer than the allowed 30 s"],
            ["2 too long: corpus.max_duration_s=96"],
        ),
        (["0.00 s is shorter than the allowed 0.2 s"], ["1 too short: leave them out"]),
        (["silent (-120 dBFS)", "silent (-80 dBFS)"], ["2 silent: "]),
        (["the id is given twice"] * 2, ["2 with the id of an earlier row: give each"]),
        (["x 'a' is odd: write 'b'", "x 'c' is odd: write 'b'"], ["2 (x … is odd): write 'b'"]),
        (
            ["truncated: 5 of 9 frames are there", "truncated: 7 of 8 frames are there"],
            ["2 (truncated): 5 of 9 frames are there"],
        ),
        (
            [
                f"truncated: {n} of 9 frames are there: fetch it again, or keep what is there:"
                f" `ffmpeg -i {n}.wav`"
                for n in (5, 7)
            ]
            + [
                "truncated: its last Ogg page is cut off: fetch it again, or keep what is there:"
                " `ffmpeg -i c.ogg`"
            ]
            + ["no audio (x): convert it: `ffmpeg -i d.bin d.wav`, and name the new file"],
            [
                (
                    "2 (truncated: … of … frames are there): fetch it again, or keep what is there"
                    " with ffmpeg, the list has"
                ),
                "1 (truncated: its last Ogg page is cut off): fetch it again",
                "1 (no audio (x)): convert it with ffmpeg, the list has the command for each",
            ],
        ),
        (["field 'group' is a list, not text"], ["1 (field … is a list, not text)"]),
        (
            ["no wav (`a b.m4a`): say `ffmpeg a`", "no wav (`c.m4a`): say `ffmpeg c`"],
            ["2 (no wav (…)): say `ffmpeg a`"],
        ),
        (["one", "two", "two"], ["2 (two)", "1 (one)"]),
        (
            ["1 choice; 2 to 26 can be asked", "27 choices; 2 to 26 can be asked"],
            ["2 with too few or too many choices: write 2 to 26"],
        ),
        (
            ["audio path '../a.wav' is outside the folder"],
            ["1 whose audio path is outside the folder: put the recording below corpus.path"],
        ),
        (
            ["the file is empty"],
            ["1 whose recording is an empty file: copy the recording again, or leave the row out"],
        ),
    ],
)
def test_kinds_of_reasons(reasons: list[str], lines: list[str]) -> None:
    found = [
        kind.line
        for kind in kinds_of(
            [Quarantined(str(number), reason) for number, reason in enumerate(reasons)], 1
        )
    ]
    assert len(found) == len(lines)
    for line, beginning in zip(found, lines, strict=True):
        assert line.startswith(beginning)
