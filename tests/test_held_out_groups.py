"""Groups that are the test by name, and recordings that a source holds under several names."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from echodistill.core.errors import UserError
from echodistill.core.records import Quarantined, read_rows
from echodistill.data import builtin, fsdd
from echodistill.data.sources import split_groups
from echodistill.data.store import Corpus
from echodistill.gates.corpus import corpus_checks
from echodistill.params.whole import Params, validate_params
from echodistill.stages.corpus import corpus
from echodistill.stages.entry import params_view
from tests import benchmark_rows as b
from tests.corpus_params import PARAMS, corpus_params
from tests.test_fsdd import SPEAKERS, write_take
from tests.test_separate_test_source import rows_of, write_folder

GROUPS = [f"g{number}" for number in range(10)]


def params_of(root: Path, **changes: object) -> Params:
    raw = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    raw["corpus"] |= {"source": "folder", "path": str(root), "validation_share": 0.2} | changes
    return validate_params(raw, "test")


def make(root: Path, out: Path, **changes: object) -> Corpus:
    corpus(params_view(params_of(root, **changes), ("seed", "corpus", "prompt.style")), out)
    return Corpus(out)


def groups_tested(made: Corpus) -> set[str]:
    return {clip.group for clip in made.clips_of("test")}


@pytest.mark.parametrize("named", [["g3"], ["g7", "g2"], GROUPS[1:]])
def test_the_named_groups_are_the_test_and_no_others(named: list[str]) -> None:
    splits = split_groups(
        GROUPS, corpus_params(test_groups=named, validation_share=0.2, decision_share=0.2), 1
    )
    assert {group for group, split in splits.items() if split == "test"} == set(named)
    assert "train" in splits.values()
    if len(named) < 5:
        assert [list(splits.values()).count(split) for split in ("validation", "decision")] == [
            2,
            2,
        ]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (["g33"], r"no clip is of group 'g33'; there are 'g0', 'g1', .*: did you mean g3\?$"),
        (["G3"], r"no clip is of group 'G3'; there are 'g0', 'g1', .*: did you mean g3\?$"),
        (["nobody"], r"no clip is of group 'nobody'; there are 'g0', 'g1'"),
        (GROUPS, "names every group: leave one to train on"),
    ],
)
def test_a_name_that_is_no_group_is_reported_with_those_there_are(
    named: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=rf"corpus\.test_groups.* {message}"):
        split_groups(GROUPS, corpus_params(test_groups=named), 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"test_groups": "jackson"},
            r"corpus\.test_groups: a list is needed, not a single value: write \[jackson\]",
        ),
        ({"test_groups": 7}, r"write \[7\]"),
        ({"test_groups": [True]}, r"corpus\.test_groups\.0"),
        ({"test_groups": ["a", "a"]}, "'a' is given twice"),
        (
            {"test_groups": ["a"], "test": {"source": "mmar", "path": "x", "manifest": "x"}},
            "corpus.test.source makes the test",
        ),
        ({"test_groups": ["a"], "source": "mmau"}, "all rows of this benchmark are test rows"),
    ],
)
def test_names_that_cannot_be_meant(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        params_of(tmp_path, **changes)


def test_the_shares_are_those_that_count(tmp_path: Path) -> None:
    settings = params_of(
        tmp_path,
        test_groups=["a", 7, 8.0],
        test_share=0.9,
        validation_share=0.3,
        decision_share=0.3,
    ).corpus
    assert settings.test_groups == ("a", "7", "8")


def test_a_folder_of_a_user(tmp_path: Path) -> None:
    write_folder(
        tmp_path / "raw", [row | {"group": number // 2} for number, row in enumerate(rows_of(12))]
    )
    made = make(tmp_path / "raw", tmp_path / "out", test_groups=[5, "2"])
    assert groups_tested(made) == {"5", "2"}
    assert {clip.split for clip in made.clips.values()} == {
        "train",
        "validation",
        "decision",
        "test",
    }


def test_where_all_rows_are_bad_that_is_reported(tmp_path: Path) -> None:
    write_folder(tmp_path / "raw", rows_of(12, answer="purple"))
    with pytest.raises(UserError, match="12 of 12 rows of folder are bad"):
        make(tmp_path / "raw", tmp_path / "out", test_groups=["s1"])


def test_rows_that_name_their_splits_are_not_overruled(tmp_path: Path) -> None:
    write_folder(tmp_path / "raw", rows_of(12, split="train"))
    with pytest.raises(
        UserError, match=r"corpus\.test_groups: the rows of .* name their splits themselves"
    ):
        make(tmp_path / "raw", tmp_path / "out", test_groups=["s1"])


def test_a_benchmark_that_is_split(tmp_path: Path) -> None:
    b.write_wavs(tmp_path / "raw", *(row["audio_path"] for row in b.MMAR))
    b.write_json(tmp_path / "raw/m.json", b.MMAR)
    named = b.MMAR[0]["url"]
    made = make(
        tmp_path / "raw",
        tmp_path / "out",
        source="mmar",
        manifest="m.json",
        benchmark_rows="split",
        test_groups=[named],
    )
    assert groups_tested(made) == {named}


def test_the_digits(tmp_path: Path) -> None:
    for number, speaker in enumerate(SPEAKERS):
        for digit in (0, 3, 7):
            write_take(
                tmp_path, f"{digit}_{speaker}_0.wav", 0.2, 0.1 + 0.1 * number, 200.0 + 100 * digit
            )
    of = {
        "path": str(tmp_path),
        "max_duration_s": 1.0,
        "clips": {"train": 6, "validation": 2, "decision": 2, "test": 10},
    }
    found = fsdd.read(corpus_params(source="fsdd", test_groups=["cleo", "emil_2"], **of), 1)
    assert {speaker for speaker, split in found.splits.items() if split == "test"} == {
        "cleo",
        "emil_2",
    }
    assert {clip.group for clip in found.clips if clip.clip_id.startswith("test")} == {
        "cleo",
        "emil_2",
    }


def test_the_embedded_voices() -> None:
    with builtin.Espeak() as espeak:
        found = builtin.read(corpus_params(test_groups=["m3", "Annie"]), 1, espeak)
    assert {clip.group for clip in found.clips if clip.clip_id.startswith("test")} == {
        "m3",
        "Annie",
    }
    assert not {"m3", "Annie"} & {
        clip.group for clip in found.clips if not clip.clip_id.startswith("test")
    }


def test_digits_to_test_on_are_those_of_all_speakers(tmp_path: Path) -> None:
    write_folder(tmp_path / "raw", rows_of(12))
    (tmp_path / "digits/recordings").mkdir(parents=True)
    for number, speaker in enumerate(SPEAKERS):
        for digit in (0, 3, 7):
            write_take(
                tmp_path / "digits/recordings",
                f"{digit}_{speaker}_0.wav",
                0.2,
                0.1 + 0.1 * number,
                200.0 + 100 * digit,
            )
    test = {"source": "fsdd", "path": str(tmp_path / "digits"), "manifest": ""}
    made = make(
        tmp_path / "raw",
        tmp_path / "out",
        test=test,
        clips={"train": 1, "validation": 0, "decision": 0, "test": 15},
    )
    assert groups_tested(made) == {f"fsdd:{speaker}" for speaker in SPEAKERS}
    assert len(made.clips_of("test")) == 15


# recordings that are there more than once


def repeat(root: Path, *pairs: tuple[int, int]) -> None:
    for original, copy in pairs:
        (root / f"{copy}.wav").write_bytes((root / f"{original}.wav").read_bytes())


def test_recordings_that_are_there_twice_share_a_split_and_none_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "raw"
    write_folder(
        root,
        [{name: value for name, value in row.items() if name != "group"} for row in rows_of(40)],
    )
    once = make(root, tmp_path / "once")
    assert "in common" not in capsys.readouterr().out
    repeat(root, *((number, number + 20) for number in range(0, 20, 2)))
    made = make(root, tmp_path / "twice")
    assert len(made.clips) == 40
    assert not read_rows(tmp_path / "twice/quarantine.parquet", Quarantined)
    for number in range(0, 20, 2):
        assert made.clips[f"{number}.wav"].split == made.clips[f"{number + 20}.wav"].split
    assert (
        "20 groups have a recording in common with another one: such groups share a split"
        in capsys.readouterr().out
    )
    assert not b.offenders(
        corpus_checks(tmp_path / "twice", params_of(root)), "no audio in two splits"
    )
    assert {clip.split for clip in made.clips.values()} == {
        clip.split for clip in once.clips.values()
    }
    assert [clip.group for clip in made.clips.values()] == [
        clip.group for clip in once.clips.values()
    ]


def test_a_recording_in_another_format_is_the_same_recording(tmp_path: Path) -> None:
    import soundfile

    root = tmp_path / "raw"
    write_folder(root, rows_of(12))
    for number in (3, 5, 7):
        samples, rate = soundfile.read(root / "0.wav", dtype="int16")
        soundfile.write(root / f"{number}.wav", samples, rate, format="FLAC", subtype="PCM_16")
        soundfile.write(root / "0.wav", samples, rate, subtype="PCM_16")
    made = make(root, tmp_path / "out")
    assert len({made.clips[f"{number}.wav"].split for number in (0, 3, 5, 7)}) == 1


def test_a_group_that_shares_a_recording_with_a_named_one_is_tested_on_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "raw"
    write_folder(root, rows_of(12))
    repeat(root, (1, 6))
    made = make(root, tmp_path / "out", test_groups=["s0"])
    assert groups_tested(made) == {"s0", "s3"}
    assert (
        "corpus.test_groups: s3 are tested on too: they share a recording with a group that is"
        " named" in capsys.readouterr().out
    )


def test_of_splits_that_rows_name_the_last_keeps_the_recording(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    splits = ["train", "validation", "decision", "test", "train", "train"]
    write_folder(
        root, [row | {"group": f"g{n}", "split": splits[n]} for n, row in enumerate(rows_of(6))]
    )
    repeat(root, (0, 1), (0, 3))
    made = make(root, tmp_path / "out", max_quarantined_share=0.0)
    assert [(clip.clip_id, clip.split) for clip in made.clips.values()] == [
        ("2.wav", "decision"),
        ("3.wav", "test"),
        ("4.wav", "train"),
        ("5.wav", "train"),
    ]
    rows = read_rows(tmp_path / "out/quarantine.parquet", Quarantined)
    assert [row.reason for row in rows] == ["the same recording is in the split test, as 3.wav"] * 2
