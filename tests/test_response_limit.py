"""One length limit for all responses: a perfect model's answers come out whole, everywhere,
whatever the choices.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2AudioForConditionalGeneration

from echodistill.core.errors import UserError
from echodistill.core.records import Answer, Question, Reference, read_rows, write_rows
from echodistill.data.store import Corpus
from echodistill.evaluation.choices import parse_choice
from echodistill.inference.single_clip import answer
from echodistill.models.audio_llm import AudioLLM, decode, encode
from echodistill.models.base import Prompt
from echodistill.models.generation import generate
from echodistill.models.response_limit import asked_limit, check_context, corpus_limit
from echodistill.models.responses import respond
from echodistill.params.whole import Params
from echodistill.stages import predict as predict_stage
from echodistill.stages.base import base
from echodistill.stages.entry import params_view
from echodistill.stages.mixes import mixes
from echodistill.stages.references import references
from echodistill.stages.train import train
from echodistill.training.metrics_file import read_metrics
from echodistill.training.run_folder import fingerprint
from tests.conftest import WORDS, write_corpus
from tests.test_stages import params_of
from tests.test_trainer import settings_of, source_of

MARGIN = 16
SENTENCES = {word: f"A steady tone of {word} pitch sounds from beginning to end" for word in WORDS}


class Words:
    """A tokenizer of one token a word."""

    def __call__(self, texts: list[str], add_special_tokens: bool) -> dict[str, list[list[int]]]:
        assert not add_special_tokens
        return {"input_ids": [[len(word) for word in text.split()] for text in texts]}


def question(split: str, choices: tuple[str, ...], text: str) -> Question:
    return Question("q", "c", split, "Which?", choices, text, 0)


def test_the_limit_counts_the_longest_choice_of_any_split() -> None:
    rows = [question("train", ("a", "b c"), "a"), question("test", ("d e f g", "h"), "h")]
    assert corpus_limit(Words(), rows, None) == 4 + 1 + MARGIN
    assert corpus_limit(Words(), rows[::-1], None) == 4 + 1 + MARGIN
    assert corpus_limit(Words(), rows[:1], None) == 2 + 1 + MARGIN


def test_without_choices_the_answer_counts_and_without_that_there_is_room() -> None:
    rows = [question("train", ("a", "b"), "a"), question("train", (), "one two three")]
    assert corpus_limit(Words(), rows, None) == 3 + 1 + MARGIN
    assert corpus_limit(Words(), [question("train", (), "word " * 300)], None) == 300 + 1 + MARGIN
    assert corpus_limit(Words(), [*rows, question("train", (), " ")], None) == 256
    assert asked_limit(Words(), (), None, "x") == 256
    assert asked_limit(Words(), ("a", "b c"), None, "x") == 2 + 1 + MARGIN


def test_a_given_limit_holds_if_every_choice_fits() -> None:
    rows = [question("train", ("a", "b c"), "a"), question("train", (), "one two three four")]
    assert [corpus_limit(Words(), rows, given) for given in (3, 500)] == [3, 500]
    assert asked_limit(Words(), ("a", "b c"), 3, "x") == 3
    assert asked_limit(Words(), (), 1, "x") == 1
    short = r"2 is too short: the choice 'b c' takes 3 tokens with its end token: give 3 or more"
    with pytest.raises(
        UserError, match=rf"^generation\.max_new_tokens: {short}, or null to derive it$"
    ):
        corpus_limit(Words(), rows, 2)
    with pytest.raises(UserError, match=rf"^--max-new-tokens: {short}, or leave it out$"):
        asked_limit(Words(), ("a", "b c"), 2, "--max-new-tokens")
    with pytest.raises(UserError, match=r"^x: 0 is too short: give 1 or more"):
        asked_limit(Words(), (), 0, "x")


def test_what_does_not_fit_the_context_is_refused_before_anything_is_generated(
    tiny_llm: AudioLLM, tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = Prompt(tiny_corpus.waveform("train-0"), "Which tone?", WORDS)
    batch = encode(tiny_llm, [prompt])
    room = 4096 - batch.input_ids.shape[1]
    check_context(tiny_llm.model, batch.input_ids.shape[1], room)
    monkeypatch.setattr(
        Qwen2AudioForConditionalGeneration,
        "generate",
        lambda *_args, **_options: pytest.fail("generated"),
    )
    fault = (
        rf"a response of up to {room + 1} do not fit the model's context of 4096: lower the limit"
    )
    with pytest.raises(UserError, match=fault):
        generate(tiny_llm, batch, room + 1)
    with pytest.raises(UserError, match=fault):
        respond(tiny_llm, [prompt], room + 1)
    from echodistill.models.loading import load
    from echodistill.training.train import train_student

    monkeypatch.undo()
    source = source_of(tiny_corpus, tiny_llm)
    tiny_llm.save(tmp_path / "base")
    monkeypatch.setattr(
        Qwen2AudioForConditionalGeneration,
        "generate",
        lambda *_args, **_options: pytest.fail("generated"),
    )
    llm = load(str(tmp_path / "base"), device="cpu")
    with pytest.raises(UserError, match="do not fit the model's context of 4096"):
        train_student(
            llm, source, settings_of(method="grpo"), 4096, 1, tmp_path, lambda _step, _metrics: None
        )


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A corpus whose choices are sentences, and whose questions differ."""
    folder = tmp_path_factory.mktemp("sentences") / "corpus"
    write_corpus(folder, {"train": 6, "validation": 3, "test": 3})
    rows = [
        replace(
            row,
            question=f"Which tone is in {row.clip_id}?",
            choices=tuple(SENTENCES[word] for word in row.choices),
            answer=SENTENCES[row.answer],
        )
        for row in read_rows(folder / "questions.parquet", Question)
    ]
    write_rows(folder / "questions.parquet", Question, rows)
    return Corpus(folder)


