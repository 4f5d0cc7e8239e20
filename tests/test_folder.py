"""Source ``folder``: forms of choices and answers, clips, groups and splits."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.folders import (
    COLOURS,
    ROW,
    only_question,
    only_reason,
    read,
    read_csv,
    read_jsonl,
    without,
    write_recordings,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_recordings(tmp_path)


# choices and answers


@pytest.mark.parametrize(
    "choices",
    [
        COLOURS,
        ["A. red", "B. blue", "C. green"],
        ["(A) red", "(B) blue", "(C) green"],
        ["(a)red", "(b)blue", "(c)green"],
        ["A) red", "B) blue", "C) green"],
        ["A: red", "B: blue", "C: green"],
        ["(A) red", "B. blue", "C) green"],
        [" red ", "blue\n", "green"],
        '["red", "blue", "green"]',
        "['red', 'blue', 'green']",
        "('red', 'blue', 'green')",
    ],
)
def test_forms_of_choices(root: Path, choices: object) -> None:
    question = only_question(read_jsonl(root, ROW | {"choices": choices}))
    assert question.choices == ("red", "blue", "green")
    assert question.answer == "blue"


@pytest.mark.parametrize(
    "choices",
    [
        ["A. red", "blue"],
        ["B. red", "A. blue"],
        ["A. red", "A. blue"],
        ["A.M.", "B.M."],
        ["A", "B"],
        ["a cat", "b cat"],
    ],
)
def test_what_is_not_a_label_on_every_choice_stays(root: Path, choices: list[str]) -> None:
    assert only_question(
        read_jsonl(root, ROW | {"choices": choices, "answer": choices[1]})
    ).choices == tuple(choices)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("blue", "blue"),
        (" Blue. ", "blue"),
        ("B", "blue"),
        ("b", "blue"),
        ("(B)", "blue"),
        ("B.", "blue"),
        ("B)", "blue"),
        ("(B) blue", "blue"),
        ("B. Blue", "blue"),
        (0, "red"),
        (1, "blue"),
        ("1", "blue"),
        ("2", "green"),
    ],
)
def test_forms_of_answers(root: Path, answer: object, right: str) -> None:
    assert only_question(read_jsonl(root, ROW | {"answer": answer})).answer == right


@pytest.mark.parametrize(
    ("choices", "answer", "right"),
    [
        (["2", "3", "1"], "2", "2"),
        ([2, 3, 1], "1", "1"),
        (["0", "1", "2"], 1, "1"),
        (["A", "B", "C"], "B", "B"),
        (["yes", "no"], "1", "no"),
        ([True, False], False, "False"),
        (["a dog", "a"], "a dog", "a dog"),
        (["A. C", "B. A"], "B. A", "A"),
        (["A.rain", "B.crowd"], "B", "crowd"),
        (["A、雨", "B、人群"], "B", "人群"),
        (["A）雨", "B）人群"], "A", "雨"),
        (["1. rain", "2. crowd", "3. siren"], "2", "crowd"),
        (["1. rain", "2. crowd", "3. siren"], "2. crowd", "crowd"),
        (["0) rain", "1) crowd"], 1, "crowd"),
        (["1: 30 pm", "2: 30 pm"], "2: 30 pm", "2: 30 pm"),
        (["A. rain", "C. siren", "D. dog"], "D", "D. dog"),
        (["J. Bach", "W. Mozart", "A. Vivaldi"], "W. Mozart", "W. Mozart"),
    ],
)
def test_choices_that_look_like_numbers_or_letters(
    root: Path, choices: object, answer: object, right: str
) -> None:
    assert (
        only_question(read_jsonl(root, ROW | {"choices": choices, "answer": answer})).answer
        == right
    )


@pytest.mark.parametrize(
    ("choices", "answer"),
    [
        (["A. rain", "C. siren", "D. dog"], "C"),
        (["B. rain", "A. crowd"], "A"),
        (["J. Bach", "A. Vivaldi"], "A"),
        (["A. Mozart", "C. Bach"], "B"),
        (["2. rain", "3. crowd"], 1),
    ],
)
def test_a_label_that_is_another_choices_place_is_not_guessed_at(
    root: Path, choices: list[str], answer: object
) -> None:
    assert "label" in only_reason(read_jsonl(root, ROW | {"choices": choices, "answer": answer}))


@pytest.mark.parametrize(
    ("columns", "answer", "right"),
    [
        (("choice_a", "choice_b", "choice_c", "choice_d"), "B", "blue"),
        (("Choice_A", "Choice_B", "Choice_C", "Choice_D"), "1", "blue"),
        (("A", "B", "C", "D"), "B", "blue"),
        (("choice_1", "choice_2", "choice_3", "choice_4"), "2", "blue"),
        (("choice_1", "choice_2", "choice_3", "choice_4"), "blue", "blue"),
    ],
)
def test_choices_in_columns(root: Path, columns: tuple[str, ...], answer: str, right: str) -> None:
    row = without("choices") | dict(zip(columns, [*COLOURS, ""], strict=True)) | {"answer": answer}
    question = only_question(read_csv(root, row))
    assert question.choices == ("red", "blue", "green")
    assert question.answer == right


def test_a_gap_between_choice_columns(root: Path) -> None:
    row = without("choices") | {"choice_a": "red", "choice_b": "", "choice_c": "blue"}
    assert "choice_a, choice_c: one between is empty" in only_reason(read_csv(root, row))
    row = without("choices") | {
        "choice_1": "red",
        "choice_2": "blue",
        "choice_3": "",
        "answer": "3",
    }
    assert "not among" in only_reason(read_csv(root, row))


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(
    lambda text: text.strip()
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(choices=st.lists(TEXTS, min_size=2, max_size=5), data=st.data())
def test_any_choices_keep_their_answer_or_are_quarantined(
    root: Path, choices: list[str], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(choices) - 1))
    row = ROW | {"choices": choices, "answer": choices[index]}
    for found in (read_jsonl(root, row), read_csv(root, row | {"choices": json.dumps(choices)})):
        assert len(found.clips) + len(found.quarantined) == 1
        for clip in found.clips:
            (question,) = clip.questions
            assert question.choices.index(question.answer) == index


# clips, groups and splits


def test_rows_of_one_file_are_one_clip(root: Path) -> None:
    rows = [
        ROW,
        ROW | {"id": 2, "audio_path": "./a"},
        ROW | {"id": 3, "audio_path": "sub/../a.wav"},
        ROW | {"id": 4, "audio_path": str(root / "a.wav")},
        ROW | {"id": 5, "audio_path": "b.wav"},
    ]
    found = read_jsonl(root, *rows)
    assert [[question.question_id for question in clip.questions] for clip in found.clips] == [
        ["q1", "2", "3", "4"],
        ["5"],
    ]
    assert set(found.splits) == {"a.wav", "b.wav"}


@pytest.mark.parametrize("field", ["group", "speaker"])
def test_groups_are_never_divided(root: Path, field: str) -> None:
    names = ("a.wav", "b.wav", "c.wav", "d.wav", "sub/e.wav")
    rows = [
        ROW | {"id": name, "audio_path": name, field: f"s{number // 2}"}
        for number, name in enumerate(names)
    ]
    found = read_jsonl(root, *rows)
    assert [clip.group for clip in found.clips] == ["s0", "s0", "s1", "s1", "s2"]
    assert sorted(found.splits) == ["s0", "s1", "s2"]
    assert sorted(found.splits.values()) == ["test", "test", "train"]
    assert len({tuple(read(root, seed=seed).splits.items()) for seed in range(20)}) > 1


def test_a_recording_in_two_groups(root: Path) -> None:
    found = read_jsonl(root, ROW | {"group": "x"}, ROW | {"id": "q2", "group": "y"})
    assert [clip.group for clip in found.clips] == ["x"]
    assert "of group 'x' in a row before, here of 'y'" in found.quarantined[0].reason


def test_a_split_column_counts(root: Path) -> None:
    splits = {
        "a.wav": "train",
        "b.wav": "Val",
        "c.wav": "Decision",
        "d.wav": "validation",
        "sub/e.wav": "TEST",
    }
    found = read_jsonl(
        root,
        *(ROW | {"id": name, "audio_path": name, "split": split} for name, split in splits.items()),
    )
    assert list(found.splits.values()) == ["train", "validation", "decision", "validation", "test"]


def test_a_group_in_two_splits_is_quarantined_whole(root: Path) -> None:
    rows = [
        ("a.wav", "train", "x"),
        ("b.wav", "test", "x"),
        ("c.wav", "dev", "y"),
        ("d.wav", "val", "y"),
        ("sub/e.wav", "test", "z"),
    ]
    found = read_jsonl(
        root,
        *(
            ROW | {"id": name, "audio_path": name, "split": split, "group": group}
            for name, split, group in rows
        ),
    )
    assert found.splits == {"y": "validation", "z": "test"}
    assert [clip.clip_id for clip in found.clips] == ["c.wav", "d.wav", "sub/e.wav"]
    assert [row.row for row in found.quarantined] == [
        "manifest.jsonl:1 (id a.wav)",
        "manifest.jsonl:2 (id b.wav)",
    ]
    assert "group 'x' is in several splits: ['test', 'train']" in found.quarantined[0].reason


@pytest.mark.parametrize("split", ["", "holdout"])
def test_a_row_without_a_known_split_among_others(root: Path, split: str) -> None:
    found = read_jsonl(
        root, ROW | {"split": "train"}, ROW | {"id": "q2", "audio_path": "b.wav", "split": split}
    )
    assert found.splits == {"a.wav": "train"}
    assert (
        f"split {split!r} is none of train, validation, decision, test"
        in found.quarantined[0].reason
    )
