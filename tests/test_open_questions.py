"""Tests of open questions and chains of steps from a manifest to a trained student, and of the
base's sampled responses.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echodistill.core.errors import UserError
from echodistill.core.records import Question, write_rows
from echodistill.data import folder
from echodistill.data.memory import Example, MemoryCorpus
from echodistill.data.sources import SourceClips
from echodistill.data.store import Corpus
from echodistill.evaluation.given_answers import right_answer
from echodistill.evaluation.skill import SampledSkill, Skill
from echodistill.gates.base import base_checks
from echodistill.gates.runner import validate
from echodistill.inference.sampled import sampled_skill
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.base import prompt_about_text, prompt_of
from echodistill.models.loading import load
from echodistill.models.prompts import CHAIN_INSTRUCTION
from echodistill.models.response_limit import OPEN_TOKENS, corpus_limit
from echodistill.models.responses import choice_ids
from echodistill.params.gates import PolicyGate
from echodistill.training.metrics_file import read_metrics
from echodistill.training.pretrain import target_of
from echodistill.training.train import train_student
from tests import gate_world as w
from tests.conftest import write_corpus
from tests.corpus_params import corpus_params
from tests.folders import ROW, write_recordings
from tests.test_trainer import settings_of, source_of

OPEN_ROW = {name: value for name, value in ROW.items() if name != "choices"} | {"answer": "Two."}
CHAIN = Question(
    "q", "c", "train", "What is the sum?", (), "8", None, "chain", "reason", "3: 3, 5: 8"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_recordings(tmp_path)


def read_open(root: Path, *rows: dict[str, object], is_open: bool = True) -> SourceClips:
    text = "\n".join(json.dumps(row) for row in rows)
    (root / "manifest.jsonl").write_text(text, encoding="utf-8")
    return folder.read(
        corpus_params(source="folder", path=str(root), open_questions=is_open, test_share=0.4), 1
    )


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"choices": None},
        {"choices": []},
        {"choices": ""},
        {"choice_a": "", "choice_b": None},
    ],
)
def test_a_row_without_choices_is_open_where_that_is_stated(
    root: Path, given: dict[str, object]
) -> None:
    (clip,) = read_open(root, OPEN_ROW | given).clips
    (question,) = clip.questions
    assert (question.choices, question.answer) == ((), "Two.")
    closed = read_open(root, OPEN_ROW | given, is_open=False)
    assert not closed.clips
    assert "choices" in closed.quarantined[0].reason


def test_rows_with_and_without_choices_live_in_one_manifest(root: Path) -> None:
    found = read_open(root, ROW, OPEN_ROW | {"id": "q2"})
    (clip,) = found.clips
    assert [len(one.choices) for one in clip.questions] == [3, 0]


@pytest.mark.parametrize("answer", ["...", "—", "?!"])
def test_an_open_answer_without_letter_and_digit_is_quarantined(root: Path, answer: str) -> None:
    (fault,) = read_open(root, OPEN_ROW | {"answer": answer}).quarantined
    assert "no letter and no digit" in fault.reason


def test_a_caption_is_kept_with_the_clip_and_must_be_one(root: Path) -> None:
    (clip,) = read_open(root, OPEN_ROW | {"caption": "a siren"}).clips
    assert clip.caption == "a siren"
    rows = [OPEN_ROW | {"caption": "a siren"}, OPEN_ROW | {"id": "q2", "caption": "a horn"}]
    (fault,) = read_open(root, *rows).quarantined
    assert "another caption" in fault.reason


def test_examples_in_memory_may_be_open() -> None:
    clip = np.ones(8_000, np.float32)
    corpus = MemoryCorpus({"train": [Example(clip, "How many?", (), "two", caption="a horn")]})
    (question,) = corpus.questions.values()
    assert (question.choices, question.answer_index) == ((), None)
    assert corpus.text_of("train-000000") == "Sound: a horn"
    with pytest.raises(UserError, match="no letter"):
        MemoryCorpus({"train": [Example(clip, "How many?", (), "...")]})


def test_the_text_of_prompts_and_targets_in_both_styles() -> None:
    direct = replace(CHAIN, style="direct")
    assert prompt_of(direct, None).text == "What is the sum?"
    assert prompt_of(CHAIN, None).text == f"What is the sum?\n{CHAIN_INSTRUCTION}"
    about = prompt_about_text(CHAIN, "Transcript: three five").text
    assert about == f"Transcript: three five\nWhat is the sum?\n{CHAIN_INSTRUCTION}"
    assert target_of(direct) == "8"
    assert target_of(CHAIN) == "3: 3, 5: 8. Answer: 8"
    assert target_of(replace(CHAIN, solution=None)) == "Answer: 8"


def test_the_limit_of_responses_has_room_for_the_worked_solution(tiny_llm: AudioLLM) -> None:
    worked = len(tiny_llm.tokenizer("3: 3, 5: 8. Answer: 8")["input_ids"]) + 1
    assert corpus_limit(tiny_llm.tokenizer, [CHAIN], None) == worked + 16
    assert corpus_limit(tiny_llm.tokenizer, [replace(CHAIN, solution=None)], None) == OPEN_TOKENS


@pytest.fixture(scope="module")
def chain_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The corpus of tones, with half of the questions open, all of which ask for a chain."""
    corpus = write_corpus(
        tmp_path_factory.mktemp("chain") / "corpus", {"train": 12, "validation": 6, "test": 6}
    )
    rows = [
        replace(row, style="chain", task="reason", solution=f"tone: {row.answer}")
        if number % 2
        else replace(row, style="chain", choices=(), answer_index=None)
        for number, row in enumerate(corpus.questions.values())
    ]
    write_rows(corpus.folder / "questions.parquet", Question, rows)
    return Corpus(corpus.folder)


