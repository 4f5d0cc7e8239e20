"""A question that holds a control token of the very tokenizer that reads it is refused before
anything is trained on it.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from echodistill.core.errors import UserError
from echodistill.core.records import Question, write_rows
from echodistill.data.store import Corpus
from echodistill.inference.single_clip import answer
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.control_tokens import check_questions, control_tokens
from echodistill.stages.base import base
from echodistill.stages.entry import params_view
from tests.test_stages import params_of

ASKED = Question("q1", "c1", "train", "Which?", ("low", "high"), "low", 0)


@pytest.fixture
def tokenizer(tiny_llm: AudioLLM, tmp_path: Path) -> PreTrainedTokenizerFast:
    """One that knows other control tokens than those between bars."""
    tiny_llm.tokenizer.save_pretrained(tmp_path / "tokenizer")
    made = PreTrainedTokenizerFast.from_pretrained(tmp_path / "tokenizer")
    made.add_special_tokens({"bos_token": "<s>", "unk_token": "[UNK]"})
    made.add_tokens(
        [AddedToken("<start_of_turn>", special=True), AddedToken("plain", special=False)]
    )
    return made


@pytest.mark.parametrize("token", ["<s>", "[UNK]", "<start_of_turn>", "<|im_end|>", "<|AUDIO|>"])
def test_any_control_token_of_the_tokenizer_is_found(
    tokenizer: PreTrainedTokenizerFast, token: str
) -> None:
    assert token in control_tokens(tokenizer)
    for row in (replace(ASKED, question=f"Which{token}?"), replace(ASKED, choices=("low", token))):
        with pytest.raises(UserError, match=r"question q1 holds .* a control token of the model"):
            check_questions(tokenizer, [ASKED, row])


def test_what_is_a_word_to_the_tokenizer_is_none(
    tokenizer: PreTrainedTokenizerFast, tiny_llm: AudioLLM
) -> None:
    check_questions(tokenizer, [replace(ASKED, question="A plain one?", choices=("<b>", "[x]"))])
    check_questions(tiny_llm.tokenizer, [replace(ASKED, question="<s> or [UNK]?")])


def test_a_base_is_not_trained_on_it(
    tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A corpus that was made before such rows were quarantined."""
    monkeypatch.chdir(tmp_path)
    rows = [replace(row, question="Which <|AUDIO|>?") for row in tiny_corpus.questions.values()]
    spoiled = tmp_path / "spoiled"
    spoiled.mkdir()
    write_rows(spoiled / "questions.parquet", Question, rows)
    (spoiled / "clips.parquet").write_bytes((tiny_corpus.folder / "clips.parquet").read_bytes())
    params = params_view(params_of(), ("seed", "corpus", "base", "generation"))
    with pytest.raises(UserError, match=r"question train-0-q holds '<\|AUDIO\|>', a control token"):
        base(params, tmp_path / "base", spoiled)


def test_nor_is_a_model_asked(tiny_llm: AudioLLM, tiny_corpus: Corpus) -> None:
    waveform = tiny_corpus.waveform("test-0")
    for question, choices in (
        ("Which <|AUDIO|>?", ["low", "high"]),
        ("Which?", ["low", "<|im_end|>"]),
    ):
        with pytest.raises(UserError, match="a control token of the model"):
            answer(tiny_llm, waveform, question, choices, None)
