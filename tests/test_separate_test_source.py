"""Training on one source and testing on another: what becomes of both sources' rows, ids, splits
and bad rows.
"""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import yaml

from echodistill.audio.files import write_wav
from echodistill.core.errors import UserError
from echodistill.core.records import Clip, Quarantined, read_rows
from echodistill.data.store import Corpus
from echodistill.gates.corpus import corpus_checks, corpus_notes
from echodistill.lineage import clips as provenance
from echodistill.params.whole import Params, validate_params
from echodistill.stages.corpus import corpus
from echodistill.stages.entry import params_view
from tests import benchmark_rows as b

PARAMS = Path(__file__).parents[1] / "params.yaml"
Rows = list[dict[str, Any]]


def rows_of(count: int, **changes: object) -> Rows:
    """Rows of the source ``folder``, two clips a speaker."""
    made = [
        {
            "id": f"r{number}",
            "audio_path": f"{number}.wav",
            "question": "?",
            "choices": ["a", "b"],
            "answer": "ab"[number // 2 % 2],
        }
        for number in range(count)
    ]
    return [row | {"group": f"s{number // 2}"} | changes for number, row in enumerate(made)]


def write_folder(root: Path, rows: Rows, first: int = 0, manifest: str = "manifest.jsonl") -> None:
    """Rows and their recordings, each its own noise, numbered from ``first``."""
    b.write_json(root / manifest, rows)
    for number, row in enumerate(rows):
        (root / row["audio_path"]).write_bytes(b.wav(first + number))


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Twelve clips of six speakers to train on in ``raw``, MMAR's four to test on in ``mmar``."""
    write_folder(tmp_path / "raw", rows_of(12), first=100)
    b.write_wavs(tmp_path / "mmar", *(row["audio_path"] for row in b.MMAR))
    b.write_json(tmp_path / "mmar/MMAR-meta.json", b.MMAR)
    return tmp_path


def params_of(world: Path, test: dict[str, Any], **changes: object) -> Params:
    raw = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    raw["corpus"] |= {
        "source": "folder",
        "path": str(world / "raw"),
        "manifest": "manifest.jsonl",
        "validation_share": 0.34,
    }
    raw["corpus"] |= changes | {
        "test": {"manifest": "manifest.jsonl"} | test | {"path": str(world / test["path"])}
    }
    return validate_params(raw, "test")


def make(world: Path, test: dict[str, Any], **changes: object) -> Corpus:
    corpus(
        params_view(params_of(world, test, **changes), ("seed", "corpus", "prompt.style")),
        world / "corpus",
    )
    return Corpus(world / "corpus")


MMAR = {"source": "mmar", "path": "mmar", "manifest": "MMAR-meta.json"}
OTHER = {"source": "folder", "path": "other"}


def test_the_test_is_all_of_its_source_and_the_rest_is_trained_on(world: Path) -> None:
    made = make(world, MMAR)
    assert [clip.clip_id for clip in made.clips_of("test")] == [
        f"mmar:audio/{row['id']}.wav" for row in b.MMAR
    ]
    assert [row.question_id for row in made.questions_of("test")] == [
        f"mmar:{row['id']}" for row in b.MMAR
    ]
    assert [row.choices[row.answer_index or 0] for row in made.questions_of("test")] == ["1"] * 4
    parts = [made.clips_of(split) for split in ("train", "validation", "decision")]
    assert sorted(clip.clip_id for part in parts for clip in part) == sorted(
        f"{number}.wav" for number in range(12)
    )
    assert [len(part) for part in parts] == [6, 4, 2]
    assert (
        len({clip.group for part in parts for clip in part})
        == sum(len({clip.group for clip in part}) for part in parts)
        == 6
    )
    assert all(np.any(made.waveform(clip_id)) for clip_id in made.clips)
    checks = corpus_checks(world / "corpus", params_of(world, MMAR))
    assert not b.offenders(checks, "no audio in two splits")
    assert not b.offenders(checks, "no group in two splits")
    assert not b.offenders(checks, "train and test each have a clip with a question")


def test_the_same_parameters_give_the_same_bytes(world: Path) -> None:
    first = {path.name: path.read_bytes() for path in make(world, MMAR).folder.iterdir()}
    assert {path.name: path.read_bytes() for path in make(world, MMAR).folder.iterdir()} == first


def test_what_is_trained_on_keeps_its_ids_and_so_its_noises(world: Path) -> None:
    alone = make(world, MMAR | {"source": None})
    beside = make(world, MMAR)
    assert set(alone.clips) == set(beside.clips) - {
        clip.clip_id for clip in beside.clips_of("test")
    }


def test_equal_names_in_both_sources_do_not_collide(world: Path) -> None:
    write_folder(world / "other", rows_of(4), first=200)
    made = make(world, OTHER)
    assert {clip.clip_id for clip in made.clips_of("test")} == {
        f"folder:{number}.wav" for number in range(4)
    }
    assert {clip.group for clip in made.clips_of("test")} == {"folder:s0", "folder:s1"}
    assert len(made.clips) == len(made.questions) == 16
    assert not b.offenders(
        corpus_checks(world / "corpus", params_of(world, OTHER)), "no group in two splits"
    )


@pytest.mark.parametrize(
    "name", [{"id": "mmar:vid0_00-00-00_00-00-09"}, {"group": "mmar:https://example.org/vid0"}]
)
def test_a_name_that_looks_like_one_of_the_test_is_refused(
    name: dict[str, str], world: Path
) -> None:
    rows = rows_of(12)
    rows[0] |= name
    write_folder(world / "raw", rows, first=100)
    with pytest.raises(
        UserError,
        match=re.escape(
            f"{next(iter(name.values()))!r} is named as one of corpus.test.source: rename it"
        ),
    ):
        make(world, MMAR, validation_share=0.0)


def test_where_its_rows_name_splits_only_its_test_rows_are_taken(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        row | {"split": split}
        for row, split in zip(
            rows_of(6), ("train", "train", "dev", "dev", "test", "test"), strict=True
        )
    ]
    write_folder(world / "other", rows, first=200)
    assert [clip.clip_id for clip in make(world, OTHER).clips_of("test")] == [
        "folder:4.wav",
        "folder:5.wav",
    ]
    assert (
        "test (folder): 4 clips are not marked as test clips and left out"
        in capsys.readouterr().out
    )
    b.write_json(world / "other/manifest.jsonl", rows[:4])
    with pytest.raises(
        UserError,
        match=(
            r"other: the column `split` makes no row of corpus\.test\.source \(folder\) a test row"
        ),
    ):
        make(world, OTHER)


def test_test_rows_of_what_is_trained_on_are_left_out(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = ["train"] * 6 + ["val"] * 2 + ["test"] * 4
    write_folder(
        world / "raw",
        [row | {"split": split} for row, split in zip(rows_of(12), splits, strict=True)],
        first=100,
    )
    made = make(world, MMAR)
    assert sorted(clip.clip_id for clip in made.clips_of("train")) == [
        f"{number}.wav" for number in range(6)
    ]
    assert {clip.clip_id[:5] for clip in made.clips_of("test")} == {"mmar:"}
    assert "folder: 4 clips are marked as test clips and left out" in capsys.readouterr().out


def test_a_test_set_is_trained_on_beside_another_only_where_that_is_asked_for(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    b.write_wavs(world / "mmau", *(row["audio_id"] for row in b.MMAU))
    for number, row in enumerate(b.MMAU):  # none that is also in the test
        (world / "mmau" / row["audio_id"]).write_bytes(b.wav(200 + number))
    b.write_json(world / "mmau/rows.json", b.MMAU)
    main = {"source": "mmau", "path": str(world / "mmau"), "manifest": "rows.json"}
    (world / "mmar/audio/vid0_00-00-00_00-00-09.wav").write_bytes(b.wav(50))
    with pytest.raises(
        UserError,
        match=(
            r"mmau: all rows of corpus\.source \(mmau\) are test rows.*corpus\.benchmark_rows:"
            r" split"
        ),
    ):
        make(world, MMAR, **main)
    made = make(world, MMAR, **main, benchmark_rows="split")
    assert {clip.clip_id[:4] for clip in made.clips_of("test")} == {"mmar"}
    assert len([clip for clip in made.clips.values() if clip.split != "test"]) == 4
    printed = capsys.readouterr().out
    assert "warning: mmau is a test set" in printed
    assert "warning: mmar" not in printed


def test_two_manifests_of_one_folder_share_no_speaker(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    b.write_json(
        world / "raw/test.jsonl", [rows_of(12)[number] | {"id": f"t{number}"} for number in (0, 5)]
    )
    made = make(world, {"source": "folder", "path": "raw", "manifest": "test.jsonl"})
    assert {clip.group for clip in made.clips_of("test")} == {"s0", "s2"}
    assert {clip.group for clip in made.clips.values() if clip.split != "test"} == {
        "s1",
        "s3",
        "s4",
        "s5",
    }
    assert (
        "folder: 4 clips are of groups that corpus.test.source tests on, and left out"
        in capsys.readouterr().out
    )


def test_one_recording_in_both_sources_is_tested_on_and_not_trained_on(world: Path) -> None:
    (world / "mmar" / b.MMAR[1]["audio_path"]).write_bytes((world / "raw/7.wav").read_bytes())
    others = {name: clip.split for name, clip in make(world, MMAR).clips.items()}
    (row,) = read_rows(world / "corpus/quarantine.parquet", Quarantined)
    assert row.row == f"folder: {world}/raw/7.wav (id r7)"
    assert (
        row.reason
        == f"the same recording is in the split test, as mmar:audio/{b.MMAR[1]['id']}.wav"
    )
    assert not b.offenders(
        corpus_checks(world / "corpus", params_of(world, MMAR)), "no audio in two splits"
    )
    (world / "raw/7.wav").write_bytes(b.wav(300))
    again = {name: clip.split for name, clip in make(world, MMAR).clips.items()}
    assert again.pop("7.wav")
    assert again == others


def test_answers_of_the_test_that_stand_at_one_place_are_found_by_the_gate(world: Path) -> None:
    write_folder(world / "other", rows_of(12, answer="a"), first=200)
    make(world, OTHER)
    message = "no position of the choices holds more than 60 % of the right answers"
    assert "test, position 0" in b.offenders(
        corpus_checks(world / "corpus", params_of(world, OTHER)), message
    )


def test_bad_rows_and_missing_recordings_are_named_with_their_source(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (world / "raw/3.wav").unlink()
    (world / "mmar" / b.MMAR[2]["audio_path"]).unlink()
    write_wav(world / "raw/5.wav", np.full(16_000 * 2, 0.1, np.float32))
    write_wav(world / "mmar" / b.MMAR[0]["audio_path"], np.full(16_000 * 2, 0.1, np.float32))
    make(world, MMAR, max_quarantined_share=0.5)
    rows = read_rows(world / "corpus/quarantine.parquet", Quarantined)
    lacking = [
        "folder: manifest.jsonl:4 (id r3): no such audio file: 3.wav",
        (
            f"test (mmar): MMAR-meta.json:item 3 (id {b.MMAR[2]['id']}): no such audio file:"
            f" audio/{b.MMAR[2]['id']}.wav"
        ),
    ]
    assert [f"{row.row}: {row.reason}" for row in rows] == corpus_notes(world / "corpus")
    assert [f"{row.row}: {row.reason}" for row in rows[:2]] == lacking
    assert [row.row for row in rows[2:]] == [
        f"folder: {world}/raw/5.wav (id r5)",
        f"test (mmar): {world}/mmar/audio/{b.MMAR[0]['id']}.wav (id mmar:{b.MMAR[0]['id']})",
    ]
    assert {row.reason for row in rows[2:]} == {
        "2.0 s is longer than the allowed 1.2 s (corpus.max_duration_s)"
    }
    printed = capsys.readouterr().out
    assert all(f"quarantined {line}" in printed for line in lacking)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            "mmar",
            (
                r"1 of 4 rows of test \(mmar\) is bad, more than corpus\.max_quarantined_share ="
                r" 0\.2 allows.* 1 without their recording"
            ),
        ),
        (
            "raw",
            (
                r"3 of 12 rows of folder are bad, .* 3 without their recording: put it below"
                r" corpus\.path"
            ),
        ),
    ],
)
def test_each_source_has_its_own_share_of_bad_rows(broken: str, message: str, world: Path) -> None:
    """Of both together neither would be a fifth."""
    for path in sorted(
        (world / broken).rglob("[0-2].wav" if broken == "raw" else "vid0_00-00-00*.wav")
    ):
        path.unlink()
    with pytest.raises(UserError, match=message):
        make(world, MMAR, max_quarantined_share=0.2)
    make(world, MMAR, max_quarantined_share=0.25)
    message = "at most 20 % of a source's rows are quarantined"
    judged = corpus_checks(world / "corpus", params_of(world, MMAR, max_quarantined_share=0.2))
    assert b.offenders(judged, message) == ["test (mmar)" if broken == "mmar" else "folder"]


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (
            MMAR | {"manifest": "none.json"},
            (
                r"mmar/none\.json: no such file: set corpus\.test\.path, and corpus\.test\.manifest"
                r" to the rows"
            ),
        ),
        (
            OTHER,
            (
                r"other/manifest\.jsonl: No such file or directory: set corpus\.test\.path and"
                r" corpus\.test\.manifest"
            ),
        ),
        (
            {"source": "fsdd", "path": "other"},
            r"other: no such folder: set corpus\.test\.path to a copy",
        ),
    ],
)
def test_a_fault_of_the_tests_source_names_its_own_keys(
    test: dict[str, Any], message: str, world: Path
) -> None:
    with pytest.raises(UserError, match=message):
        make(world, test)


