"""Benchmarks through the corpus stage and its gate: missing recordings, test rows only, and the
defects that are known.
"""

import json
from pathlib import Path

import pytest
import yaml

from echodistill.core.errors import UserError
from echodistill.core.records import Quarantined, read_rows
from echodistill.data.store import Corpus
from echodistill.gates.corpus import corpus_checks, corpus_notes
from echodistill.params.whole import Params, validate_params
from echodistill.stages.corpus import corpus
from echodistill.stages.entry import params_view
from echodistill.stages.gate import gate
from tests import benchmark_rows as b

PARAMS = Path(__file__).parents[1] / "params.yaml"
ROWS = 40
MISSING = (3, 14, 15, 27)


def params_of(root: Path, source: str, manifest: str, **changes: object) -> Params:
    raw = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    raw["corpus"] |= {"source": source, "path": str(root), "manifest": manifest} | changes
    return validate_params(raw, "test")


def make(params: Params, out: Path) -> Corpus:
    corpus(params_view(params, ("seed", "corpus", "prompt.style")), out)
    return Corpus(out)


@pytest.fixture
def a_tenth_missing(tmp_path: Path) -> Path:
    """A SEEN folder that lacks four of its forty recordings."""
    root = tmp_path / "sound"
    b.write_wavs(root, *(f"clean/raw/{number:03d}.wav" for number in range(ROWS)))
    for number in MISSING:
        (root / f"clean/raw/{number:03d}.wav").unlink()
    b.write_csv(root / "metadata.csv", b.seen(ROWS))
    return root