class Perfect:
    """Makes every model of the family answer right, in as many tokens as it is given; ``limits``
    are those it was given.
    """

    def __init__(self, corpus: Corpus, tokenizer: Any) -> None:
        self._gold = {row.question: row.answer for row in corpus.questions.values()}
        self._tokenizer = tokenizer
        self._generate = Qwen2AudioForConditionalGeneration.generate
        self.limits: list[int] = []

    def __call__(self, model: Any, input_ids: torch.Tensor | None = None, **options: Any) -> Any:
        assert input_ids is not None
        limit = options.get("max_new_tokens")
        self.limits.append(options["generation_config"].max_new_tokens if limit is None else limit)
        rows = [self._answer(ids) for ids in input_ids.tolist()]
        width = input_ids.shape[1]
        return self._generate(
            model,
            input_ids=input_ids,
            prefix_allowed_tokens_fn=lambda row, ids: [
                rows[row][min(len(ids) - width, len(rows[row]) - 1)]
            ],
            **options,
        )

    def _answer(self, prompt: list[int]) -> list[int]:
        (found,) = [
            gold for asked, gold in self._gold.items() if asked in self._tokenizer.decode(prompt)
        ]
        return [
            *self._tokenizer(found, add_special_tokens=False)["input_ids"],
            self._tokenizer.eos_token_id,
        ]


@pytest.fixture
def perfect(sentences: Corpus, tiny_llm: AudioLLM, monkeypatch: pytest.MonkeyPatch) -> Perfect:
    made = Perfect(sentences, tiny_llm.tokenizer)
    monkeypatch.setattr(
        Qwen2AudioForConditionalGeneration,
        "generate",
        lambda model, *args, **opts: made(model, *args, **opts),
    )
    return made


def prompts_of(corpus: Corpus) -> list[Prompt]:
    return [
        Prompt(corpus.waveform(row.clip_id), row.question, row.choices)
        for row in corpus.questions_of("test")
    ]


