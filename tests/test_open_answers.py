"""Tests of answers to open questions: their normal form, where a response gives them, and the
rewards for them.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echodistill.core.records import Question
from echodistill.evaluation.given_answers import given_answer, is_right
from echodistill.evaluation.open_answers import final_answer, is_chain, normal_form, token_f1
from echodistill.params.train import RewardParams
from echodistill.rewards.answer import answer_reward, format_reward, overlap_reward
from echodistill.rewards.registry import chosen_rewards

WORDS = {
    0: "zero",
    7: "seven",
    13: "thirteen",
    20: "twenty",
    42: "forty-two",
    99: "ninety nine",
    100: "one hundred",
    205: "two hundred and five",
    1_234: "one thousand two hundred thirty four",
    40_017: "forty thousand and seventeen",
    5_000_300: "five million three hundred",
}


@pytest.mark.parametrize(("value", "words"), WORDS.items())
def test_numbers_in_words_are_those_in_digits(value: int, words: str) -> None:
    assert normal_form(words) == normal_form(f"{value:,}") == normal_form(str(value)) == str(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Three, five.", "3 5"),
        ("2 3 5", "2 3 5"),
        ("two three", "2 3"),
        ("twenty twelve", "20 12"),
        ("nineteen five", "19 5"),
        ("forty two dogs", "42 dogs"),
        ("-4", "-4"),
        ("minus four", "-4"),
        ("2-3", "2 3"),
        ("3.5", "3.5"),
        ("x-ray", "x ray"),
        ("A red dog!", "red dog"),
        ("the  RED\ndog", "red. dog".replace(".", "")),
        ("…", ""),
        ("", ""),
        ("one hundred and a dog", "100 dog"),
        ("bread and butter", "bread and butter"),
    ],
)
def test_normal_form(text: str, expected: str) -> None:
    assert normal_form(text) == expected


@given(st.text(max_size=40))
def test_the_normal_form_is_its_own(text: str) -> None:
    assert normal_form(normal_form(text)) == normal_form(text)


@given(st.integers(0, 999), st.integers(0, 999))
def test_different_numbers_stay_different(first: int, second: int) -> None:
    assert (normal_form(str(first)) == normal_form(str(second))) == (first == second)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("10", "10"),
        ("3: 3, 5: 8, 2: 10. Answer: 10", "10"),
        ("3 + 5 = 8.\nAnswer: 8\nNo, wait. Answer: 9", "9"),
        ("The answer is ten.", "10"),
        ("<think>Answer: 4</think> 5", "5"),
        ("so \\boxed{12}", "12"),
        ("<answer>7</answer>", "7"),
        ("<answer>7</answer> or <answer>8</answer>", None),
        ("<answer>seven</answer>, that is <answer>7</answer>", "7"),
        ("3: 3, 5: 8", "3 3 5 8"),
        ("Answer:", None),
        ("", None),
    ],
)
def test_the_answer_that_a_response_gives(response: str, expected: str | None) -> None:
    assert given_answer(response, ()) == expected


def test_final_answer_keeps_the_wording() -> None:
    assert final_answer("Steps. Answer: A red Dog.") == "A red Dog."


def test_an_open_question_is_right_in_every_form() -> None:
    question = Question("q", "c", "test", "What is the sum?", (), "10", None, "chain")
    assert is_right("4: 4, 6: 10. Answer: ten", question)
    assert not is_right("4: 4, 6: 10. Answer: 11", question)
    assert not is_right("", question)


@pytest.mark.parametrize(
    ("response", "answer", "expected"),
    [
        ("2 3 5", "2 3 5", 1.0),
        ("Answer: two three", "2 3 5", 2 * 2 / 5),
        ("5 5 5", "2 3 5", 2 * 1 / 6),
        ("a red dog", "the red dog", 1.0),
        ("cat", "dog", 0.0),
        ("", "dog", 0.0),
    ],
)
def test_f1_of_words(response: str, answer: str, expected: float) -> None:
    assert token_f1(response, answer) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("3: 3, 5: 8. Answer: 8", True),
        ("Answer: 8", False),
        ("3: 3. Answer:", False),
        ("8", False),
        ("3: 3. Answer: 3. Answer: 8", False),
    ],
)
def test_the_form_of_a_chain(response: str, expected: bool) -> None:
    assert is_chain(response) is expected


def test_rewards() -> None:
    completions = ["Answer: 8", "Answer: 7", "", "B", "2 3"]
    choices: list[list[str]] = [[], [], [], ["cat", "dog"], []]
    answers = ["8", "8", "8", "dog", "2 3 5"]
    assert answer_reward(completions, choices, answers) == [1, -1, 0, 1, -1]
    assert overlap_reward(completions, choices, answers) == pytest.approx([1, 0, 0, 1, 0.8])
    styles = ["chain", "direct"]
    assert format_reward(["8", "8"], styles) == [0.0, 1.0]  # type: ignore[arg-type]
    assert format_reward(["3: 3. Answer: 3"], ["chain"]) == [1.0]


def test_the_settings_choose_the_reward_of_open_answers_and_the_weight_of_the_form() -> None:
    exact = chosen_rewards(("answer",), RewardParams(open="exact", format_weight=0.0))
    assert exact == [(answer_reward, 1.0)]
    overlap = chosen_rewards(("answer",), RewardParams(open="overlap", format_weight=0.2))
    assert overlap == [(overlap_reward, 1.0), (format_reward, 0.2)]
    assert chosen_rewards((), RewardParams(open="exact", format_weight=0.2)) == []
