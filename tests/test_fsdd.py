"""Source ``fsdd``: digits of one speaker joined to clips, on small folders of synthetic
recordings.
"""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from echodistill.core.errors import UserError
from echodistill.data import fsdd
from echodistill.data.sources import SourceClip
from echodistill.params.corpus import CorpusParams
from tests.corpus_params import corpus_params

RATE = 8_000
SPEAKERS = ("anna", "bert", "cleo", "dora", "emil_2")


def params(path: Path, **changes: object) -> CorpusParams:
    settings: dict[str, object] = {
        "source": "fsdd",
        "path": str(path),
        "manifest": "",
        "clips": {"train": 13, "validation": 4, "decision": 3, "test": 5},
        "validation_share": 0.2,
        "decision_share": 0.0,
        "test_share": 0.4,
        "min_duration_s": 0.1,
        "max_duration_s": 1.0,
    }
    return corpus_params(**settings | changes)


def write_take(folder: Path, name: str, duration_s: float, peak: float, pitch_hz: float) -> None:
    time_s = np.arange(int(duration_s * RATE)) / RATE
    soundfile.write(
        folder / name, peak * np.sin(2 * np.pi * pitch_hz * time_s), RATE, subtype="PCM_16"
    )


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Write recordings of five speakers, three digits and two takes. A digit is encoded by its
    pitch; takes differ in length and level.
    """
    folder = tmp_path / "recordings"
    folder.mkdir()
    for number, speaker in enumerate(SPEAKERS):
        for digit in (0, 3, 7):
            for take in range(2):
                write_take(
                    folder,
                    f"{digit}_{speaker}_{take}.wav",
                    0.1 + 0.05 * take,
                    0.1 + 0.15 * number,
                    200.0 + 100 * digit,
                )
    return folder


def files_of(clip: SourceClip) -> list[Path]:
    first, second = clip.source.split(" + ")
    return [Path(first), Path(first).with_name(second)]


def test_splits_hold_different_speakers_and_share_clips_evenly(recordings: Path) -> None:
    found = fsdd.read(params(recordings.parent), seed=1)
    assert sorted(found.splits) == sorted(SPEAKERS)
    by_split: dict[str, list[str]] = {}
    for clip in found.clips:
        split = clip.clip_id.split("-")[0]
        assert found.splits[clip.group] == split
        by_split.setdefault(split, []).append(clip.group)
    assert {split: len(groups) for split, groups in by_split.items()} == {
        "train": 13,
        "validation": 4,
        "test": 5,
    }
    for split, groups in by_split.items():
        counts = [groups.count(speaker) for speaker in SPEAKERS if found.splits[speaker] == split]
        assert max(counts) - min(counts) <= 1


def test_a_clip_joins_two_different_digits_of_its_speaker(recordings: Path) -> None:
    for clip in fsdd.read(params(recordings.parent), seed=1).clips:
        files = files_of(clip)
        assert all(clip.group in path.name for path in files)
        words = [fsdd.WORDS[int(path.name[0])] for path in files]
        assert clip.transcript == " ".join(words)
        assert words[0] != words[1]
        (question,) = clip.questions
        right = {
            "What is said?": " ".join(words),
            "Which word is first?": words[0],
            "Which word is second?": words[1],
        }
        assert question.answer == right[question.question]
        assert question.answer in question.choices
        assert len(set(question.choices)) == 4


def test_digits_have_one_level_and_a_gap_between(recordings: Path) -> None:
    gaps = []
    for clip in fsdd.read(params(recordings.parent), seed=1).clips:
        decoded, sha256 = clip.read()
        files = files_of(clip)
        assert sha256 == hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
        assert decoded.source_rate == RATE
        assert decoded.waveform.dtype == np.float32
        lengths = [2 * soundfile.info(path).frames for path in files]  # at 16 kHz
        gap = decoded.waveform.size - sum(lengths)
        gaps.append(gap / 16_000)
        parts = np.split(decoded.waveform, [lengths[0], lengths[0] + gap])
        assert np.max(np.abs(parts[0])) == pytest.approx(0.5, rel=1e-3)
        assert np.max(np.abs(parts[2])) == pytest.approx(0.5, rel=1e-3)
        assert not parts[1].any()
        for path, part in zip(files, (parts[0], parts[2]), strict=True):
            crossings = np.count_nonzero(np.diff(np.signbit(part))) / 2
            assert crossings / (part.size / 16_000) == pytest.approx(
                200 + 100 * int(path.name[0]), rel=0.15
            )
    assert min(gaps) >= 0.0199
    assert max(gaps) <= 0.1
    assert len(set(gaps)) > 5


def test_the_seed_alone_decides(recordings: Path) -> None:
    def plan(seed: int) -> list[tuple[str, str, object]]:
        return [
            (clip.clip_id, clip.source, clip.questions)
            for clip in fsdd.read(params(recordings.parent), seed).clips
        ]

    assert plan(1) == plan(1)
    assert plan(1) != plan(2)
    words = [
        [
            clip.transcript
            for clip in fsdd.read(
                params(recordings, test_share=0.0, validation_share=0.0), seed
            ).clips
        ]
        for seed in (1, 2)
    ]
    assert words[0] != words[1]  # with the same speakers in the same order


def test_the_folder_itself_may_hold_the_recordings(recordings: Path) -> None:
    inside, above = fsdd.read(params(recordings), 1), fsdd.read(params(recordings.parent), 1)
    assert [clip.source for clip in inside.clips] == [clip.source for clip in above.clips]


def test_more_clips_leave_the_first_ones_alone(recordings: Path) -> None:
    few = fsdd.read(params(recordings), 1).clips
    many = fsdd.read(
        params(recordings, clips={"train": 20, "validation": 4, "decision": 3, "test": 5}), 1
    ).clips
    assert [clip.source for clip in many[:13]] == [clip.source for clip in few[:13]]


def test_long_takes_are_drawn_again(recordings: Path) -> None:
    for speaker in SPEAKERS:
        for digit in (0, 3, 7):
            write_take(recordings, f"{digit}_{speaker}_9.wav", 2.0, 0.5, 300.0)
    clips = fsdd.read(params(recordings, max_duration_s=0.5), 1).clips
    lengths = [clip.read()[0].waveform.size / 16_000 for clip in clips]
    # a third of the takes is too long: eight draws of two fail together for one clip in a hundred
    assert sum(length > 0.5 for length in lengths) <= 1


def test_a_clip_that_stays_too_long_is_left_to_the_corpus_stage(recordings: Path) -> None:
    found = fsdd.read(params(recordings, min_duration_s=0.01, max_duration_s=0.05), 1)
    assert len(found.clips) == 13 + 4 + 5
    assert all(clip.read()[0].waveform.size > 0.05 * 16_000 for clip in found.clips)


def test_the_decision_has_speakers_and_clips_of_its_own(recordings: Path) -> None:
    found = fsdd.read(params(recordings, decision_share=0.2, validation_share=0.0), 1)
    (speaker,) = (name for name, split in found.splits.items() if split == "decision")
    of_decision = [clip.group for clip in found.clips if clip.clip_id.startswith("decision-")]
    assert of_decision == [speaker] * 3
    assert [clip.clip_id[:8] for clip in found.clips if clip.group == speaker] == ["decision"] * 3


def test_a_split_without_speakers_has_no_clips(recordings: Path) -> None:
    found = fsdd.read(params(recordings, validation_share=0.0), 1)
    assert not [clip for clip in found.clips if clip.clip_id.startswith("validation")]
    assert len(found.clips) == 13 + 5


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "x_anna_0.wav",
        "12_anna_0.wav",
        "3_anna.wav",
        "3_anna_x.wav",
        "3_anna_0.mp3",
        "٣_anna_0.wav",
    ],
)
def test_other_names_are_quarantined(recordings: Path, name: str) -> None:
    (recordings / name).write_bytes(b"x")
    (recordings / ".DS_Store").write_bytes(b"x")
    (row,) = fsdd.read(params(recordings), 1).quarantined
    assert row.row == name
    assert "digit_speaker_take.wav" in row.reason


def test_a_speaker_of_one_digit_is_quarantined(recordings: Path) -> None:
    write_take(recordings, "4_finn_0.wav", 0.1, 0.5, 300.0)
    found = fsdd.read(params(recordings), 1)
    assert "finn" not in found.splits
    assert [(row.row, "only four" in row.reason) for row in found.quarantined] == [
        ("speaker finn", True)
    ]


@pytest.mark.parametrize(("keep", "fault"), [(0, "empty"), (30, "truncated"), (-101, "truncated")])
def test_a_damaged_recording_is_quarantined(recordings: Path, keep: int, fault: str) -> None:
    damaged = recordings / "7_cleo_1.wav"
    damaged.write_bytes(damaged.read_bytes()[:keep])
    assert fault in only_bad(recordings)


def test_a_silent_recording_is_quarantined(recordings: Path) -> None:
    write_take(recordings, "7_cleo_1.wav", 0.2, 0.0, 300.0)
    assert only_bad(recordings) == "silent"


def only_bad(recordings: Path) -> str:
    """The reason for ``7_cleo_1.wav``, which no clip is made of."""
    found = fsdd.read(params(recordings), 1)
    (row,) = found.quarantined
    assert row.row == "7_cleo_1.wav"
    assert not [clip for clip in found.clips if "7_cleo_1.wav" in clip.source]
    assert any(clip.group == "cleo" for clip in found.clips)
    return row.reason


def test_a_speaker_whose_other_recordings_are_bad_is_quarantined(recordings: Path) -> None:
    for path in recordings.glob("*_cleo_*.wav"):
        if not path.name.startswith("7"):
            path.write_bytes(b"")
    found = fsdd.read(params(recordings), 1)
    assert "cleo" not in found.splits
    assert found.quarantined[-1].reason == "has only seven: a clip needs two digits"
    for path in recordings.glob("*.wav"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="no speaker with usable recordings of two digits"):
        fsdd.read(params(recordings), 1)


def test_no_recordings(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: no such folder: set corpus\.path"):
        fsdd.read(params(tmp_path / "nowhere"), 1)
    with pytest.raises(UserError, match="no speaker with usable recordings of two digits"):
        fsdd.read(params(tmp_path), 1)


@pytest.mark.skipif(
    "ECHODISTILL_FSDD" not in os.environ, reason="ECHODISTILL_FSDD names no copy of the data set"
)
def test_the_real_data_set() -> None:
    path = Path(os.environ["ECHODISTILL_FSDD"])
    found = fsdd.read(
        params(
            path,
            clips={"train": 40, "validation": 4, "decision": 3, "test": 10},
            max_duration_s=1.2,
        ),
        1,
    )
    assert len(found.splits) >= 5
    assert not found.quarantined
    assert len({clip.clip_id for clip in found.clips}) == len(found.clips)
    for clip in found.clips:
        waveform = clip.read()[0].waveform
        assert 0.2 < waveform.size / 16_000 < 1.2
        assert np.max(np.abs(waveform)) == pytest.approx(0.5, rel=1e-3)
