"""The rules by which the benchmarks' authors count a response as right, reported beside our own
figure and never instead of it.

Our rule (``choices.parse_choice``) requires exactly one named choice. Each rule here implements a
published one anew, from its source; where the published rule excludes a response from the count or
guesses at random, the response is wrong here, and the rule's docstring states it. Choices and
answers are texts without letters, as in a corpus.

The rules are applied to responses to *our* prompt, which letters the choices. The published figures
were made with the authors' prompts, so a rule alone does not make a figure comparable with a
leaderboard's.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from echodistill.models.prompts import LETTERS

Rule = Callable[[str, Sequence[str], str], bool]
"""A function of the response, the choices and the right choice that returns whether the response is
right.
"""


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def mmau_words(response: str, choices: Sequence[str], answer: str) -> bool:
    """Return whether the response has all words of the answer and no word that only wrong choices
    have.

    Letters are ignored: "B" is wrong, and so is a right choice that is explained with words of a
    wrong one. In some published rows the answer has a letter and the choices have none, and the
    script then requires the letter too; here no answer has one. Source: github.com/Sakshi113/MMAU,
    evaluation.py (``string_match``), taken from copies that name it; MMAR's README states that it
    uses the same rule.
    """
    given, right = _words(response), _words(answer)
    wrong = set[str]().union(*(_words(choice) for choice in choices)) - right
    return bool(given) and right <= given and given.isdisjoint(wrong)


def mmau_words_lettered(response: str, choices: Sequence[str], answer: str) -> bool:
    """Return ``mmau_words`` for choices with their letters, "(B) Rattle", as MMAU publishes them
    since 2025-05-15.

    The letter counts as a word: the response must have the right one beside the text, and no wrong
    one. Source: the same script on the rows of the hub's gamma-lab-umd/MMAU-test-mini.
    """
    lettered = [f"({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return mmau_words(response, lettered, lettered[list(choices).index(answer)])


def first_or_last_letter(response: str, choices: Sequence[str], answer: str) -> bool:
    """Return whether the response's first character is the right letter or, if it is none of A to
    D, its last character but one is ("The answer is B.").

    So "A dog barks" is an answer A. The published count excludes a response with neither, which
    raises the figure; here it is wrong. Source: github.com/OFA-Sys/AIR-Bench, score_foundation.py;
    github.com/dingdongwang/MMSU_Bench, mmsu_evaluation.py. (AIR-Bench may have GPT assign other
    responses to a letter first; MMSU's script gives an empty response the letter of the previous
    row.)
    """
    given = response.strip().replace("\n", "")
    letters = [letter for letter in (given[:1], given[-2:-1]) if letter and letter in "ABCD"]
    return bool(letters) and given != "None" and _is_right(letters[0], choices, answer)


def _is_right(letter: str, choices: Sequence[str], answer: str) -> bool:
    index = LETTERS.index(letter.upper())
    return index < len(choices) and choices[index] == answer


# the forms of a declared letter, the most reliable first: VoiceBench tries its phrases in such an
# order
_DECLARED = (
    r"final answer: {}",
    r"answer is:? ?\s*(?:\*\*|['\"(])?{}",
    r"(?:would|i'd) (?:select|choose|be|say)(?: option)? [('\"]?{}",
    r"option (?:\*\*|['\"])?{}[.:,*'\")]",
    (
        r"\b(?:is|be)(?: likely| typically| most likely| option)?:?"
        r" ?\s*(?:\*\*|['\"(])?{}(?:\*\*|['\"(.,:)]| \()"
    ),
    r"answer: {}",
    r"[ \n]{}[.,:)]",
    r"(?:\*\*|\"){}[.,:)\"]",
    r"[({{]{}[)}}]",
)


def voicebench_phrases(response: str, choices: Sequence[str], answer: str) -> bool:
    """Return whether the letter in the first phrase found is right; the phrases are tried in order:
    "answer is b", "option b.", " b,", "(b)", and last "b" alone.

    A phrase may be anywhere, in upper or lower case, and is tried for A before B: "not a, but b" is
    an answer A, and "the answer is birds" an answer B. Without any phrase the published script
    guesses at random, which is right once in four; here it is wrong. The published list has some
    170 phrases, reduced here to nine forms: rare ones (LaTeX, Chinese, a verbatim sentence) are
    left out. Source: github.com/MatthewCYM/VoiceBench, src/evaluator/mcq.py, taken from its copies
    wtalioy/VoiceBench and VoiceAgentGroup/AudioCompass.
    """
    given = re.sub(r"^<[123]>\s*", "", response.lower())
    for form in _DECLARED:
        for letter in "abcd":
            if re.search(form.format(letter), given):
                return _is_right(letter, choices, answer)
    return bool(re.match(r"[abcd](?:\Z|[.,:)])", given)) and _is_right(given[0], choices, answer)


def r1_aqa_tag(response: str, choices: Sequence[str], answer: str) -> bool:
    """Return whether the text in <answer> tags, or the whole response without tags, equals the
    answer's text.

    Before that the published reward tests whether both are equal as mathematics (math-verify: "2.0"
    for "2"), which is not done here. Source: github.com/xiaomi-research/r1-aqa,
    src/utils/rewards.py (``accuracy_reward``).
    """
    tagged = re.search(r"<answer>(.*?)</answer>", response)
    return (tagged[1] if tagged else response).strip() == answer.strip()


_CUE = (
    r"(?:answer|option|choice|pick|choose|chose|selected|select|it's|it is|i think(?: the answer"
    r" is)?"
    r"|maybe|probably|sounds like|looks like)"
)
_DENIED_BEFORE = re.compile(r"(?:\bnot|\bno|\bwrong|\bn't|\binstead of|\brather than)\W*$")
_DENIED_BEHIND = re.compile(r"\W*(?:is\s+wrong|isn't|is\s+not|not)\b")


def echodistill_first_choice(response: str, choices: Sequence[str], answer: str) -> bool:
    """Return whether the right choice is the one whose text equals the response, else the one
    behind a word like "answer" or "probably", else the first one named.

    Letters are ignored. If several choices are named the first one counts, so a list of all of them
    is an answer. A denied choice is not named; but if no choice is named, a response that contains
    the answer is right, so "not a bell" is an answer "a bell". Source:
    github.com/xishu-Design/echodistill, trainer.py (``_select_choice_from_response``,
    ``_compute_response_reward``: a reward of 1).
    """
    given = _plain(response)
    named = [
        (*place, _plain(choice)) for choice in choices if (place := _named(given, _plain(choice)))
    ]
    if named:
        return min(named)[-1] == _plain(answer)
    right = _plain(answer)
    holds = re.search(rf"(?<!\w){re.escape(right)}(?!\w)", given) or (
        len(right) > 2 and right in given
    )
    return bool(given) and bool(holds or set(right.split()) <= set(given.split()))


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _named(given: str, choice: str) -> tuple[int, int, int] | None:
    """Return the number of the first form that names the choice (0 is the most certain), its
    position, and its length negated, so that the longer choice wins a tie; ``None`` if it is not
    named.
    """
    word = re.escape(choice)
    forms = (
        rf"^\W*{word}\W*$",
        rf"(?<!\w){_CUE}\W+[\"']?{word}(?!\w)",
        rf"(?<!\w)[\"']?{word}(?!\w)",
    )
    for rank, form in enumerate(forms):
        for match in re.finditer(form, given):
            start = match.start()
            # the published rule tests the text one choice's length behind the match's start, even
            # if the match begins with cue words
            behind = given[start + len(choice) : start + len(choice) + 18]
            if not _DENIED_BEFORE.search(
                given[max(0, start - 24) : start]
            ) and not _DENIED_BEHIND.match(behind):
                return rank, start, -len(choice)
    return None


def seen_first_letter(response: str, choices: Sequence[str], answer: str) -> bool:
    """Return whether the response's first character is the right letter in upper case: "B is heard"
    is right, "The answer is B" is not.

    If it is no letter the published script stops with an error; here the response is wrong. Source:
    github.com/jyutian/SEEN, Qwen/get_acc.py.
    """
    return response.lstrip()[:1] == LETTERS[list(choices).index(answer)]


RULES: Mapping[str, Mapping[str, Rule]] = {
    "mmau": {"MMAU words": mmau_words, "MMAU words and letter": mmau_words_lettered},
    "mmar": {"MMAU words": mmau_words},
    "mmsu": {"first or last letter": first_or_last_letter},
    "air-bench": {"first or last letter": first_or_last_letter},
    "avqa": {"R1-AQA tag": r1_aqa_tag},
    "voicebench": {"VoiceBench phrases": voicebench_phrases},
    "echodistill": {"EchoDistill first choice": echodistill_first_choice},
    "seen": {"SEEN first letter": seen_first_letter},
}
"""The rules by name, for each source of test rows; ``official_scoring.scoring_of`` selects one of
two.
"""
