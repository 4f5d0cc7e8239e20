"""The benchmarks' own rules beside our parser: tables of responses on which they differ, and on
which they agree.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echodistill.data.layouts import LAYOUTS
from echodistill.evaluation.choices import parse_choice
from echodistill.evaluation.scoring_rules import (
    RULES,
    Rule,
    echodistill_first_choice,
    first_or_last_letter,
    mmau_words,
    mmau_words_lettered,
    r1_aqa_tag,
    seen_first_letter,
    voicebench_phrases,
)

SOUNDS = ("rain", "a bell", "a dog barking", "bell and rain")
MAN = ("a man", "a woman", "a child")
TWO = ("yes", "no")


def ours(response: str, choices: tuple[str, ...], answer: str) -> bool:
    parsed = parse_choice(response, choices)
    return parsed is not None and choices[parsed] == answer


# rule, response, choices, right choice, what the rule returns, what our parser returns
CASES: list[tuple[Rule, str, tuple[str, ...], str, bool, bool]] = [
    (mmau_words, "A woman.", MAN, "a woman", True, True),
    (mmau_words, "B", MAN, "a woman", False, True),
    (mmau_words, "(B) a woman", MAN, "a woman", True, True),
    (
        mmau_words,
        "(A) Man",
        ("Man", "A child"),
        "Man",
        False,
        True,
    ),  # the letter is a word of the wrong choice
    (mmau_words, "A woman, not a man", MAN, "a woman", False, True),
    (mmau_words, "It is a woman who talks of a child", MAN, "a woman", False, False),
    (mmau_words, "woman a", MAN, "a woman", True, False),
    (mmau_words, "bell", SOUNDS, "a bell", False, False),
    (mmau_words, "", MAN, "a man", False, False),
    (mmau_words_lettered, "(B) a woman", MAN, "a woman", True, True),
    (mmau_words_lettered, "a woman", MAN, "a woman", False, True),
    (mmau_words_lettered, "B", MAN, "a woman", False, True),
    (mmau_words_lettered, "(C) a woman", MAN, "a woman", False, False),
    (first_or_last_letter, "B", MAN, "a woman", True, True),
    (first_or_last_letter, "B. a woman", MAN, "a woman", True, True),
    (first_or_last_letter, "The answer is B.", MAN, "a woman", True, True),
    (first_or_last_letter, "The answer is B", MAN, "a woman", False, True),
    (first_or_last_letter, "A woman", MAN, "a man", True, False),  # an answer A
    (first_or_last_letter, "a woman", MAN, "a woman", False, True),
    (first_or_last_letter, "C\nor A.", MAN, "a child", True, False),
    (first_or_last_letter, "D", MAN, "a child", False, False),
    (first_or_last_letter, "None", MAN, "a man", False, False),
    (first_or_last_letter, "", MAN, "a man", False, False),
    (voicebench_phrases, "The answer is B.", MAN, "a woman", True, True),
    (voicebench_phrases, "**B)** a woman", MAN, "a woman", True, True),
    (voicebench_phrases, "b", MAN, "a woman", True, True),
    (voicebench_phrases, "I would choose option B", MAN, "a woman", True, True),
    (voicebench_phrases, "<2> The correct answer is: **B", MAN, "a woman", True, True),
    (voicebench_phrases, "Not a, but b.", MAN, "a man", True, False),
    (
        voicebench_phrases,
        "The answer is a woman.",
        MAN,
        "a man",
        True,
        False,
    ),  # an answer A, by its article
    (
        voicebench_phrases,
        "The answer is child",
        MAN,
        "a child",
        True,
        False,
    ),  # an answer C, by its first letter
    (voicebench_phrases, "a woman", MAN, "a woman", False, True),  # the published script guesses
    (voicebench_phrases, "D.", MAN, "a child", False, False),
    (r1_aqa_tag, "<answer>a woman</answer>", MAN, "a woman", True, True),
    (r1_aqa_tag, "a woman", MAN, "a woman", True, True),
    (r1_aqa_tag, "A woman", MAN, "a woman", False, True),
    (r1_aqa_tag, "<answer>B</answer>", MAN, "a woman", False, True),
    (r1_aqa_tag, "a man? <answer> a woman </answer> or", MAN, "a woman", True, True),
    (echodistill_first_choice, "A woman", MAN, "a woman", True, True),
    (echodistill_first_choice, "B", MAN, "a woman", False, True),
    (echodistill_first_choice, "a man, a woman, a child", MAN, "a man", True, False),
    (echodistill_first_choice, "a man, but probably a woman", MAN, "a woman", True, False),
    (echodistill_first_choice, "not a man, a woman", MAN, "a woman", True, False),
    (echodistill_first_choice, "not a man", MAN, "a man", True, False),
    (echodistill_first_choice, "bell and rain", SOUNDS, "bell and rain", True, True),
    (echodistill_first_choice, "rain and a bell", SOUNDS, "rain", True, False),
    (echodistill_first_choice, "the dog, a barking one", SOUNDS, "a dog barking", False, False),
    (echodistill_first_choice, "a big dog barking", SOUNDS, "a dog barking", True, False),
    (echodistill_first_choice, "nowhere", TWO, "no", False, False),
    (echodistill_first_choice, "", TWO, "no", False, False),
    (seen_first_letter, "B", MAN, "a woman", True, True),
    (seen_first_letter, "Because of it: C", MAN, "a woman", True, False),
    (seen_first_letter, "b", MAN, "a woman", False, True),
    (seen_first_letter, "The answer is B", MAN, "a woman", False, True),
    (seen_first_letter, "(B)", MAN, "a woman", False, True),
    (seen_first_letter, "", MAN, "a man", False, False),
]


@pytest.mark.parametrize(("rule", "response", "choices", "answer", "theirs", "own"), CASES)
def test_what_counts_as_right(
    rule: Rule, response: str, choices: tuple[str, ...], answer: str, theirs: bool, own: bool
) -> None:
    assert rule(response, choices, answer) is theirs
    assert ours(response, choices, answer) is own


EVERY_RULE = sorted(
    {rule for rules in RULES.values() for rule in rules.values()}, key=lambda rule: rule.__name__
)


@pytest.mark.parametrize("rule", EVERY_RULE, ids=lambda rule: rule.__name__)
def test_every_rule_differs_from_ours_somewhere_and_agrees_somewhere(rule: Rule) -> None:
    agreements = {theirs == own for other, _, _, _, theirs, own in CASES if other is rule}
    assert agreements == {True, False}


def test_every_benchmark_has_its_rules() -> None:
    assert set(RULES) == set(LAYOUTS)


CHOICES = st.lists(
    st.text(min_size=1, max_size=8).filter(str.strip), min_size=2, max_size=6, unique=True
)


@given(response=st.text(max_size=40), choices=CHOICES, data=st.data())
def test_any_response_is_right_or_wrong(
    response: str, choices: list[str], data: st.DataObject
) -> None:
    right = data.draw(st.sampled_from(choices))
    for rules in RULES.values():
        for rule in rules.values():
            assert rule(response, choices, right) in (True, False)


@given(
    choices=st.lists(
        st.from_regex(r"[e-z]{3,8}", fullmatch=True), min_size=2, max_size=4, unique=True
    ),
    data=st.data(),
)
def test_a_plain_answer_is_right_and_a_plain_wrong_one_wrong(
    choices: list[str], data: st.DataObject
) -> None:
    """By letter where the rule goes by letters, else by text."""
    right, named = (
        data.draw(st.integers(0, len(choices) - 1)),
        data.draw(st.integers(0, len(choices) - 1)),
    )
    for rule in (first_or_last_letter, voicebench_phrases, seen_first_letter):
        assert rule("ABCD"[named], choices, choices[right]) == (named == right)
    for rule in (mmau_words, r1_aqa_tag, echodistill_first_choice):
        assert rule(choices[named], choices, choices[right]) == (named == right)
    assert mmau_words_lettered(f"({'ABCD'[named]}) {choices[named]}", choices, choices[right]) == (
        named == right
    )
