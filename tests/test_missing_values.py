"""Empty cells as data frames and spreadsheets write them, and answers whose numbers count from
1.
"""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from echodistill.core.errors import UserError
from echodistill.data import benchmarks, folder, parquet_rows
from tests import benchmark_rows
from tests.corpus_params import corpus_params
from tests.folders import (
    ROW,
    only_question,
    only_reason,
    read,
    read_csv,
    read_jsonl,
    write_recordings,
)

NAMES = ("a.wav", "b.wav", "c.wav", "d.wav")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_recordings(tmp_path)


def rows_of(count: int, **changes: object) -> list[dict[str, Any]]:
    return [
        ROW | {"id": f"q{number}", "audio_path": NAMES[number % 4]} | changes
        for number in range(count)
    ]


@pytest.mark.parametrize("field", ["group", "speaker"])
@pytest.mark.parametrize(
    "missing",
    [
        *(
            math.nan,
            None,
            "",
            "  ",
            "nan",
            "NaN",
            "N/A",
            "n/a",
            "None",
            "none",
            "null",
            "NULL",
            "NA",
            "<NA>",
            "#N/A",
            "NaT",
            [],
            {},
        ),
        *(
            "-",
            "--",
            "---",
            "?",
            "unknown",
            "Unknown",
            "undefined",
            "n.a.",
            "N.A.",
            "nil",
            "(null)",
            "\\N",
            "#N/A N/A",
            "missing",
        ),
        *(
            "1.#IND",
            "-1.#IND",
            "1.#QNAN",
            "-1.#QNAN",
            "#VALUE!",
            "#REF!",
            "#DIV/0!",
            "#NAME?",
            "-NaN",
        ),
    ],
)
def test_recordings_without_a_group_are_no_giant_group(
    root: Path, field: str, missing: object
) -> None:
    assert set(read_jsonl(root, *rows_of(4, **{field: missing})).splits) == set(NAMES)
    if isinstance(missing, str):
        assert set(read_csv(root, *rows_of(4, **{field: missing})).splits) == set(NAMES)


