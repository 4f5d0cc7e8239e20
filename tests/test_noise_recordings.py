"""Which recordings of noise a folder holds of each kind, and what of them each split uses."""

import os
import shutil
import unicodedata
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from echodistill.audio.files import write_wav
from echodistill.audio.recordings import list_recordings
from echodistill.core.errors import UserError
from echodistill.core.records import SPLITS
from echodistill.data.mixes.division import divide_recordings
from tests.noise_cases import sound, write_sounds
from tests.noise_world import SUFFIXES, names, splits_of
from tests.noise_world import world as world


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
