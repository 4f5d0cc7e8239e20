"""No recording of noise is used by two splits, and the gates find one that is."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from echodistill.audio.kinds import CLEAN
from echodistill.audio.mixing import Mix
from echodistill.core.records import SPLITS, Clip, read_rows, write_rows
from echodistill.data.mixes.noise_settings import open_noise, read_noise, write_noise
from echodistill.data.store import Corpus
from echodistill.gates.mixes import mixes_notes
from echodistill.stages.fold_mixes import fold_mixes
from tests.noise_cases import sound, write_sounds
from tests.noise_world import checks, made, settings, verdict
from tests.noise_world import world as world


def test_no_mix_of_the_test_has_a_recording_that_training_uses(world: Path) -> None:
    mixes, noise = made(world)
    used: dict[tuple[str, str], set[str]] = {}
    for mix in mixes:
        used.setdefault((mix.noise_kind, mix.split), set()).update(mix.noise_sources)
    for kind in ("rain", "crowd"):
        assert used[kind, "test"]
        assert used[kind, "train"]
        assert not used[kind, "train"] & (
            used[kind, "test"] | used[kind, "decision"] | used[kind, "validation"]
        )
        assert not used[kind, "test"] & (used[kind, "decision"] | used[kind, "validation"])
    assert ("hail", "train") not in used
    assert used["alarm", "train"] == used["alarm", "test"] == {"alarm.wav"}  # each its own part
    assert all(not mix.noise_sources for mix in mixes if mix.noise_kind in ("gauss", CLEAN))
    assert (
        len(
            {(segment.start, segment.stop) for segment in noise.segments if segment.kind == "alarm"}
        )
        == 4
    )
    assert verdict(world, checks(world)) == {}


def test_each_split_uses_its_own_part_of_a_recording_that_is_cut(world: Path) -> None:
    mixes, noise = made(world)
    library = open_noise(world / "mixes", Corpus(world / "corpus"))
    windows = np.lib.stride_tricks.sliding_window_view(sound("alarm.wav", 1.5), 50)
    windows = windows - windows.mean(axis=1, keepdims=True)
    places: dict[str, list[int]] = {split: [] for split in SPLITS}
    for mix in [mix for mix in mixes if mix.noise_kind == "alarm"][:40]:
        found = library.noise(mix, 1_600)[:50]
        distance = np.abs(windows - (found - found.mean())).max(axis=1)
        if distance.min() < 1e-4:  # else the seam of a loop
            places[mix.split].append(int(distance.argmin()))
    for segment in noise.segments:
        if segment.kind == "alarm":
            assert places[segment.split]
            assert all(segment.start <= place < segment.stop for place in places[segment.split])


def test_a_fold_trains_with_nothing_that_the_pipelines_test_uses(world: Path) -> None:
    _, noise = made(world)
    of_test = {
        segment.audio_sha256
        for segment in noise.segments
        if segment.split == "test" and segment.kind != "alarm"
    }
    for fold in (2, 3):
        fold_mixes(settings(world), fold, world / f"fold{fold}", world / "corpus")
        own = read_noise(world / f"fold{fold}")
        used = {
            segment.name: segment.audio_sha256
            for segment in own.segments
            if segment.split == "train"
        }
        trained = {mix.noise_kind for mix in read_rows(world / f"fold{fold}/mixes.parquet", Mix)}
        assert "hail" in trained
        assert own == noise
        assert not of_test & {audio for name, audio in used.items() if name != "alarm.wav"}


@pytest.mark.parametrize("copy", ["same bytes", "another name and format"])
@pytest.mark.parametrize("kind", ["rain", "crowd"])
def test_the_same_recording_under_a_seen_and_an_unseen_kind_fails_the_gate(
    kind: str, copy: str, world: Path
) -> None:
    if copy == "same bytes":
        shutil.copy(world / f"noise/{kind}/0.wav", world / "noise/hail/same.wav")
    else:
        samples = (sound("both", 1.5) * 20_000).astype(np.int16)
        soundfile.write(world / f"noise/{kind}/0.wav", samples, 16_000)
        soundfile.write(world / "noise/hail/other.flac", samples, 16_000)
    made(world)
    failed = verdict(world, checks(world))
    message = "no noise recording is under a seen and an unseen kind: keep it under one"
    assert message in failed
    (ids,) = failed[message]
    assert set(ids.split(" = ")) == {
        f"{kind}/0.wav",
        "hail/same.wav" if copy == "same bytes" else "hail/other.flac",
    }
    assert set(failed) <= {
        message,
        "no part of a noise recording is in two splits: keep it under one kind",
    }


def test_the_same_recording_under_two_unseen_kinds_leaks_nothing(world: Path) -> None:
    for number in range(4):
        shutil.copy(world / f"noise/hail/{number}.wav", world / f"noise/hail/copy-{number}.wav")
    made(world)
    assert verdict(world, checks(world)) == {}


def test_a_recording_that_two_splits_use_fails_the_gate(world: Path) -> None:
    _, noise = made(world)
    of_train = next(
        segment for segment in noise.segments if (segment.kind, segment.split) == ("rain", "train")
    )
    of_test = next(
        segment for segment in noise.segments if (segment.kind, segment.split) == ("rain", "test")
    )
    changed = [
        (
            replace(segment, audio_sha256=of_train.audio_sha256)
            if segment.name == of_test.name
            else segment
        )
        for segment in noise.segments
    ]
    write_noise(world / "mixes", noise.model_copy(update={"segments": tuple(changed)}))
    names_of_both = " = ".join(sorted((of_train.name, of_test.name)))
    assert verdict(world, checks(world)) == {
        "no part of a noise recording is in two splits: keep it under one kind": (names_of_both,)
    }


def test_overlapping_parts_fail_the_gate(world: Path) -> None:
    _, noise = made(world)
    changed = [
        replace(one, start=one.start - 1) if (one.kind, one.split) == ("alarm", "test") else one
        for one in noise.segments
    ]
    write_noise(world / "mixes", noise.model_copy(update={"segments": tuple(changed)}))
    assert verdict(world, checks(world)) == {
        "no part of a noise recording is in two splits: keep it under one kind": ("alarm.wav",)
    }


@pytest.mark.parametrize(
    "change", ["of another split", "of another kind", "unknown", "none", "two"]
)
def test_a_mix_with_a_recording_that_it_must_not_have_fails_the_gate(
    change: str, world: Path
) -> None:
    mixes, noise = made(world)
    index = next(
        index for index, mix in enumerate(mixes) if (mix.noise_kind, mix.split) == ("rain", "test")
    )
    of_train = next(
        one.name for one in noise.segments if (one.kind, one.split) == ("rain", "train")
    )
    of_crowd = next(
        one.name for one in noise.segments if (one.kind, one.split) == ("crowd", "test")
    )
    own = mixes[index].noise_sources
    sources = {
        "of another split": (of_train,),
        "of another kind": (of_crowd,),
        "unknown": ("x.wav",),
        "none": (),
        "two": own * 2,
    }
    mixes[index] = replace(mixes[index], noise_sources=sources[change])
    write_rows(world / "mixes/mixes.parquet", Mix, mixes)
    assert verdict(world, checks(world)) == {
        "every recorded noise is one of its kind that its split may use": (mixes[index].mix_id,)
    }


def test_a_recording_that_is_named_like_a_clip_is_no_part_of_it(world: Path) -> None:
    name = "rain/0.wav"
    clips = read_rows(world / "corpus/clips.parquet", Clip)
    write_rows(
        world / "corpus/clips.parquet",
        Clip,
        [replace(one, clip_id=name) if one.clip_id == "train-0" else one for one in clips],
    )
    for number in range(1, 8):
        (world / f"noise/rain/{number}.wav").unlink()
    changes = {"kinds": ["rain", "hail"], "procedural": [], "train_clean_share": 0.0}
    made(world, **changes)
    assert "no clip is part of its own noise" not in verdict(world, checks(world, **changes))


def test_splits_that_share_a_recording_are_reported(world: Path) -> None:
    made(world)
    unseen = ("hail",)
    (note,) = mixes_notes(world / "mixes", world / "corpus", unseen)
    assert (
        note
        == "warning: alarm has 1 recording, cut in time for train + validation + decision + test;"
        " the test uses the recording that training uses, in another place: from 4 on each"
        " split has its own"
    )
    write_sounds(world / "noise", "alarm_2.wav")
    made(world)
    (note,) = mixes_notes(world / "mixes", world / "corpus", unseen)
    assert (
        note
        == "warning: alarm has 2 recordings, cut in time for train + validation and for decision +"
        " test: from 4 on each split has its own"
    )


@pytest.mark.parametrize(("transcript", "told"), [("low", 0), ("", 40), (None, 40)])
def test_babble_of_clips_that_may_be_no_speech_is_reported(
    transcript: str | None, told: int, world: Path
) -> None:
    clips = read_rows(world / "corpus/clips.parquet", Clip)
    write_rows(
        world / "corpus/clips.parquet",
        Clip,
        [replace(clip, transcript=transcript) for clip in clips],
    )
    made(world, kinds=["crowd", "gauss"], unseen=[], noise="procedural")
    notes = mixes_notes(world / "mixes", world / "corpus", ())
    assert [
        note.startswith(
            f"warning: crowd is babble of training clips, and {told} of 40 have no transcript"
        )
        for note in notes
    ] == ([True] if told else [])
    made(world, kinds=["crowd", "gauss"], unseen=[])  # a recorded crowd is one
    assert mixes_notes(world / "mixes", world / "corpus", ()) == []
    made(world, kinds=["gauss"], unseen=[], noise="procedural")
    assert mixes_notes(world / "mixes", world / "corpus", ()) == []