def test_a_row_without_a_group_takes_that_of_its_recording(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[object] = ["nan", "x", 7, 7.0, None, "Zoe\u0308", "Zo\u00eb"]
    names = ["a", "a", "b", "c", "d", "sub/e", "a"]
    rows = [
        ROW | {"id": f"q{n}", "audio_path": name, "group": group}
        for n, (name, group) in enumerate(zip(names, given, strict=True))
    ]
    found = read_jsonl(root, *rows[:6])
    assert not found.quarantined
    assert {clip.clip_id: clip.group for clip in found.clips} == {
        "a.wav": "x",
        "b.wav": "7",
        "c.wav": "7",
        "d.wav": "d.wav",
        "sub/e.wav": "Zo\u00eb",
    }
    assert (
        "1 of 6 rows names no group: each of their recordings counts as a group of its own"
        in capsys.readouterr().out
    )
    assert len({clip.group for clip in read_jsonl(root, rows[5], rows[6]).clips}) == 1


@pytest.mark.parametrize("missing", [math.nan, None, "", "nan", "NaN", "<NA>", "#N/A", "NaT"])
def test_an_empty_last_column_is_no_choice(root: Path, missing: object) -> None:
    row = {name: value for name, value in ROW.items() if name != "choices"}
    found = read_jsonl(
        root,
        row | {"choice_a": "red", "choice_b": "blue", "choice_c": missing, "choice_d": missing},
    )
    assert only_question(found).choices == ("red", "blue")
    if not isinstance(missing, str):
        assert "choice 3 is" in only_reason(
            read_jsonl(root, ROW | {"choices": ["red", "blue", missing]})
        )


@pytest.mark.parametrize("text", ["None", "N/A", "NA", "null"])
def test_what_may_be_meant_is_a_choice(root: Path, text: str) -> None:
    row = {name: value for name, value in ROW.items() if name != "choices"}
    assert only_question(
        read_jsonl(root, row | {"choice_a": "blue", "choice_b": text})
    ).choices == ("blue", text)
    assert (
        only_question(read_jsonl(root, ROW | {"choices": [text, "blue"], "answer": text})).answer
        == text
    )


def test_empty_cells_of_parquet(tmp_path: Path) -> None:
    benchmark_rows.write_wavs(tmp_path, *(row["audio_path"] for row in benchmark_rows.MMAR))
    rows = [
        row | {"url": math.nan if number % 2 else "nan"}
        for number, row in enumerate(benchmark_rows.MMAR)
    ]
    (tmp_path / "m.json").write_text(json.dumps(rows), encoding="utf-8")
    found = benchmarks.read(corpus_params(source="mmar", path=str(tmp_path), manifest="m.json"), 1)
    assert len(found.splits) == len(rows)
    pq.write_table(pa.table({"a": [1.0, math.nan], "B ": ["x", None]}), tmp_path / "x.parquet")
    assert list(parquet_rows.rows(tmp_path / "x.parquet")) == [
        ("row 1", {"a": 1.0, "b": "x"}),
        ("row 2", {}),
    ]


def test_an_empty_split_or_transcript_is_none(root: Path) -> None:
    found = read_jsonl(root, *rows_of(4, split="nan", transcript=math.nan))
    assert sorted(found.splits.values()) == ["test", "test", "train", "train"]
    assert [clip.transcript for clip in found.clips] == [None] * 4


def counted(values: list[Any], **changes: object) -> list[dict[str, Any]]:
    return [
        row | {"answer": value}
        for row, value in zip(rows_of(len(values), **changes), values, strict=True)
    ]


def in_columns(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    columns = {f"choice_{number}": text for number, text in enumerate(ROW["choices"], start=1)}
    return [
        {name: value for name, value in row.items() if name != "choices"} | columns for row in rows
    ]


FROM_1 = [1, 2, 3, 1, 2, 3]
LABELLED = {"choices": ["1. red", "2. blue", "3. green"]}


@pytest.mark.parametrize("empty", ["nan", "NaN", "#N/A", "1.#QNAN", "NaT"])
def test_what_means_an_empty_cell_is_no_question_and_no_choice(root: Path, empty: str) -> None:
    assert only_reason(read_jsonl(root, ROW | {"question": empty})) == "field 'question' is empty"
    assert (
        only_reason(read_jsonl(root, ROW | {"choices": ["red", empty, "blue"], "answer": "red"}))
        == "choice 2 is empty"
    )


@pytest.mark.parametrize("answer", [2.0, "2.0", "2", "02"])
@pytest.mark.parametrize("choices", [[1.0, 2.0, 4.0], ["1.0", "2.0", "4.0"], "[1.0, 2.0, 4.0]"])
def test_a_number_that_is_a_choice_is_that_choice_or_asked_about(
    root: Path, choices: object, answer: object
) -> None:
    """It was read as the place of another choice, silently."""
    found = read_jsonl(root, ROW | {"choices": choices, "answer": answer})
    if isinstance(answer, str):
        assert float(only_question(found).answer) == 2
    else:
        assert "is the text of one choice and the letter or number of another" in only_reason(found)


def test_columns_that_count_from_0_are_all_read(root: Path) -> None:
    row = {name: value for name, value in ROW.items() if name != "choices"}
    row |= {"choice_0": "red", "choice_1": "blue", "choice_2": "green", "answer": 0}
    asked = only_question(read_jsonl(root, row))
    assert asked.choices == ("red", "blue", "green")
    assert asked.answer == "red"


def test_groups_that_are_one_number_are_one_group(root: Path) -> None:
    rows = [
        row | {"group": group}
        for row, group in zip(rows_of(4), ["1", "1.0", " 1", 1.0], strict=True)
    ]
    assert {clip.group for clip in read_csv(root, *rows).clips} == {"1"}
    assert {clip.group for clip in read_jsonl(root, *rows).clips} == {"1"}
    assert corpus_params(test_groups=[1.0, "Zoe\u0308"]).test_groups == ("1", "Zo\u00eb")


@pytest.mark.parametrize(
    ("rows", "first"),
    [
        (counted(FROM_1), 1),
        (counted([str(value) for value in FROM_1]), 1),
        (counted([float(value) for value in FROM_1]), 1),
        (counted([f"{value}.0" for value in FROM_1]), 1),
        (counted([3]), 1),
        (counted([0, 3, 3, 1]), 1),  # one slip among many
        (counted([0, 3, 1, 2]), 1),  # as many for one as for the other
        (counted([1, 2], choices=["red", "blue"]), 1),
        (counted([0, 1, 2], **LABELLED), 0),
        (in_columns(counted([0, 1, 2])), 0),
    ],
)
def test_numbers_that_count_from_another_one_are_asked_about(
    root: Path, rows: list[dict[str, Any]], first: int
) -> None:
    with pytest.raises(
        UserError,
        match=(
            rf"manifest\.jsonl: .* seem to count from {first}\. State it:"
            rf" corpus\.answers_from={first},"
        ),
    ):
        read_jsonl(root, *rows)
    read_as = {base: read_stated(root, rows, base) for base in (0, 1)}
    assert read_as[first] != read_as[1 - first]
    wanted = [int(float(row["answer"])) - first for row in rows]
    colours = ("red", "blue", "green")
    assert read_as[first] == {
        row["id"]: colours[index] for row, index in zip(rows, wanted, strict=True) if 0 <= index < 3
    }


def read_stated(root: Path, rows: list[dict[str, Any]], first: int) -> dict[str, str]:
    (root / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = folder.read(
        corpus_params(source="folder", path=str(root), manifest="m.jsonl", answers_from=first), 1
    )
    return {asked.question_id: asked.answer for clip in found.clips for asked in clip.questions}


@pytest.mark.parametrize(
    ("rows", "right"),
    [
        (counted([0, 1, 2]), ["red", "blue", "green"]),
        (counted([0.0, 2.0]), ["red", "green"]),
        (counted(["0.0", "2.0"]), ["red", "green"]),
        (counted([1, 2, 1]), ["blue", "green", "blue"]),  # nothing tells
        (counted([1, 2, 3], **LABELLED), ["red", "blue", "green"]),
        (in_columns(counted([1, 2, 3])), ["red", "blue", "green"]),
        (counted(["A", "B", "C"]), ["red", "blue", "green"]),
        (counted(["3", "3", "3"], choices=["1", "2", "3"]), ["3", "3", "3"]),
        (counted([3, 3], choices=["1", "3", "5"]), ["3", "3"]),
    ],
)
def test_numbers_that_fit_are_read(
    root: Path, rows: list[dict[str, Any]], right: list[str]
) -> None:
    found = read_jsonl(root, *rows)
    assert not found.quarantined
    assert [asked.answer for clip in found.clips for asked in clip.questions] == right


def test_an_odd_number_among_good_ones_is_quarantined_alone(root: Path) -> None:
    found = read_jsonl(root, *counted([0, 3, 1, 0]))
    assert [row.row for row in found.quarantined] == ["manifest.jsonl:2 (id q1)"]
    assert len(found.clips) == 3
    assert read(root).splits == found.splits
