"""Published benchmarks in their real shapes, read through the public reader."""

import hashlib
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echodistill.core.errors import UserError
from echodistill.core.records import Clip
from echodistill.data import benchmarks
from echodistill.data.layouts import LAYOUTS, SPOKEN
from echodistill.data.parquet_rows import embedded_at, read_embedded
from echodistill.data.sources import SourceClips, SourceQuestion
from echodistill.lineage.clips import source_state
from echodistill.params.corpus import EVALUATED
from tests import benchmark_rows as b


def read(root: Path, source: str, manifest: str, **changes: object) -> SourceClips:
    return benchmarks.read(b.params_of(root, source, manifest, **changes), 1)


def questions(found: SourceClips) -> list[SourceQuestion]:
    assert not found.quarantined
    return [question for clip in found.clips for question in clip.questions]


def test_mmau(tmp_path: Path) -> None:
    b.write_wavs(tmp_path, *(row["audio_id"] for row in b.MMAU))
    b.write_json(tmp_path / "mmau-test-mini.json", b.MMAU)
    found = read(tmp_path, "mmau", "mmau-test-mini.json")
    assert [question.answer for question in questions(found)] == b.MMAU_RIGHT
    assert [question.question_id for question in questions(found)] == [
        "6f-0",
        "6f-1",
        "6f-2",
        "6f-3",
    ]
    assert questions(found)[3].choices == ("Rain", "Rattle")
    assert [clip.clip_id for clip in found.clips] == [
        f"test-mini-audios/6f-{number}.wav" for number in range(4)
    ]
    assert set(found.splits.values()) == {"test"}


def test_mmau_as_parquet(tmp_path: Path) -> None:
    rows = [
        {
            "instruction": "What is heard?",
            "choices": ["(A) Rain", "(B) Rattle"],
            "answer": "(B) Rattle",
            "other_attributes": json.dumps(
                {"id": f"6f-{number}", "task": "sound", "split": "test-mini"}
            ),
        }
        for number in range(3)
    ]
    b.write_parquet(tmp_path / "test_mini.parquet", "context", rows, [b.wav(0), b.wav(1), None])
    found = read(tmp_path, "mmau", "test_mini.parquet")
    assert questions(found)[1] == SourceQuestion(
        "6f-1", "What is heard?", ("Rain", "Rattle"), "Rattle"
    )
    assert [clip.clip_id for clip in found.clips] == [
        f"test_mini.parquet#{number}" for number in (1, 2, 3)
    ]
    assert [clip.read()[1] for clip in found.clips[:2]] == [
        hashlib.sha256(b.wav(number)).hexdigest() for number in (0, 1)
    ]
    with pytest.raises(
        UserError, match=r"^no such audio file: .*test_mini\.parquet#3: column 'context' holds none"
    ):
        found.clips[2].read()


@pytest.mark.parametrize("attributes", ["{", "[]", "3"])
def test_mmau_with_damaged_attributes(attributes: str, tmp_path: Path) -> None:
    rows = [
        {"instruction": "?", "choices": ["a", "b"], "answer": "a", "other_attributes": attributes}
    ]
    b.write_parquet(tmp_path / "x.parquet", "context", rows, [b.wav(0)])
    (row,) = read(tmp_path, "mmau", "x.parquet").quarantined
    assert "other_attributes" in row.reason


@pytest.mark.parametrize("answer", [{}, {"answer": ""}, {"answer": None}])
def test_a_part_without_answers_is_refused(answer: dict[str, Any], tmp_path: Path) -> None:
    rows = [
        {name: value for name, value in row.items() if name != "answer"} | answer for row in b.MMAU
    ]
    b.write_json(tmp_path / "mmau-test.json", rows)
    with pytest.raises(
        UserError,
        match=(
            r"mmau-test\.json: no row has a field 'answer', so mmau cannot be scored .* test-mini"
        ),
    ):
        read(tmp_path, "mmau", "mmau-test.json")


def test_mmar_keeps_a_video_together(tmp_path: Path) -> None:
    b.write_wavs(tmp_path, *(row["audio_path"] for row in b.MMAR))
    b.write_json(tmp_path / "MMAR-meta.json", b.MMAR)
    found = read(tmp_path, "mmar", "MMAR-meta.json")
    assert [question.answer for question in questions(found)] == ["1"] * 4
    assert [clip.group for clip in found.clips] == [row["url"] for row in b.MMAR]
    assert found.splits == {"https://example.org/vid0": "test", "https://example.org/vid1": "test"}


