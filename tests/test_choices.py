"""The answer parser: a wrong guess is worse than a failure, so a doubtful response must give
``None``.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echodistill.evaluation.choices import parse_choice
from echodistill.evaluation.given_answers import reward
from echodistill.models.prompts import LETTERS
from tests.answer_cases import HARD

DOGS = ("blue cat", "red dog", "red", "green")
WORDS = ("cat", "dog", "bird", "fish")
NOTES = ("G", "C", "A", "D")
COUNTS = ("3", "2", "12", "5")
KEYS = ("C# minor", "A minor", "C major", "G major")
YES_NO = ("no", "yes")
ARTICLES = ("dog", "a dog barking", "a cat")

CASES = [
    # letters
    ("B", DOGS, 1),
    ("b", DOGS, 1),
    (" b \n", DOGS, 1),
    ("(b)", DOGS, 1),
    ("[B]", DOGS, 1),
    ("B.", DOGS, 1),
    ("B)", DOGS, 1),
    ("B:", DOGS, 1),
    ("**B**", DOGS, 1),
    ("`B`", DOGS, 1),
    ("'B'", DOGS, 1),
    ("Ｂ", DOGS, 1),
    ("（Ｂ）", DOGS, 1),
    ("B。", DOGS, 1),
    ("E", DOGS, None),
    ("(E)", DOGS, None),
    ("E. red dog", DOGS, None),
    ("Z", DOGS, None),
    ("AB", DOGS, None),
    ("B B B", DOGS, 1),
    ("B?", DOGS, None),
    # letters with their text
    ("B. red dog", DOGS, 1),
    ("B. Red Dog.", DOGS, 1),
    ("**B.** red dog", DOGS, 1),
    ("B) red dog", DOGS, 1),
    ("(B) red dog", DOGS, 1),
    ("B red dog", DOGS, 1),
    ("B - red dog", DOGS, 1),
    ("B (red dog)", DOGS, 1),
    ("red dog (B)", DOGS, 1),
    ("B\nred dog", DOGS, 1),
    ("B. red dog\nB. red dog", DOGS, 1),
    ("Ｂ．red dog", DOGS, 1),
    ("B、red dog", DOGS, 1),
    ("A. red dog", DOGS, None),
    ("B. red", DOGS, None),
    ("red dog (A)", DOGS, None),
    ("B. purple", DOGS, 1),
    # declared answers
    ("The answer is B", DOGS, 1),
    ("The answer is B.", DOGS, 1),
    ("The answer is (b)", DOGS, 1),
    ("the answer is: B", DOGS, 1),
    ("Answer: B", DOGS, 1),
    ("Answer：Ｂ", DOGS, 1),
    ("Answer B", DOGS, 1),
    ("answer: red dog", DOGS, 1),
    ("Answer: 'red dog'", DOGS, 1),
    ("**Answer:** B. red dog", DOGS, 1),
    ("The correct answer is option B.", DOGS, 1),
    ("The correct option is B because it barks", DOGS, 1),
    ("The answer is A because it meows", DOGS, 0),
    ("The answer to the question is B", DOGS, 1),
    ("Option B", DOGS, 1),
    ("Option B is correct.", DOGS, 1),
    ("A is the correct answer", DOGS, 0),
    ("B is the correct answer", DOGS, 1),
    ("I choose B", DOGS, 1),
    ("I'd go with red dog", DOGS, 1),
    ("It is B.", DOGS, 1),
    ("<answer>B</answer>", DOGS, 1),
    ("<answer>red dog</answer>", DOGS, 1),
    (r"\boxed{B}", DOGS, 1),
    ("The cat meows. The answer is red dog", DOGS, 1),
    ("It could be blue cat or red dog. The answer is B.", DOGS, 1),
    ("A. The answer is B.", DOGS, None),
    ("The answer is B. No, the answer is A.", DOGS, None),
    ("The answer is", DOGS, None),
    ("Answer:", DOGS, None),
    # texts
    ("red dog", DOGS, 1),
    ("Red  Dog!", DOGS, 1),
    ('"red dog"', DOGS, 1),
    ("“red dog”", DOGS, 1),
    ("red", DOGS, 2),
    ("it's red", DOGS, 2),
    ("it's a red dog", DOGS, 1),
    ("I think it's the dog", WORDS, 1),
    ("I think it’s the dog.", WORDS, 1),
    ("The speaker says dog", WORDS, 1),
    ("There are dogs", WORDS, None),
    ("hot-dog", WORDS, None),
    ("the dog's owner", WORDS, None),
    ("doggy", WORDS, None),
    ("red dog, red", DOGS, None),
    ("a dog", WORDS, 1),
    ("A dog", WORDS, 1),
    ("A dog barks", WORDS, 1),
    ("The dog. A loud bark.", WORDS, 1),
    ("a dog", ("cat", "a dog"), 1),
    ("a dog", ("a cat", "a dog"), 1),
    ("A dog", ARTICLES, 0),
    ("A dog barking", ARTICLES, 1),
    ("A. dog", ARTICLES, 0),
    ("It is a cat", ARTICLES, 2),
    ("naïve", ("cafe", "naïve"), 1),
    ("STRASSE", ("straße", "Weg"), 0),
    # several, denied or doubted
    ("cat dog", WORDS, None),
    ("cat and dog", WORDS, None),
    ("cat or dog", WORDS, None),
    ("A or B", WORDS, None),
    ("A and B", WORDS, None),
    ("B and C", WORDS, None),
    ("b and c", WORDS, None),
    ("A, B", WORDS, None),
    ("Both A and B", WORDS, None),
    ("A. cat B. dog C. bird D. fish", WORDS, None),
    ("A. cat\nB. dog\nC. bird\nD. fish", WORDS, None),
    # denied
    ("not B", WORDS, None),
    ("B is not right", WORDS, None),
    ("The dog is not barking", ("dog", "barking"), None),
    ("not only A but also B", WORDS, None),
    ("neither A nor B", WORDS, None),
    ("not A or B", WORDS, None),
    ("Not A, B", WORDS, None),
    ("A, not", WORDS, None),
    ("B, not sure", WORDS, None),
    ("not A but not B", WORDS, None),
    # one set against another
    ("not A but B", WORDS, 1),
    ("not A, but B.", WORDS, 1),
    ("not the cat but the dog", WORDS, 1),
    ("It's not a cat or a bird but a dog.", WORDS, 1),
    ("B, not A", WORDS, 1),
    ("B and not A", WORDS, 1),
    ("The answer is B, not A.", WORDS, 1),
    ("The answer is (B), not (A) or (C).", WORDS, 1),
    ("The answer is B rather than A.", WORDS, 1),
    ("dog instead of cat", WORDS, 1),
    ("It is the dog, not the cat.", WORDS, 1),
    ("B. dog, not A. cat", WORDS, 1),
    ("B, C, not A", WORDS, None),
    # thoughts and boxes
    ("<think>A. cat? It could be B.</think>\nC", WORDS, 2),
    ("<think>It is a cat.</think><answer>dog</answer>", WORDS, 1),
    ("<think>no end, so A", WORDS, None),
    ("So A. <answer>B</answer>", WORDS, 1),
    ("<answer>B</answer> <answer>B</answer>", WORDS, 1),
    ("<answer>B</answer> or <answer>A</answer>", WORDS, None),
    ("<answer></answer>", WORDS, None),
    (r"Thus $\boxed{\text{dog}}$ and not a cat", WORDS, 1),
    (r"\boxed{A} \boxed{B}", WORDS, None),
    # other languages and their punctuation
    ("答案：Ｂ", WORDS, 1),
    ("答案是B。", WORDS, 1),
    ("答案是 B，因为狗在叫", WORDS, 1),
    ("正确答案应该是（Ｂ）", WORDS, 1),
    ("我选择B", WORDS, 1),
    ("答案不是B", WORDS, None),
    ("【B】", WORDS, 1),
    ("「B」", WORDS, 1),
    ("『dog』", WORDS, 1),
    ("《dog》", WORDS, 1),
    ("Ｂ．ｄｏｇ", WORDS, 1),
    ("A、B", WORDS, None),
    ("狗", ("猫", "狗"), 1),
    ("答案是狗", ("猫", "狗"), 1),
    ("B、狗", ("猫", "狗"), 1),
    ("A、狗", ("猫", "狗"), None),
    ("我听到狗在叫。", ("猫", "狗"), 1),
    ("狗和猫", ("猫", "狗"), None),
    ("小狗", ("狗", "小狗"), 1),
    ("答えはBです。", WORDS, 1),
    ("答えはBではない", WORDS, None),
    ("La respuesta es (b)", WORDS, 1),
    ("La respuesta correcta es: B.", WORDS, 1),
    ("¿Es B?", WORDS, None),
    ("¡B!", WORDS, 1),
    ("La réponse est « B »", WORDS, 1),
    ("Die Antwort lautet „B“.", WORDS, 1),
    ("Die Antwort ist nicht B", WORDS, None),
    ("Risposta: B", WORDS, 1),
    ("A resposta é B", WORDS, 1),
    ("Ответ: B", WORDS, 1),
    ("الإجابة: B،", WORDS, 1),
    ("B،", WORDS, 1),
    ("B؟", WORDS, None),
    ("B।", WORDS, 1),
    ("\u200bB\u200f", WORDS, 1),
    ("d\u00adog", WORDS, 1),
    ("\ue001", WORDS, None),
    ("It is not a dog", WORDS, None),
    ("It isn't the dog", WORDS, None),
    ("I don't think it's the dog", WORDS, None),
    ("I don’t think it’s the dog", WORDS, None),
    ("I don't think the answer is B", WORDS, None),
    ("anything except dog", WORDS, None),
    ("dog is wrong", WORDS, None),
    ("dog or something", WORDS, None),
    ("Is it a dog?", WORDS, None),
    # choices that are letters, digits or common words
    ("G", NOTES, 0),
    ("The answer is G", NOTES, 0),
    ("C", NOTES, None),
    ("B", NOTES, 1),
    ("B. C", NOTES, None),
    ("A", ("A", "B", "C"), 0),
    ("The answer is B", ("A", "B", "C"), 1),
    ("I hear a dog", ("a", "b"), None),
    ("2", COUNTS, 1),
    ("2.", COUNTS, 1),
    ("12", COUNTS, 2),
    ("B. 2", COUNTS, 1),
    ("The answer is 2", COUNTS, 1),
    ("It's 3", COUNTS, 0),
    ("I don't think it's 3", COUNTS, None),
    ("1", COUNTS, None),
    ("-2", COUNTS, None),
    ("2 or 3", COUNTS, None),
    ("There are 2 dogs and 3 cats", COUNTS, None),
    ("two", COUNTS, None),
    ("two", ("one", "two"), 1),
    ("one", ("two", "one"), 1),
    ("The first one", ("two", "one"), None),
    ("C major", KEYS, 2),
    ("c# minor", KEYS, 0),
    ("The key is C major", KEYS, 2),
    ("C minor", KEYS, None),
    ("C major", ("C# minor", "D major", "C minor"), None),
    ("plan C", WORDS, None),
    ("dog, and vitamin C", WORDS, None),
    ("I", WORDS, None),
    ("yes", YES_NO, 1),
    ("No.", YES_NO, 0),
    ("No, the speaker is not happy", YES_NO, 0),
    ("Yes, the speaker is happy", YES_NO, 1),
    ("No idea", YES_NO, None),
    ("Who is it?", ("What is it?", "Who is it?"), 1),
    # nothing
    ("", WORDS, None),
    ("   \n", WORDS, None),
    ("...", WORDS, None),
    ("I don't know", WORDS, None),
    ("horse", WORDS, None),
    # choices that cannot be distinguished
    ("red", ("red", "Red."), None),
    ("A", ("red", "Red."), 0),
    ("", ("...", "red"), None),
]


@pytest.mark.parametrize(("response", "choices", "expected"), [*CASES, *HARD])
def test_parse_choice(response: str, choices: tuple[str, ...], expected: int | None) -> None:
    assert parse_choice(response, choices) == expected


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize(
    "form",
    [
        "{0}",
        "{0}.",
        "({0})",
        "The answer is {0}",
        "{0}. {1}",
        "{1}",
        "It's the {1}.",
        "Option {0}",
        "{0} because",
        "{0}\nbut",
    ],
)
def test_no_position_is_harder_to_name(form: str, index: int) -> None:
    """A form that is read for one letter and not for another would favour positions."""
    parsed = parse_choice(form.format(LETTERS[index], WORDS[index]), WORDS)
    assert parsed == index


@given(st.text(max_size=60), st.lists(st.text(min_size=1, max_size=12), min_size=2, max_size=30))
def test_any_text_gives_a_choice_or_none(response: str, choices: list[str]) -> None:
    parsed = parse_choice(response, choices)
    assert parsed is None or 0 <= parsed < len(choices)


@given(st.permutations(["cat", "dog", "bird", "fish", "red dog"]), st.integers(0, 4))
def test_a_choice_repeated_is_that_choice_wherever_it_is(choices: list[str], index: int) -> None:
    assert parse_choice(choices[index], choices) == index
    assert parse_choice(f"{LETTERS[index]}. {choices[index]}", choices) == index
    assert parse_choice(f"{LETTERS[index]}. {choices[index - 1]}", choices) is None


@pytest.mark.parametrize(
    ("response", "answer", "expected"),
    [
        ("dog", "dog", 1.0),
        ("B", "dog", 1.0),
        ("cat", "dog", -1.0),
        ("B", "cat", -1.0),
        ("", "dog", 0.0),
        ("cat dog", "dog", 0.0),
        ("horse", "dog", 0.0),
    ],
)
def test_reward(response: str, answer: str, expected: float) -> None:
    """Right +1, another choice -1, nothing parsed 0: so guessing never beats silence in expectation
    below even odds.
    """
    assert reward(response, WORDS, answer) == expected
