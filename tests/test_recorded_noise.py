"""Recorded noise: which recordings a folder holds of each kind, and what of them each split
uses.
"""

import os
import shutil
import unicodedata
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from echodistill.audio.files import write_wav
from echodistill.audio.kinds import CLEAN
from echodistill.audio.mixing import Mix
from echodistill.audio.recordings import Segment, list_recordings
from echodistill.core.errors import UserError
from echodistill.core.records import SPLITS, Clip, read_rows, write_rows
from echodistill.data.mixes.division import divide_recordings
from echodistill.data.mixes.noise_settings import NoiseSettings, open_noise, read_noise, write_noise
from echodistill.data.store import Corpus
from echodistill.gates.expect import Expect
from echodistill.gates.mixes import mixes_checks, mixes_notes
from echodistill.gates.runner import validate
from echodistill.params.whole import Params
from echodistill.stages.fold_mixes import fold_mixes
from echodistill.stages.mixes import mixes as make_mixes
from tests.conftest import write_corpus
from tests.noise_cases import sound, write_sounds
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


# listing


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_recordings_of_each_format_are_found_in_folders_and_named_after_their_kind(
    suffix: str, tmp_path: Path
) -> None:
    for name in (
        f"rain/a.{suffix}",
        f"rain/deep/b.{suffix}",
        f"rain.{suffix}",
        f"rain_2.{suffix}",
        f"hail.{suffix}",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = list_recordings(tmp_path, ("rain", "hail"))
    assert found["rain"] == (
        f"rain.{suffix}",
        f"rain/a.{suffix}",
        f"rain/deep/b.{suffix}",
        f"rain_2.{suffix}",
    )
    assert found["hail"] == (f"hail.{suffix}",)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("alarm.wav", "alarm"),
        ("alarm2.wav", "alarm"),
        ("alarm-02.wav", "alarm"),
        ("alarm_10.wav", "alarm"),
        ("alarm 3.wav", "alarm"),
        ("alarm (4).wav", "alarm"),
        ("factory1.wav", "factory1"),  # a kind may end in a number itself
        ("factory1_2.wav", "factory1"),
        ("factory2.wav", None),
        ("alarm clock.wav", "alarm clock"),
        ("alarm clock 2.wav", "alarm clock"),
        ("alarms.wav", None),
        ("alarm_b.wav", None),
        (".alarm.wav", None),
        ("alarm.txt", None),
        ("alarm", None),
        (unicodedata.normalize("NFD", "Bäche.wav"), "Bäche"),
        (unicodedata.normalize("NFD", "Bäche 2.wav"), "Bäche"),
    ],
)
def test_a_flat_file_is_of_the_kind_it_is_named_after(
    name: str, kind: str | None, tmp_path: Path
) -> None:
    kinds = ("alarm", "factory1", "alarm clock", "Bäche")
    write_sounds(tmp_path, *[f"{one}/x.wav" for one in kinds], duration_s=0.01)
    (tmp_path / name).touch()
    found = list_recordings(tmp_path, kinds)
    assert {one for one in kinds if name in found[one]} == ({kind} if kind else set())


def test_a_folder_in_the_other_form_of_its_accent_is_found(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "Bäche")
    write_sounds(tmp_path, f"{name}/a.wav", duration_s=0.01)
    assert list_recordings(tmp_path, ("Bäche",)) == {"Bäche": (f"{name}/a.wav",)}


def test_a_link_to_a_file_is_a_recording_and_hidden_files_and_texts_are_none(
    tmp_path: Path,
) -> None:
    write_sounds(
        tmp_path / "noise",
        "rain/a.wav",
        "rain/._b.wav",
        "rain/.trash/c.wav",
        ".rain/d.wav",
        duration_s=0.01,
    )
    write_sounds(tmp_path / "elsewhere", "e.wav", duration_s=0.01)
    (tmp_path / "noise/rain/notes.txt").touch()
    for name in ("rain/e.wav", "hail.wav"):
        (tmp_path / "noise" / name).symlink_to(tmp_path / "elsewhere/e.wav")
    assert list_recordings(tmp_path / "noise", ("rain", "hail")) == {
        "rain": ("rain/a.wav", "rain/e.wav"),
        "hail": ("hail.wav",),
    }


def test_a_kind_without_recordings_is_reported_with_what_is_there(tmp_path: Path) -> None:
    write_sounds(tmp_path, "rain/a.wav", "Wind/a.wav", duration_s=0.01)
    with pytest.raises(
        UserError,
        match=(
            r"holds no recordings of 'wind', .* it holds Wind, rain\. .*, or name wind in"
            r" mixes\.procedural$"
        ),
    ):
        list_recordings(tmp_path, ("rain", "wind"))
    with pytest.raises(
        UserError, match=r"holds no recordings of 'hail', .* take 'hail' out of mixes\.kinds$"
    ):
        list_recordings(tmp_path, ("rain", "hail"))
    with pytest.raises(UserError, match=r"mixes\.recordings: there is no folder .*nowhere"):
        list_recordings(tmp_path / "nowhere", ("rain",))


# division


@pytest.mark.parametrize("count", [4, 5, 6, 8, 10, 13, 20, 41])
def test_from_four_on_each_split_has_recordings_of_its_own(count: int, tmp_path: Path) -> None:
    write_sounds(tmp_path, *names("rain", count), duration_s=0.02)
    segments = divide_recordings(tmp_path, ("rain",), 1)
    splits = splits_of(segments)
    assert len(splits) == count
    assert all(len(found) == 1 for found in splits.values())
    sizes = Counter(split for found in splits.values() for split in found)
    assert set(sizes) == set(SPLITS)
    assert sizes["train"] == max(sizes.values())
    assert all((segment.start, segment.stop) == (0, 320) for segment in segments)


