"""Choices as NumPy prints them, and texts that no model may be given: control tokens, half
characters.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from echodistill.core.errors import UserError
from echodistill.models.prompts import control_token, validate_question
from tests.folders import ROW, only_question, only_reason, read_csv, read_jsonl, write_recordings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_recordings(tmp_path)


@pytest.mark.parametrize(
    ("choices", "texts"),
    [
        ("['red' 'blue']", ("red", "blue")),
        ("['red'\n 'blue'\n 'green']", ("red", "blue", "green")),
        ('["red" "blue"]', ("red", "blue")),
        ("[\"it's blue\" 'red']", ("it's blue", "red")),
        ("array(['red', 'blue'], dtype=object)", ("red", "blue")),
        ("array(['red', 'blue'],\n      dtype='<U4')", ("red", "blue")),
        ("np.array(['red' 'blue'])", ("red", "blue")),
        ("[np.str_('red'), np.str_('blue')]", ("red", "blue")),
        ("[b'red' b'blue']", ("red", "blue")),
        ("[1 2 3]", ("1", "2", "3")),
        ("[-1 2]", ("-1", "2")),
        ("[np.int64(4), np.int64(2)]", ("4", "2")),
        ("['a, b' 'c']", ("a, b", "c")),
        ("['red', 'blue',]", ("red", "blue")),
        ("[u'red', u'blue']", ("red", "blue")),
        (str(np.array(["red", "it's\tblue", 'a "b"'])), ("red", "it's\tblue", 'a "b"')),
        (repr(np.array(["red", "blue"], dtype=object)), ("red", "blue")),
        (str(list(np.array(["red", "blue"]))), ("red", "blue")),
    ],
)
def test_a_list_as_numpy_prints_it(root: Path, choices: str, texts: tuple[str, ...]) -> None:
    for read in (read_jsonl, read_csv):
        assert (
            only_question(read(root, ROW | {"choices": choices, "answer": texts[0]})).choices
            == texts
        )


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ("['red' 'blue', 'green']", "two texts without a comma between"),
        ("['red', 'blue' 'green', 'black']", "two texts without a comma between"),
        ("[red blue]", "is no list of texts"),
        ("[['red' 'blue']]", "is no list of texts"),
        ("'red' 'blue'", "is no list of texts"),
        ("['red' + 'blue']", "is no list of texts"),
        ("[1-2]", "is no list of texts"),
        ("['red' 'blue'", "is no list of texts"),
        ("print(['red' 'blue'])", "is no list of texts"),
        ("[f'red' 'blue']", "is no list of texts"),
        ("[b'r\u00ef' b'blue']", "is no list of texts"),
        ("[" * 300, "is no list of texts"),
    ],
)
def test_a_list_that_can_be_read_in_two_ways_is_quarantined(
    root: Path, choices: str, reason: str
) -> None:
    assert reason in only_reason(read_jsonl(root, ROW | {"choices": choices, "answer": 1}))


TOKENS = [
    "<|AUDIO|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|audio_bos|>",
    "<|0.00|>",
    "<|begin of text|>",
    "<｜end▁of▁sentence｜>",
    "<|en|>",
]


@pytest.mark.parametrize("token", TOKENS)
def test_a_control_token_is_never_given_to_a_model(root: Path, token: str) -> None:
    for field in (
        {"question": f"What{token} is it?"},
        {"question": token},
        {"choices": ["red", f"blue {token}"], "answer": "red"},
    ):
        assert f"{token!r} is a control token" in only_reason(read_jsonl(root, ROW | field))
    for question, choices in ((f"What {token}?", []), ("What?", ["red", token])):
        with pytest.raises(UserError, match="is a control token"):
            validate_question(question, choices)


@pytest.mark.parametrize(
    "text",
    ["a < b | c > d", "<unk>", "</s> in HTML", "|x|", "<||>", "5 <|> 3", "(A)|(B)", "<b>|</b>"],
)
def test_what_is_no_control_token_stays(root: Path, text: str) -> None:
    assert control_token(text) is None
    assert only_question(read_jsonl(root, ROW | {"question": text})).question == text


@pytest.mark.parametrize("half", ["\ud800", "a\udc00b"])
def test_half_a_character_is_quarantined_wherever_it_is(root: Path, half: str) -> None:
    for field in ("id", "question", "audio_path", "answer", "group", "split", "transcript"):
        assert "half a character" in only_reason(read_jsonl(root, ROW | {field: half}))
    assert "half a character" in only_reason(read_jsonl(root, ROW | {"choices": ["blue", half]}))
    only_reason(read_jsonl(root, json.dumps({half: 1}))).encode("utf-8")
    assert not read_jsonl(
        root, ROW | {half: half}
    ).quarantined  # fields that are not read may hold anything
    for question, choices in ((half, []), ("What?", ["red", half])):
        with pytest.raises(UserError, match="no valid text"):
            validate_question(question, choices)