def test_mmsu(tmp_path: Path) -> None:
    b.write_wavs(tmp_path, *(row["audio_path"][1:] for row in b.MMSU))
    b.write_json(tmp_path / "question/mmsu.jsonl", b.MMSU)
    b.write_parquet(
        tmp_path / "data/x.parquet", "audio", b.MMSU, [b.wav(number) for number in range(3)]
    )
    for manifest in ("question/mmsu.jsonl", "data/*.parquet"):
        found = read(tmp_path, "mmsu", manifest)
        asked = SourceQuestion(
            "stress_0", "Which word is stressed?", ("tea", "green", "you", "want"), "want"
        )
        assert questions(found)[0] == asked
        assert set(found.splits.values()) == {"test"}


def test_air_bench(tmp_path: Path) -> None:
    b.write_wavs(tmp_path, "Speaker_Gender_ours/a.wav", "Audio_Grounding_ours/a.flac")
    b.write_json(tmp_path / "Foundation_meta.json", b.AIR_BENCH)
    found = read(tmp_path, "air-bench", "Foundation_meta.json")
    assert [
        (question.question_id, question.choices, question.answer) for question in questions(found)
    ] == [
        ("Speaker_Gender_ours-7", ("male", "female"), "female"),
        ("Audio_Grounding_ours-7", ("[0, 2]", "[2, 4]", "[4, 6]", "[6, 8]"), "[4, 6]"),
    ]
    assert [clip.clip_id for clip in found.clips] == [
        "Speaker_Gender_ours/a.wav",
        "Audio_Grounding_ours/a.flac",
    ]
    assert found.splits == {"ours/a.wav": "test"}


def test_air_bench_takes_no_file_of_the_same_name(tmp_path: Path) -> None:
    """Its tasks have files of equal names."""
    b.write_wavs(tmp_path, "a.wav")
    b.write_json(tmp_path / "Foundation_meta.json", b.AIR_BENCH[:1])
    (row,) = read(tmp_path, "air-bench", "Foundation_meta.json").quarantined
    assert row.reason == "no such audio file: Speaker_Gender_ours/a.wav"


def test_avqa_as_r1_aqa_writes_it(tmp_path: Path) -> None:
    b.write_wavs(tmp_path, *(f"wavs/{Path(row['audio_path']).name}" for row in b.AVQA[:2]))
    b.write_wavs(tmp_path, *(Path(row["audio_path"]).name for row in b.AVQA[2:]))
    b.write_json(
        tmp_path / "avqa.jsonl",
        [
            row | {"audio_path": row["audio_path"].replace("Path to wav dir", "wavs")}
            for row in b.AVQA
        ],
    )
    found = read(tmp_path, "avqa", "avqa.jsonl")
    assert [(asked.question, asked.answer) for asked in questions(found)] == [
        ("What happened in the audio?", "2")
    ] * 4
    assert [clip.group for clip in found.clips] == ["-HG0_x", "-HG0_x", "-HG1_x", "-HG1_x"]
    assert sorted(found.splits.values()) == ["test", "train"]


def test_avqa_as_first_published(tmp_path: Path) -> None:
    rows = [
        {name: value for name, value in row.items() if name not in ("audio_path", "dataset_name")}
        for row in b.AVQA
    ]
    b.write_wavs(tmp_path, *(f"{row['video_name']}.wav" for row in rows))
    b.write_json(tmp_path / "train_qa.json", rows)
    assert [clip.clip_id for clip in read(tmp_path, "avqa", "train_qa.json").clips] == [
        f"{row['video_name']}.wav" for row in rows
    ]


def test_voicebench(tmp_path: Path) -> None:
    for part in ("law", "other"):
        recordings: list[bytes | None] = [b.wav(number) for number in range(4)]
        b.write_parquet(
            tmp_path / f"mmsu/{part}.parquet", "audio", b.VOICEBENCH, recordings, rows_a_group=3
        )
    found = read(tmp_path, "voicebench", "mmsu/*.parquet")
    assert [asked.answer for asked in questions(found)] == ["left", "right", "B", "A"] * 2
    assert questions(found)[4] == SourceQuestion(
        "mmsu/other.parquet:row 1", SPOKEN, ("left", "right", "B", "A"), "left"
    )
    assert [clip.read()[1] for clip in found.clips] == [
        hashlib.sha256(b.wav(number)).hexdigest() for number in range(4)
    ] * 2
    assert set(found.splits.values()) == {"test"}