@pytest.mark.parametrize(
    ("count", "shared"),
    [
        (1, [set(SPLITS)]),
        (2, [{"decision", "test"}, {"train", "validation"}]),
        (3, [{"decision"}, {"test"}, {"train", "validation"}]),
    ],
)
def test_fewer_recordings_are_cut_in_time(
    count: int, shared: list[set[str]], tmp_path: Path
) -> None:
    write_sounds(tmp_path, *names("rain", count), duration_s=2.0)
    segments = divide_recordings(tmp_path, ("rain",), 1)
    assert sorted(splits_of(segments).values(), key=sorted) == shared
    for name, splits in splits_of(segments).items():
        parts = sorted(
            (segment.start, segment.stop) for segment in segments if segment.name == name
        )
        assert parts[0][0] == 0
        assert parts[-1][1] == 32_000
        assert all(before[1] == after[0] for before, after in pairwise(parts))
        assert {stop - start for start, stop in parts} == {32_000 // len(splits)}


def test_silence_around_a_sound_is_no_part_of_its_own(tmp_path: Path) -> None:
    padded = np.zeros(80_000, np.float32)
    padded[8_000:24_000] = sound("bark")
    (tmp_path / "dog").mkdir()
    write_wav(tmp_path / "dog/a.wav", padded)
    parts = [(segment.start, segment.stop) for segment in divide_recordings(tmp_path, ("dog",), 1)]
    assert parts == [(8_000, 12_000), (12_000, 16_000), (16_000, 20_000), (20_000, 24_000)]


@pytest.mark.parametrize(
    "wave",
    [
        sound("short", 0.3),
        np.concatenate([sound("a", 0.1), np.zeros(40_000, np.float32), sound("b", 0.1)]),
    ],
)
def test_what_cannot_be_cut_is_reported_with_the_cure(wave: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "rain").mkdir()
    write_wav(tmp_path / "rain/a.wav", wave)
    with pytest.raises(
        UserError,
        match=(
            r"rain has 1 recording for 4 splits, and rain/a\.wav is too short .* until there are 4"
        ),
    ):
        divide_recordings(tmp_path, ("rain",), 1)


def test_a_recordings_split_depends_on_its_content_and_not_on_its_name(tmp_path: Path) -> None:
    write_sounds(tmp_path / "a", *names("rain", 12), duration_s=0.02)
    (tmp_path / "b/rain").mkdir(parents=True)
    for number in range(12):
        shutil.copy(tmp_path / f"a/rain/{number}.wav", tmp_path / f"b/rain/z{11 - number:02d}.wav")
    of_audio = [
        {
            segment.audio_sha256: segment.split
            for segment in divide_recordings(tmp_path / folder, ("rain",), 1)
        }
        for folder in ("a", "b")
    ]
    assert of_audio[0] == of_audio[1]
    other = {
        segment.audio_sha256: segment.split
        for segment in divide_recordings(tmp_path / "a", ("rain",), 2)
    }
    assert other != of_audio[0]


@pytest.mark.parametrize("copy", ["same bytes", "flac", "w64", "aiff", "au", "caf", "tags"])
def test_copies_of_a_recording_go_to_one_split(copy: str, tmp_path: Path) -> None:
    write_sounds(tmp_path, *names("rain", 8), duration_s=0.02)
    for path in sorted((tmp_path / "rain").iterdir()):
        samples = (sound(path.name, 0.02) * 20_000).astype(np.int16)
        soundfile.write(path, samples, 16_000)
        if copy in ("same bytes", "tags"):
            with soundfile.SoundFile(path.with_name(f"copy-{path.name}"), "w", 16_000, 1) as file:
                if copy == "tags":
                    file.title = "another title"
                file.write(samples)
        else:
            soundfile.write(path.with_name(f"copy-{path.stem}.{copy}"), samples, 16_000)
    splits = splits_of(divide_recordings(tmp_path, ("rain",), 1))
    assert len(splits) == 16
    for number in range(8):
        (other,) = (name for name in splits if name.startswith(f"rain/copy-{number}."))
        assert splits[other] == splits[f"rain/{number}.wav"]


def test_all_recordings_that_cannot_be_used_are_named_at_once(tmp_path: Path) -> None:
    write_sounds(tmp_path, *names("rain", 4), duration_s=0.02)
    write_wav(tmp_path / "rain/silent.wav", np.zeros(100, np.float32))
    (tmp_path / "rain/empty.wav").touch()
    (tmp_path / "rain/text.mp3").write_text("no audio")
    (tmp_path / "rain/phone.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    (tmp_path / "rain/broken.wav").symlink_to(tmp_path / "nowhere.wav")
    os.mkfifo(tmp_path / "rain/pipe.wav")
    with pytest.raises(UserError) as caught:
        divide_recordings(tmp_path, ("rain",), 1)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(
        "mixes.recordings: 6 of 10 noise recordings cannot be used, fix or remove them: "
    )
    assert message.endswith("; and 1 more")
    assert all(
        name in message
        for name in ("broken.wav", "empty.wav", "phone.m4a", "pipe.wav", "silent.wav: is silent")
    )


# the stage and its gate


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