def test_choices_are_scored_in_the_form_of_the_style(
    chain_corpus: Corpus, tiny_llm: AudioLLM
) -> None:
    from echodistill.models.responses import respond

    question = next(row for row in chain_corpus.questions.values() if row.choices)
    prompt = prompt_of(question, chain_corpus.waveform(question.clip_id))
    (response,) = respond(tiny_llm, [prompt], 4)
    wanted = [len(ids) for ids in choice_ids(tiny_llm, [f"Answer: {c}" for c in question.choices])]
    assert list(response.choice_tokens) == wanted


@pytest.mark.parametrize("method", ["echodistill", "grpo", "sft", "srpo"])
def test_chains_and_open_questions_train(
    method: str, tiny_llm: AudioLLM, chain_corpus: Corpus, tmp_path: Path
) -> None:
    tiny_llm.save(tmp_path / "base")
    llm = load(str(tmp_path / "base"), device="cpu")
    settings = settings_of(method=method)
    reward = settings.reward.model_copy(update={"format_weight": 0.5, "open": "overlap"})
    settings = settings.model_copy(update={"steps": 2, "reward": reward})
    train_student(
        llm, source_of(chain_corpus, llm), settings, 6, 1, tmp_path / "run", lambda *_: None
    )
    rows = read_metrics(tmp_path / "run/metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2]
    if method != "sft":
        for row in rows:
            parts = row["rewards/overlap_reward/mean"] + 0.5 * row["rewards/format_reward/mean"]
            assert row["reward"] == pytest.approx(parts, abs=1e-6)


def test_sampled_skill_counts_right_samples_of_each_question(
    chain_corpus: Corpus, tiny_llm: AudioLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = chain_corpus.questions_of("validation")[:3]
    monkeypatch.setenv("ECHODISTILL_DEVICE_BATCH", "64")
    right = {row.question_id: right_answer(row.answer, row.choices) for row in questions}
    asked = [row.question_id for row in questions for _ in range(2)]
    sampled = [True, False, False, False, True, True]
    greedy, text = [True, False, True], [True, True, True]
    outcomes = iter(
        [
            *zip(asked, sampled, strict=True),
            *zip(right, greedy, strict=True),
            *zip(right, text, strict=True),
        ]
    )

    def decoded(_llm: object, _ids: object) -> str:
        question_id, is_right = next(outcomes)
        return f"Answer: {right[question_id] if is_right else 'something else'}"

    monkeypatch.setattr("echodistill.inference.sampled.decode", decoded)
    found = sampled_skill(tiny_llm, chain_corpus, questions, 2, 4, 1)
    assert found == SampledSkill(
        questions=3,
        samples=2,
        pass_at_1=3 / 6,
        pass_at_k=2 / 3,
        mixed_share=1 / 3,
        clean_acc=2 / 3,
        text_acc=1.0,
    )


def test_samples_are_drawn_again_by_the_same_seed(chain_corpus: Corpus, tiny_llm: AudioLLM) -> None:
    questions = chain_corpus.questions_of("validation")
    first, second = (sampled_skill(tiny_llm, chain_corpus, questions, 4, 4, 7) for _ in range(2))
    assert first == second
    with pytest.raises(ValueError, match="no questions"):
        sampled_skill(tiny_llm, chain_corpus, [], 4, 4, 7)


GOOD = SampledSkill(100, 4, 0.5, 0.7, 0.45, 0.6, 0.7)
LIMITS = PolicyGate(
    clean_acc=(0.55, 0.75), min_pass_ratio=1.3, min_mixed_share=0.4, text_above_audio=True
)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({}, ""),
        ({"clean_acc": 0.5}, "clean accuracy is 0.55 to 0.75"),
        ({"clean_acc": 0.8, "text_acc": 0.9}, "clean accuracy is 0.55 to 0.75"),
        ({"pass_at_k": 0.6}, "pass@4 is at least 1.3 times pass@1"),
        ({"mixed_share": 0.39}, "at least 40 % of the groups"),
        ({"text_acc": 0.6}, "the base answers better with text"),
        ({"text_acc": None}, "the base answers better with text"),
    ],
)
def test_the_gate_of_the_sampled_responses(
    changed: dict[str, Any], fault: str, tmp_path: Path
) -> None:
    skill = Skill(0.9, 400, "validation", 0.25, 0.0, 0.0, 1.0, 240)
    facts = {"model": "nano", "parameters": 9, "losses": [3.0, 1.0], **asdict(skill)}
    facts["sampled"] = asdict(replace(GOOD, **changed))
    w.write_json(tmp_path / w.BASE, facts)
    gates = w.PARAMS.gates.model_copy(update={"policy": LIMITS})
    params = w.PARAMS.model_copy(update={"gates": gates})
    text = validate("base", base_checks(tmp_path / "base", params), docs=None).text
    assert (fault in text) if fault else not text