def test_each_source_may_count_its_answers_from_another_number(world: Path) -> None:
    counted = rows_of(12)
    write_folder(
        world / "other",
        [row | {"answer": number // 2 % 2 + 1} for number, row in enumerate(counted)],
        first=200,
    )
    with pytest.raises(
        UserError, match=r"they seem to count from 1\. State it: corpus\.test\.answers_from=1"
    ):
        make(world, OTHER)
    made = make(world, OTHER | {"answers_from": 1})
    assert [made.questions[f"folder:r{number}"].answer for number in range(12)] == [
        row["answer"] for row in counted
    ]


def test_the_embedded_voices_on_either_side(world: Path) -> None:
    few = {
        "clips": {"train": 6, "validation": 2, "decision": 4, "test": 3},
        "validation_share": 0.2,
    }
    made = make(world, MMAR, source="builtin", **few)
    assert [clip.clip_id for clip in made.clips_of("train")] == [
        f"train-{number:05d}" for number in range(6)
    ]
    assert [len(made.clips_of(split)) for split in ("validation", "decision", "test")] == [2, 4, 4]
    assert {clip.clip_id[:9] for clip in made.clips_of("decision")} == {"decision-"}
    made = make(
        world,
        {"source": "builtin", "path": "nowhere"},
        clips={"train": 1, "validation": 0, "decision": 0, "test": 60},
    )
    # all voices are there to test on
    assert len({clip.group for clip in made.clips_of("test")}) > 40
    made = make(world, {"source": "builtin", "path": "nowhere"}, **few)
    assert [clip.clip_id for clip in made.clips_of("test")] == [
        f"builtin:test-{number:05d}" for number in range(3)
    ]
    assert len(made.clips) == 15


def clip_of(split: str, source: str) -> Clip:
    return Clip(
        split, "g", split, None, source, "0", "0", 16_000, 1.0, -20.0, "audio-00000.tar", 0, 1
    )


def test_provenance_looks_for_a_clip_where_its_own_source_keeps_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = [clip_of("train", "espeak-ng:en+m1"), clip_of("test", "nowhere/a.wav")]
    monkeypatch.setattr(provenance, "_read_table", lambda *_: made)
    states: Callable[..., list[Any]] = provenance.clip_states
    table = cast(Any, [SimpleNamespace(name=provenance.TABLE, md5="k")])
    assert [state.source for state in states(None, table, "builtin", "mmau")] == [
        "synthesised",
        "not here",
    ]
    assert [state.source for state in states(None, table, "folder", "builtin")] == [
        "not here",
        "synthesised",
    ]
    assert [state.source for state in states(None, table, "builtin", None)] == [
        "synthesised",
        "synthesised",
    ]