@pytest.mark.parametrize(
    "prompt",
    ["What is 2 + 2?", "A. one choice", "Which?\nB. red\nA. blue", "Which?\nA. red\nC. blue"],
)
def test_a_spoken_question_without_choices_is_quarantined(prompt: str, tmp_path: Path) -> None:
    b.write_parquet(
        tmp_path / "x.parquet", "audio", [{"prompt": prompt, "reference": "A"}], [b.wav(0)]
    )
    (row,) = read(tmp_path, "voicebench", "x.parquet").quarantined
    assert "no choices in lines" in row.reason


TEXTS = st.from_regex(r"[a-z][a-z .,:'-]{0,10}[a-z]", fullmatch=True)


@settings(max_examples=60, deadline=None)
@given(choices=st.lists(TEXTS, min_size=2, max_size=6, unique=True), data=st.data())
def test_any_spoken_choices_are_found_in_the_prompt(
    choices: list[str], data: st.DataObject
) -> None:
    right = data.draw(st.integers(0, len(choices) - 1))
    lines = [f"{letter}. {choice}" for letter, choice in zip("ABCDEF", choices, strict=False)]
    fields = {
        "audio": "x.wav",
        "prompt": "\n".join(["Which one?", *lines, "Select one."]),
        "reference": "ABCDEF"[right],
    }
    row = LAYOUTS["voicebench"].to_folder(fields, "x:1")
    assert row["choices"] == choices
    assert row["choices"]["ABCDEF".index(row["answer"])] == choices[right]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(
    choices=st.lists(
        st.sampled_from(["A", "B", "C", "D", "0", "1", "2", "3", "a b"]),
        min_size=2,
        max_size=4,
        unique=True,
    ),
    data=st.data(),
)
def test_an_answer_is_read_as_its_benchmark_writes_it(
    tmp_path: Path, choices: list[str], data: st.DataObject
) -> None:
    """Also where the text of one choice is the letter or the number of another."""
    right = data.draw(st.integers(0, len(choices) - 1))
    b.write_wavs(tmp_path, "a.wav")
    mmar = b.MMAR[0] | {"audio_path": "a.wav", "choices": choices, "answer": choices[right]}
    avqa = b.AVQA[0] | {"audio_path": "a.wav", "multi_choice": choices, "answer": right}
    lettered = [f"{letter}. {choice}" for letter, choice in zip("ABCD", choices, strict=False)]
    seen = b.seen(1)[0] | {"audio_id": "a.wav", "choices": str(lettered), "answer": "ABCD"[right]}
    for source, row in (("mmar", mmar), ("avqa", avqa), ("seen", seen)):
        b.write_json(tmp_path / "rows.json", [row])
        (asked,) = questions(read(tmp_path, source, "rows.json"))
        assert (asked.choices, asked.answer) == (tuple(choices), choices[right])


