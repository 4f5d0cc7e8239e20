"""Manifests as people and benchmarks write them. A bad row is quarantined with its reason, never
dropped.
"""

import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from echodistill.audio.files import write_wav
from echodistill.core.errors import UserError
from echodistill.core.records import Quarantined, write_rows
from echodistill.data.sources import SourceQuestion
from tests.folders import (
    ROW,
    hum,
    only_question,
    only_reason,
    read,
    read_jsonl,
    without,
    write_recordings,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_recordings(tmp_path)


# manifests


def test_a_plain_row(root: Path) -> None:
    found = read_jsonl(root, ROW)
    assert only_question(found) == SourceQuestion("q1", "Which?", ("red", "blue", "green"), "blue")
    (clip,) = found.clips
    decoded, sha256 = clip.read()
    assert decoded.waveform == pytest.approx(hum(0.1), abs=1e-6)
    assert sha256 == hashlib.sha256((root / "a.wav").read_bytes()).hexdigest()
    assert (clip.clip_id, clip.group, clip.source) == ("a.wav", "a.wav", str(root / "a.wav"))


def test_mmau(root: Path) -> None:
    """A JSON list; its ``split`` names the benchmark's part and is no split."""
    rows = [
        {
            "id": f"3fe6-{name}",
            "audio_id": f"./{name}.wav",
            "question": "What was heard last?",
            "choices": ["(A) Rain", "(B) Rattle"],
            "answer": "(B) Rattle",
            "dataset": "AudioCaps",
            "task": "sound",
            "split": "test-mini",
            "sub-category": "Temporal",
            "difficulty": "medium",
        }
        for name in "abcd"
    ]
    (root / "mmau.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    found = read(root, "mmau.json")
    assert not found.quarantined
    assert [clip.questions[0].choices for clip in found.clips] == [("Rain", "Rattle")] * 4
    assert [clip.questions[0].answer for clip in found.clips] == ["Rattle"] * 4
    assert sorted(found.splits.values()) == ["test", "test", "train", "train"]


def test_an_ignored_split_is_reported(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read_jsonl(root, ROW | {"split": "test-mini"})
    assert "test-mini is none of train, validation, decision, test" in capsys.readouterr().out


def test_mmar(root: Path) -> None:
    row = ROW | {
        "audio_path": "./sub/e.wav",
        "modality": "speech",
        "category": "Signal Layer",
        "url": "x",
        "timestamp": "00:01,00:02",
    }
    found = read_jsonl(root, row)
    assert only_question(found).answer == "blue"
    assert found.clips[0].clip_id == "sub/e.wav"


def test_seen_like(root: Path) -> None:
    """``metadata.csv``: choices as Python text, a letter as answer, audio without its suffix, a
    byte-order mark, CRLF.
    """
    text = (
        'id,audio_id,question,choices,answer\r\n7,a,"Which, of\nthese?","[\'red\', ""it\'s'
        ' blue""]",B\r\n'
    )
    (root / "metadata.csv").write_bytes(text.encode("utf-8-sig"))
    question = only_question(read(root, "metadata.csv"))
    assert question == SourceQuestion("7", "Which, of\nthese?", ("red", "it's blue"), "it's blue")


def test_field_names_in_any_case(root: Path) -> None:
    assert (
        only_question(read_jsonl(root, {key.upper(): value for key, value in ROW.items()})).answer
        == "blue"
    )


def test_a_line_separator_inside_a_text_ends_no_row(root: Path) -> None:
    assert (
        only_question(
            read_jsonl(root, json.dumps(ROW | {"question": "a\u2028b"}, ensure_ascii=False))
        ).question
        == "a\u2028b"
    )


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff", "[]"])
def test_an_empty_manifest(root: Path, content: str) -> None:
    (root / "manifest.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"manifest\.jsonl is empty"):
        read(root)


def test_a_csv_of_a_header_only(root: Path) -> None:
    (root / "m.csv").write_text("id,audio_path\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"m\.csv is empty"):
        read(root, "m.csv")


def test_a_missing_manifest(root: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.jsonl: No such file.*corpus\.manifest"):
        read(root, "nowhere.jsonl")
    with pytest.raises(UserError, match=r"sub: Is a directory"):
        read(root, "sub")


def test_a_manifest_that_is_not_utf8(root: Path) -> None:
    (root / "m.csv").write_bytes("id,question\n1,größer".encode("latin-1"))
    with pytest.raises(UserError, match=r"m\.csv: byte 16 is not UTF-8"):
        read(root, "m.csv")


def test_a_manifest_of_another_format(root: Path) -> None:
    (root / "m.xlsx").write_bytes(b"x")
    with pytest.raises(UserError, match=r"m\.xlsx: the name of a manifest ends in"):
        read(root, "m.xlsx")
    (root / "m.json").write_text('[{"id": 1},', encoding="utf-8")
    with pytest.raises(UserError, match=r"m\.json is not valid JSON"):
        read(root, "m.json")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[{"id": 1},', "item 2"),
        ('[{"id": 1}, {"id": 2,}, {"id": 3}]', "item 2"),
        ('[{"id": 1},\n {"id": 2}\n {"id": 3}]', "after item 2"),
        ("[", "item 1"),
    ],
)
def test_the_item_of_a_list_that_is_no_json_is_named(root: Path, text: str, place: str) -> None:
    (root / "m.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=rf"m\.json is not valid JSON: {place}: Expecting"):
        read(root, "m.json")


def test_a_row_that_is_no_json_is_named_by_its_own_line(root: Path) -> None:
    (fault,) = read_jsonl(root, ROW, '{"id" "q2"}').quarantined
    assert fault.row == "manifest.jsonl:2"
    assert fault.reason == "not valid JSON: Expecting ':' delimiter at column 7"


def test_an_open_quotation_mark_swallows_no_rows(root: Path) -> None:
    (root / "m.csv").write_text(
        'id,audio_path,question,choices,answer\n1,a,Q,"[1,2]",1\n2,a,"Q,"[1,2]",1\n3,a,Q,x,1\n',
        encoding="utf-8",
    )
    with pytest.raises(UserError, match=r"m\.csv:3: .*quotation marks"):
        read(root, "m.csv")


# bad rows


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"id": "q1",', "not valid JSON"),
        ('["q1"]', "not a JSON object"),
        pytest.param("[" * 100_000, "not valid JSON", id="deep"),
        ('{"id": "q1", "id": "q2"}', "field 'id' is given twice"),
        (without("id"), "no field 'id'"),
        (without("audio_path"), "no field 'audio_path' or 'audio_id'"),
        (without("question"), "no field 'question'"),
        (without("choices"), "no field 'choices' among id, audio_path, question, answer"),
        (without("answer"), "no field 'answer' among id, audio_path, question, choices"),
        (ROW | {"question": "  "}, "no field 'question'"),
        (ROW | {"question": None}, "no field 'question'"),
        (ROW | {"question": ["Which?"]}, "field 'question' is a list, not text"),
        (ROW | {"question": "\ud800"}, "lone surrogate"),
        (ROW | {"audio_path": "../a.wav"}, "is outside the folder"),
        (ROW | {"audio_path": "sub/../../a.wav"}, "is outside the folder"),
        (ROW | {"audio_path": "/etc/passwd"}, "is outside the folder"),
        (ROW | {"audio_path": "none.wav"}, "no such audio file: none.wav"),
        (ROW | {"audio_path": "sub"}, "no such audio file: sub"),
        (ROW | {"audio_path": "a\0.wav"}, "no such audio file"),
        (ROW | {"audio_path": "a" * 5000}, "no such audio file"),
        (ROW | {"choices": "red, blue"}, "is no list"),
        (ROW | {"choices": {"A": "red", "B": "blue"}}, "is no list"),
        (ROW | {"choices": ["red", ["blue"]]}, "is no list"),
        (ROW | {"choices": ["blue"]}, "1 choice; 2 to 26"),
        (ROW | {"choices": []}, "0 choices"),
        (ROW | {"choices": [f"c{n}" for n in range(27)]}, "27 choices"),
        (ROW | {"choices": ["red", "blue", ""]}, "choice 3 is empty"),
        (ROW | {"choices": ["red", "blue", None]}, "choice 3 is null"),
        (ROW | {"choices": ["red", "blue", "Red."]}, "choice 'red' is given twice"),
        (ROW | {"choices": ["A. red", "B. red"], "answer": "A"}, "choice 'red' is given twice"),
        (ROW | {"answer": "purple"}, "answer 'purple' is not among the choices"),
        (ROW | {"answer": "D"}, "not among"),
        (ROW | {"answer": 4}, "not among"),
        (ROW | {"answer": -1}, "not among"),
        (ROW | {"answer": "4"}, "not among"),
        (ROW | {"answer": "9" * 5000}, "not among"),
        (ROW | {"answer": ["blue"]}, "field 'answer' is a list"),
        (ROW | {"answer": "(A) blue"}, "the letter is not that choice's"),
        (ROW | {"answer": "(E) blue"}, "the letter is not that choice's"),
        (
            ROW | {"choices": ["C", "A", "B"], "answer": "A"},
            "the text of one choice and the letter or number of another",
        ),
        (
            ROW | {"choices": ["2", "3", "1"], "answer": 2},
            "the text of one choice and the letter or number of another",
        ),
    ],
)
def test_a_bad_row_is_quarantined(root: Path, tmp_path: Path, row: object, reason: str) -> None:
    good = ROW | {"id": "good", "audio_path": "b.wav"}
    found = read_jsonl(root, "", good, row)
    assert [clip.clip_id for clip in found.clips] == ["b.wav"]
    (bad,) = found.quarantined
    assert reason in bad.reason
    names_id = isinstance(row, dict) and "id" in row
    assert bad.row == ("manifest.jsonl:3 (id q1)" if names_id else "manifest.jsonl:3")
    write_rows(tmp_path / "quarantine.parquet", Quarantined, found.quarantined)


def test_an_id_that_is_given_twice(root: Path) -> None:
    found = read_jsonl(root, ROW, ROW | {"audio_path": "b.wav"})
    assert [clip.clip_id for clip in found.clips] == ["a.wav"]
    assert found.quarantined == [Quarantined("manifest.jsonl:2 (id q1)", "the id is given twice")]


def test_csv_rows_are_named_by_their_first_line(root: Path) -> None:
    text = (
        'id,audio_path,question,choices,answer\n1,a,"two\nlines","[1, 2]",1\n\n2,a,Q,"[1,'
        ' 2]",7\n3,a,Q,[1, 2],1\n4,a\n'
    )
    (root / "m.csv").write_text(text, encoding="utf-8")
    found = read(root, "m.csv")
    assert [row.row for row in found.quarantined] == ["m.csv:5 (id 2)", "m.csv:6", "m.csv:7 (id 4)"]
    assert "6 cells in 5 columns" in found.quarantined[1].reason
    assert "no field 'question'" in found.quarantined[2].reason


def test_damaged_audio_surfaces_when_read(root: Path) -> None:
    (root / "a.wav").write_bytes(b"text")
    (clip,) = read_jsonl(root, ROW).clips
    with pytest.raises(UserError, match=r"a\.wav: not an audio file"):
        clip.read()


def test_a_recording_longer_than_allowed_is_refused(root: Path) -> None:
    write_wav(root / "a.wav", np.full(17_000, 0.1, dtype=np.float32))
    (clip,) = read_jsonl(root, ROW).clips
    with pytest.raises(UserError, match=r"longer than the allowed 1 s"):
        clip.read()


def test_a_neighbour_whose_name_begins_alike_is_outside(root: Path) -> None:
    beside = root.with_name(root.name + "-more")
    beside.mkdir()
    write_wav(beside / "a.wav", np.full(8_000, 0.1, dtype=np.float32))
    assert "is outside the folder" in only_reason(
        read_jsonl(root, ROW | {"audio_path": f"../{beside.name}/a.wav"})
    )


def test_links_inside_the_folder_are_followed(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Data version tools link files into the folder from a cache."""
    elsewhere = tmp_path_factory.mktemp("cache") / "x"
    os.replace(root / "a.wav", elsewhere)
    (root / "a.wav").symlink_to(elsewhere)
    assert only_question(read_jsonl(root, ROW)).answer == "blue"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "m.json",
            '{\n "id": "q1",\n "question": "Which?"\n}',
            "holds one object over several lines",
        ),
        ("m.json", '{"data": [{"id": "q1"}]}', "holds its rows under the key 'data'"),
        (
            "m.csv",
            "id;question;answer\nq1;Which?;red\n",
            "its columns are separated by ';': save it with commas",
        ),
        ("m.csv", "id\tquestion\tanswer\nq1\tWhich?\tred\n", r"its columns are separated by '\t'"),
    ],
)
def test_a_manifest_of_another_form_is_reported_with_the_cure(
    root: Path, name: str, text: str, message: str
) -> None:
    (root / name).write_text(text)
    with pytest.raises(UserError, match=re.escape(f"{root / name}")) as caught:
        read(root, manifest=name)
    assert message in str(caught.value)


@pytest.mark.parametrize("row", ["5", "null", '"x"', "true"])
def test_a_scalar_is_no_row(root: Path, row: str) -> None:
    assert "not a JSON object" in only_reason(read_jsonl(root, row))


def test_one_row_with_a_list_of_objects_is_a_row(root: Path) -> None:
    assert not read_jsonl(root, ROW | {"segments": [{"start": 0}]}).quarantined


@pytest.mark.parametrize("name", ["../m.jsonl", "/tmp/m.jsonl", "sub/../../m.jsonl"])
def test_a_manifest_elsewhere_is_refused(root: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"is outside corpus\.path"):
        read(root, manifest=name)
