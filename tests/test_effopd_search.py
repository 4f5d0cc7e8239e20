"""The search of EffOPD along a direction, and the items on which it scores candidates."""

from collections.abc import Sequence
from typing import Any

import pytest

from echodistill.audio.mixing import Mix
from echodistill.audio.recordings import NoiseLibrary
from echodistill.data.store import Corpus
from echodistill.evaluation.choices import parse_choice
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.responses import respond
from echodistill.training.accelerators.effopd import is_event, search
from echodistill.training.accelerators.scoring import Score, Scorer
from tests.conftest import WORDS
from tests.test_effopd import params, validation_of
from tests.test_trainer import LIMIT


def test_events_are_the_powers_of_two() -> None:
    assert [step for step in range(40) if is_event(step)] == [1, 2, 4, 8, 16, 32]


def searched(
    right: Sequence[int], parsed: Sequence[int] = (10,) * 9, **changes: Any
) -> tuple[int, int]:
    """Return the candidate that is accepted and the number of scorings."""
    scores = [Score(*pair, 10) for pair in zip(right, parsed, strict=False)]
    accepted, seen = search(scores.__getitem__, params(**changes))
    assert seen == scores[: len(seen)]
    return accepted, len(seen)


@pytest.mark.parametrize(
    ("right", "rule", "expected"),
    [
        ((5, 5, 9), "strict", (0, 2)),  # a candidate behind one that fails is not tried
        ((5, 5, 9, 9, 8), "equal", (3, 5)),
        ((5, 6, 7, 6, 9), "strict", (2, 4)),
        ((1, 2, 3, 4, 5, 6, 7), "strict", (5, 6)),  # no more than five
        ((5, 4, 9), "equal", (0, 2)),
    ],
)
def test_candidates_are_accepted_in_order_while_the_score_improves(
    right: tuple[int, ...], rule: str, expected: tuple[int, int]
) -> None:
    assert searched(right, accept=rule) == expected


def test_one_candidate_may_be_all() -> None:
    assert searched((1, 2, 3), candidates=1) == (1, 2)


def test_a_candidate_that_names_fewer_choices_is_refused_however_good() -> None:
    assert searched((3, 9), (10, 9)) == (0, 2)
    assert searched((3, 9, 8), (9, 10, 10)) == (1, 3)
    assert searched((3, 8, 9), (8, 9, 8)) == (1, 3)  # the share fell below that of a candidate
    assert searched((3, 9, 8), (10, 9, 9), parse_margin=0.1) == (1, 3)
    # the margin is of the highest share of the event, so that it is not used up again and again
    assert searched((3, 4, 5), (10, 9, 8), parse_margin=0.1) == (1, 3)


def test_items_are_noisy_ones_of_the_validation_split_alone(tiny_corpus: Corpus) -> None:
    rows = validation_of(tiny_corpus, ("train", "validation", "test"))
    items = rows.chosen(1000, 1)
    assert len(items) == 12  # six clips, each with two noisy mixes
    assert {item.question.split for item in items} == {item.mix.split for item in items}
    assert {item.question.split for item in items} == {"validation"}
    assert all(item.mix.snr_db is not None for item in items)
    of_others = {clip.clip_id for clip in tiny_corpus.clips.values() if clip.split != "validation"}
    groups = {tiny_corpus.clips[name].group for name in of_others}
    for item in items:
        assert item.mix.clip_id == item.question.clip_id
        assert tiny_corpus.clips[item.mix.clip_id].group not in groups


def test_the_choice_of_items_is_fixed_by_the_seed(tiny_corpus: Corpus) -> None:
    rows, again = validation_of(tiny_corpus), validation_of(tiny_corpus)
    items = rows.chosen(12, 1)
    assert again.chosen(12, 1) == items != rows.chosen(12, 2)
    assert all(rows.chosen(count, 1) == items[:count] for count in range(12))
    for half in (items[:6], items[6:]):
        assert len({item.question.question_id for item in half}) == 6
    assert len({item.mix.mix_id for item in items}) == 12


def test_a_score_counts_greedy_answers_as_the_evaluation_does(
    tiny_llm: AudioLLM, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_word(llm: AudioLLM, ids: Sequence[int]) -> str:
        return (*WORDS, "none of them")[sum(ids) % 4]  # the answers of random weights name none

    monkeypatch.setattr("echodistill.training.accelerators.scoring.decode", as_word)
    rows = validation_of(tiny_corpus)
    items = rows.chosen(12, 1)
    names = [
        parse_choice(as_word(tiny_llm, response.token_ids), item.question.choices)
        for item, response in zip(
            items, respond(tiny_llm, [rows.prompt(item) for item in items], LIMIT), strict=True
        )
    ]
    right = sum(name == item.question.answer_index for name, item in zip(names, items, strict=True))
    expected = Score(right, sum(name is not None for name in names), 12)
    monkeypatch.setenv("ECHODISTILL_DEVICE_BATCH", "5")
    assert Scorer(tiny_llm, rows, items, LIMIT)() == expected
    assert expected.accuracy == right / 12
    assert 0 < expected.right < expected.parsed


def test_mixes_are_rendered_as_for_training(tiny_corpus: Corpus) -> None:
    rows = validation_of(tiny_corpus)
    item = rows.chosen(1, 1)[0]
    mix: Mix = item.mix
    clean = tiny_corpus.waveform(mix.clip_id)
    noisy = NoiseLibrary(tiny_corpus.waveform).render(mix, clean).noisy
    prompt = rows.prompt(item)
    assert prompt.waveform is not None
    assert (prompt.waveform == noisy).all()
    assert (prompt.question, prompt.choices) == (item.question.question, item.question.choices)