def test_eight_tokens_would_cut_every_sentence(
    perfect: Perfect, sentences: Corpus, tiny_llm: AudioLLM
) -> None:
    prompts = prompts_of(sentences)
    found = respond(tiny_llm, prompts, 8)
    assert all(one.truncated for one in found)
    assert all(
        parse_choice(decode(tiny_llm, one.token_ids), list(SENTENCES.values())) is None
        for one in found
    )


def test_a_perfect_models_sentences_are_whole_everywhere(
    mlflow_store: Path,
    perfect: Perfect,
    sentences: Corpus,
    tiny_llm: AudioLLM,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ECHODISTILL_CACHE", str(tmp_path / "cache"))
    tiny_llm.save(tmp_path / "model")
    longest = max(len(tiny_llm.tokenizer(text)["input_ids"]) for text in SENTENCES.values())
    assert longest > 20
    wanted = longest + 1 + MARGIN
    params: Params = params_of(
        base={"model": str(tmp_path / "model")},
        mixes={
            "kinds": ["gauss", "wind"],
            "unseen": ["wind"],
            "snrs_db": [0],
            "train_snrs_db": [0],
        },
        train={"steps": 1, "prompts_per_step": 2, "rollouts": 2, "method": "echodistill"},
    )

    def limits() -> set[int]:
        given, perfect.limits = set(perfect.limits), []
        return given

    corpus, made = (
        sentences.folder,
        {name: tmp_path / name for name in ("mixes", "base", "references", "student")},
    )
    mixes(params_view(params, ("seed", "mixes")), made["mixes"], corpus)
    base(params, made["base"], corpus)
    assert limits() == {wanted}
    assert json.loads((made["base"] / "base.json").read_text())["clean_acc"] == 1.0

    references(params, made["references"], corpus, made["base"])
    assert limits() == {wanted}
    taught = read_rows(made["references"] / "references.parquet", Reference)
    assert all(row.correct and not row.truncated for row in taught)

    train(params, made["student"], corpus, made["mixes"], made["base"], made["references"])
    assert limits() == {wanted}
    (row,) = read_metrics(made["student"] / "metrics.jsonl")
    assert (row["truncated_share"], row["reward"]) == (0.0, pytest.approx(1.0))

    facts: list[object] = []

    def noted(stage: str, settings: dict[str, object], inputs: dict[str, Path | None]) -> str:
        facts.append(settings)
        return fingerprint(stage, settings, inputs)

    monkeypatch.setattr(predict_stage, "fingerprint", noted)
    out = tmp_path / "answers.parquet"
    predict_stage.predict(
        params, "student", "test", out, corpus, made["mixes"], made["base"], made["student"]
    )
    assert limits() == {wanted}
    assert facts == [{"max_new_tokens": wanted, "split": "test"}]
    answers = read_rows(out, Answer)
    assert not any(row.truncated for row in answers)
    assert all(row.response == sentences.questions[row.question_id].answer for row in answers)
    assert all(row.response_tokens <= longest + 1 for row in answers)

    for prompt, asked in zip(prompts_of(sentences), sentences.questions_of("test"), strict=True):
        assert prompt.waveform is not None
        assert (
            answer(tiny_llm, prompt.waveform, prompt.question, prompt.choices, None) == asked.answer
        )
    assert limits() == {wanted}


@pytest.mark.parametrize(("limit", "share"), [(8, 1.0), (200, 0.0)])
def test_cut_rollouts_are_counted(
    limit: int,
    share: float,
    perfect: Perfect,
    sentences: Corpus,
    tiny_llm: AudioLLM,
    tmp_path: Path,
) -> None:
    from echodistill.models.loading import load
    from echodistill.training.train import train_student

    tiny_llm.save(tmp_path / "base")
    llm = load(str(tmp_path / "base"), device="cpu")
    source = source_of(sentences, llm)
    train_student(
        llm,
        source,
        settings_of(method="grpo", steps=1),
        limit,
        1,
        tmp_path,
        lambda _step, _metrics: None,
    )
    (row,) = read_metrics(tmp_path / "metrics.jsonl")
    assert (row["truncated_share"], row["completions/clipped_ratio"]) == (share, share)