def test_with_a_tenth_of_the_recordings_missing_the_run_continues_and_names_them(
    a_tenth_missing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = params_of(a_tenth_missing, "seen", "metadata.csv", max_quarantined_share=0.1)
    made = make(params, tmp_path / "corpus")
    assert len(made.clips) == len(made.questions) == ROWS - len(MISSING)
    assert {clip.split for clip in made.clips.values()} == {"test"}
    lines = capsys.readouterr().out.splitlines()
    assert (
        f"{ROWS - 4} clips with {ROWS - 4} questions kept, 4 rows quarantined, 4 of them for a"
        " missing recording" in lines
    )
    put_aside = read_rows(tmp_path / "corpus/quarantine.parquet", Quarantined)
    notes = corpus_notes(tmp_path / "corpus")
    for number, row, note in zip(MISSING, put_aside, notes, strict=True):
        named = f"metadata.csv:{number + 2} (id 8c-{number})"
        reason = f"no such audio file: datasets/sound/clean/raw/{number:03d}.wav"
        assert (row.row, row.reason) == (named, reason)
        assert f"quarantined {named}: {reason}" in lines
        assert note == f"{named}: {reason}"


def test_where_fewer_may_be_missing_the_run_stops_after_naming_them(
    a_tenth_missing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = params_of(a_tenth_missing, "seen", "metadata.csv", max_quarantined_share=0.09)
    with pytest.raises(
        UserError,
        match=(
            r"4 of 40 rows of seen are bad, more than corpus\.max_quarantined_share = 0\.09 allows"
        ),
    ):
        make(params, tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()
    printed = capsys.readouterr().out
    assert all(f"(id 8c-{number}): no such audio file" in printed for number in MISSING)


def test_all_missing_recordings_are_named_however_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    b.write_wavs(tmp_path / "raw", *(f"clean/raw/{number:03d}.wav" for number in range(5)))
    b.write_csv(tmp_path / "raw/metadata.csv", b.seen(ROWS))
    make(
        params_of(tmp_path / "raw", "seen", "metadata.csv", max_quarantined_share=0.9),
        tmp_path / "corpus",
    )
    printed = capsys.readouterr().out
    assert [number for number in range(ROWS) if f"(id 8c-{number}): no such" in printed] == list(
        range(5, ROWS)
    )
    assert len(corpus_notes(tmp_path / "corpus")) == ROWS - 5


def test_the_gate_lets_a_test_set_pass_and_lists_what_is_missing(
    a_tenth_missing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = params_of(a_tenth_missing, "seen", "metadata.csv", max_quarantined_share=0.1)
    make(params, tmp_path / "corpus")
    capsys.readouterr()
    verdict = tmp_path / "reports/gates/corpus.json"
    gate(params, "corpus", verdict, tmp_path / "corpus")
    content = json.loads(verdict.read_text(encoding="utf-8"))
    assert content["passed"]
    assert content["notes"] == corpus_notes(tmp_path / "corpus")
    printed = capsys.readouterr().out.splitlines()
    assert not [
        line for line in printed if "no such audio file" in line
    ]  # the stage has named them
    assert f"corpus: {len(MISSING)} remarks in {verdict}" in printed
    assert "test has a clip with a question" in {
        result["description"] for result in content["results"]
    }


def test_a_test_set_that_is_to_be_split_needs_something_to_train_on(tmp_path: Path) -> None:
    b.write_wavs(tmp_path / "raw", *(row["audio_path"] for row in b.MMAR))
    b.write_json(tmp_path / "raw/MMAR-meta.json", b.MMAR)
    made = make(params_of(tmp_path / "raw", "mmar", "MMAR-meta.json"), tmp_path / "a")
    assert {clip.split for clip in made.clips.values()} == {"test"}
    made = make(
        params_of(tmp_path / "raw", "mmar", "MMAR-meta.json", benchmark_rows="split"),
        tmp_path / "b",
    )
    assert {clip.split for clip in made.clips.values()} == {"train", "test"}
    b.write_json(tmp_path / "raw/MMAR-meta.json", b.MMAR[:1])
    with pytest.raises(UserError, match="no clip is left in split test"):
        make(
            params_of(tmp_path / "raw", "mmar", "MMAR-meta.json", benchmark_rows="split"),
            tmp_path / "c",
        )


def test_the_gate_refuses_a_release_whose_right_answer_is_always_the_first(tmp_path: Path) -> None:
    """As EchoDistill's is. Its clips, which its two files share, are split anew and pass."""
    b.write_wavs(tmp_path / "raw", *dict.fromkeys(row["clean_audio_path"] for row in b.ECHODISTILL))
    b.write_json(tmp_path / "raw/train.jsonl", b.ECHODISTILL[::2])
    b.write_json(tmp_path / "raw/val.jsonl", b.ECHODISTILL[1::2])
    params = params_of(tmp_path / "raw", "echodistill", "*.jsonl")
    make(params, tmp_path / "corpus")
    checks = corpus_checks(tmp_path / "corpus", params)
    place = "no position of the choices holds more than 60 % of the right answers"
    assert "all splits, position 0" in b.offenders(checks, place)
    assert not b.offenders(checks, "no group in two splits")
    assert not b.offenders(checks, "no audio in two splits")


def test_one_recording_under_two_names_in_train_and_validation_is_not_trained_on(
    tmp_path: Path,
) -> None:
    """Nobody need edit a published file for it."""
    root = tmp_path / "raw"
    splits = ["train", "validation", "test", "train"]
    b.write_wavs(root, *(f"clean/raw/{number:03d}.wav" for number in range(4)))
    (root / "clean/raw/001.wav").write_bytes((root / "clean/raw/000.wav").read_bytes())
    b.write_csv(
        root / "metadata.csv",
        [row | {"split": split} for row, split in zip(b.seen(4), splits, strict=True)],
    )
    params = params_of(root, "seen", "metadata.csv", max_quarantined_share=0.0)
    made = make(params, tmp_path / "corpus")
    assert {name: clip.split for name, clip in made.clips.items()} == {
        "clean/raw/001.wav": "validation",
        "clean/raw/002.wav": "test",
        "clean/raw/003.wav": "train",
    }
    (row,) = read_rows(tmp_path / "corpus/quarantine.parquet", Quarantined)
    assert row.row == f"{root}/clean/raw/000.wav (id 8c-0)"
    assert row.reason == "the same recording is in the split validation, as clean/raw/001.wav"
    assert not b.offenders(corpus_checks(tmp_path / "corpus", params), "no audio in two splits")