def test_echodistills_release_is_read_once_a_question(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    b.write_wavs(tmp_path, *{row["clean_audio_path"]: None for row in b.ECHODISTILL})
    b.write_json(tmp_path / "train.jsonl", b.ECHODISTILL[::2])
    b.write_json(tmp_path / "val.jsonl", b.ECHODISTILL[1::2])
    found = read(tmp_path, "echodistill", "*.jsonl")
    assert len(questions(found)) == len(found.clips) == 12
    assert {asked.question for asked in questions(found)} == {"What sound is it?"}
    assert all(asked.choices.index(asked.answer) == 0 for asked in questions(found))
    assert {clip.group for clip in found.clips} == {f"v{number}" for number in range(6)}
    assert set(found.splits.values()) == {"train", "test"}
    printed = capsys.readouterr().out
    assert "echodistill: 24 rows ask a question of a clip again" in printed
    assert "MMAR is no fair test" in printed


def test_seen(tmp_path: Path) -> None:
    b.write_wavs(tmp_path, *(f"clean/raw/{number:03d}.wav" for number in range(4)))
    b.write_csv(tmp_path / "metadata.csv", b.seen(4))
    found = read(tmp_path, "seen", "metadata.csv")
    assert [asked.answer for asked in questions(found)] == list(b.SEEN_CHOICES)
    assert {asked.choices for asked in questions(found)} == {b.SEEN_CHOICES}
    assert set(found.splits.values()) == {"test"}


def test_own_rows_in_seens_shape_are_split(tmp_path: Path) -> None:
    b.write_wavs(tmp_path, *(f"clean/raw/{number:03d}.wav" for number in range(4)))
    rows = [{name: value for name, value in row.items() if name != "split"} for row in b.seen(4)]
    b.write_csv(tmp_path / "metadata.csv", rows)
    assert sorted(read(tmp_path, "seen", "metadata.csv").splits.values()) == [
        "test",
        "test",
        "train",
        "train",
    ]
    b.write_csv(tmp_path / "metadata.csv", [row | {"split": "train"} for row in rows])
    assert set(read(tmp_path, "seen", "metadata.csv").splits.values()) == {"train"}


# what holds for all

PUBLISHED = {
    "mmau": ("rows.json", b.MMAU, "audio_id"),
    "mmar": ("rows.json", b.MMAR, "audio_path"),
    "mmsu": ("rows.jsonl", b.MMSU, "audio_path"),
    "air-bench": ("rows.json", b.AIR_BENCH, "path"),
    "avqa": ("rows.jsonl", b.AVQA, "audio_path"),
    "voicebench": (
        "rows.jsonl",
        [row | {"audio_path": f"{n}.wav"} for n, row in enumerate(b.VOICEBENCH)],
        "audio_path",
    ),
    "echodistill": ("rows.jsonl", b.ECHODISTILL, "clean_audio_path"),
    "seen": ("rows.json", b.seen(4), "audio_id"),
}


def test_every_benchmark_is_here() -> None:
    assert set(PUBLISHED) == set(LAYOUTS)
    assert {name for name, layout in LAYOUTS.items() if layout.test_only} | {"seen"} == set(
        EVALUATED
    )


@pytest.mark.parametrize("source", PUBLISHED)
def test_a_missing_manifest_names_what_is_published(source: str, tmp_path: Path) -> None:
    for manifest in ("manifest.jsonl", "*.nothing"):
        with pytest.raises(UserError) as caught:
            read(tmp_path, source, manifest)
        assert f"corpus.manifest to the rows of {source}: {LAYOUTS[source].manifests[0]}" in str(
            caught.value
        )


@pytest.mark.parametrize("source", PUBLISHED)
def test_a_row_without_a_field_names_it_as_published(source: str, tmp_path: Path) -> None:
    manifest, rows, field = PUBLISHED[source]
    field = "video_name" if source == "avqa" else field  # it replaces the path
    b.write_json(
        tmp_path / manifest,
        [rows[0], {name: value for name, value in rows[1].items() if name != field}],
    )
    reasons = [row.reason for row in read(tmp_path, source, manifest).quarantined]
    assert reasons[1] == f"no field {field!r}"


@pytest.mark.parametrize("source", PUBLISHED)
def test_a_missing_recording_is_named(source: str, tmp_path: Path) -> None:
    manifest, rows, audio = PUBLISHED[source]
    b.write_json(tmp_path / manifest, rows[:1])
    (row,) = read(tmp_path, source, manifest).quarantined
    assert row.row.startswith(f"{manifest}:")
    assert row.reason.startswith("no such audio file: ")
    assert row.reason.endswith(Path(rows[0][audio]).name)


@pytest.mark.parametrize("source", [name for name, layout in LAYOUTS.items() if layout.test_only])
def test_test_rows_are_trained_on_only_where_that_is_asked_for(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, rows, audio = PUBLISHED[source]
    if source == "air-bench":
        rows = [rows[0], rows[0] | {"uniq_id": 8, "path": "b.wav"}]
    folder = "Speaker_Gender_ours" if source == "air-bench" else ""
    b.write_wavs(tmp_path, *(str(Path(folder) / Path(row[audio]).name) for row in rows))
    b.write_json(tmp_path / manifest, rows)
    assert set(read(tmp_path, source, manifest).splits.values()) == {"test"}
    assert f"{source}: all rows are test rows, none is trained on" in capsys.readouterr().out
    assert set(read(tmp_path, source, manifest, benchmark_rows="split").splits.values()) == {
        "train",
        "test",
    }
    assert f"warning: {source} is a test set" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("written", "there", "found"),
    [
        ("./audio/x.wav", "audio/x.wav", "audio/x.wav"),
        ("/data/me/audio/x.wav", "audio/x.wav", "audio/x.wav"),
        ("../datasets/sound/clean/raw/x.wav", "clean/raw/x.wav", "clean/raw/x.wav"),
        ("a/b/x", "x.wav", "x"),
        ("audio/x.wav", "other/x.wav", "audio/x.wav"),
        ("../../x.wav", "y.wav", "x.wav"),
    ],
)
def test_a_recording_is_looked_for_below_the_folder_only(
    written: str, there: str, found: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    b.write_wavs(root, there)
    b.write_wavs(tmp_path, "x.wav")
    ((_, fields),) = benchmarks._with_recording_paths([("row 1", {"audio_path": written})], root)
    assert isinstance(fields, dict)
    assert fields["audio_path"] == found


def test_another_recording_of_the_same_name_is_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    b.write_wavs(tmp_path, "009.wav", *(f"raw/{number:03d}.wav" for number in range(3)))
    rows = [
        (f"row {number}", {"audio_path": f"clean/raw/{number:03d}.wav"}) for number in (9, 0, 1, 2)
    ]
    found = [
        fields["audio_path"]
        for _, fields in benchmarks._with_recording_paths(rows, tmp_path)
        if isinstance(fields, dict)
    ]
    assert found == ["clean/raw/009.wav", "raw/000.wav", "raw/001.wav", "raw/002.wav"]


def test_a_damaged_parquet_is_reported_or_its_rows_are_quarantined(tmp_path: Path) -> None:
    reported = 0
    for seed in range(24):
        folder = tmp_path / str(seed)
        folder.mkdir()
        file = folder / "x.parquet"
        b.write_parquet(file, "audio", b.VOICEBENCH, [b.wav(number) for number in range(4)])
        content = bytearray(file.read_bytes())
        for place in np.random.default_rng(seed).integers(4, len(content) - 8, 12):
            content[place] ^= 0xFF
        file.write_bytes(content)
        try:
            clips = read(folder, "voicebench", "x.parquet").clips
        except UserError:
            reported += 1
            continue
        for clip in clips:
            with suppress(UserError):
                clip.read()
    assert reported > 0


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("hello")
    with pytest.raises(UserError, match=r"x\.parquet cannot be read as parquet"):
        read(tmp_path, "voicebench", "x.parquet")


def test_a_recording_in_parquet_is_found_again_by_its_name(tmp_path: Path) -> None:
    """As the provenance of a clip does."""
    file = tmp_path / "x.parquet"
    b.write_parquet(
        file, "audio", b.VOICEBENCH, [b.wav(number) for number in range(4)], rows_a_group=3
    )
    clips = read(tmp_path, "voicebench", "x.parquet").clips
    assert [
        read_embedded(recording) for clip in clips if (recording := embedded_at(clip.source))
    ] == [b.wav(n) for n in range(4)]
    for name in (f"{file}#5", f"{file}#0", str(file), f"{tmp_path / 'gone.parquet'}#1", "a#1.wav"):
        assert embedded_at(name) is None
    digest = hashlib.sha256(b.wav(1)).hexdigest()
    clip = Clip(
        "c",
        "g",
        "test",
        None,
        clips[1].source,
        digest,
        "",
        8_000,
        1.0,
        -20.0,
        "audio-00000.tar",
        0,
        1,
    )
    assert source_state(clip, "voicebench") == "ok"
    assert source_state(replace(clip, source=clips[2].source), "voicebench") == "changed"
    assert source_state(replace(clip, source=f"{file}#9"), "voicebench") == "not here"
    b.write_wavs(tmp_path, "1.wav", "2.wav")
    assert source_state(replace(clip, source=str(tmp_path / "2.wav")), "mmau") == "ok"
    assert source_state(replace(clip, source="espeak"), "builtin") == "synthesised"
