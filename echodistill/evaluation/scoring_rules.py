"""What the benchmarks themselves count as right, to be reported beside our own figure, never
instead of it.

Ours (``choices.parse_choice``) asks for exactly one named choice. Each rule here states a published
one anew, from its source; where that drops a response from the count or guesses at random, the
response is wrong here, and the rule says so. Choices and answer are texts without letters, as in a
corpus.

A rule sees what the system wrote to *our* prompt, which letters the choices. The published figures
were made with prompts of their authors, so a rule alone does not make a figure comparable with a
leaderboard's.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from echodistill.models.prompts import LETTERS

Rule = Callable[[str, Sequence[str], str], bool]
"""Response, choices and the right choice to whether the response counts as right."""


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def mmau_words(response: str, choices: Sequence[str], answer: str) -> bool:
    """All words of the answer are in the response, and no word that only wrong choices have.

    Letters mean nothing: "B" is wrong, and a right choice that is explained with words of a wrong
    one is, too. Some published answers bear a letter where the choices bear none, and the script
    then wants the letter as well; here none has one. Source: github.com/Sakshi113/MMAU,
    evaluation.py (``string_match``), read in copies that name it; MMAR's README says it uses the
    same.
    """
    given, right = _words(response), _words(answer)
    wrong = set[str]().union(*(_words(choice) for choice in choices)) - right
    return bool(given) and right <= given and given.isdisjoint(wrong)


def mmau_words_lettered(response: str, choices: Sequence[str], answer: str) -> bool:
    """``mmau_words`` on choices that bear their letters, "(B) Rattle", as MMAU publishes them since
    2025-05-15.

    The letter is a word then: it must be in the response beside the text, and no wrong one may.
    Source: the same script on the rows of the hub's gamma-lab-umd/MMAU-test-mini.
    """
    lettered = [f"({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return mmau_words(response, lettered, lettered[list(choices).index(answer)])


def first_or_last_letter(response: str, choices: Sequence[str], answer: str) -> bool:
    """The response's first character is the right letter; where that is none of A to D, its last
    but one is ("The answer is B.").

    So "A dog barks" is an answer A. A response with neither is left out of the published count,
    which raises the figure; here it is wrong. Source: github.com/OFA-Sys/AIR-Bench,
    score_foundation.py; github.com/dingdongwang/MMSU_Bench, mmsu_evaluation.py. (AIR-Bench may have
    other responses aligned to a letter by GPT before; MMSU's script gives an empty response the
    letter of the row before it.)
    """
    given = response.strip().replace("\n", "")
    letters = [letter for letter in (given[:1], given[-2:-1]) if letter and letter in "ABCD"]
    return bool(letters) and given != "None" and _is_right(letters[0], choices, answer)


def _is_right(letter: str, choices: Sequence[str], answer: str) -> bool:
    index = LETTERS.index(letter.upper())
    return index < len(choices) and choices[index] == answer


# forms of a declared letter, the surest first: VoiceBench tries its phrases in such an order
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
    """The letter in the first phrase found of a list: "answer is b", "option b.", " b,", "(b)", at
    last "b" alone.

    A phrase is looked for anywhere and without regard to capitals, for A before B: "not a, but b"
    is an answer A, and "the answer is birds" one B. Without any the published script guesses at
    random, which is right once in four; here it is wrong. The published list has some 170 phrases,
    stated here as nine forms: rare ones (LaTeX, Chinese, a verbatim sentence) are not among them.
    Source: github.com/MatthewCYM/VoiceBench, src/evaluator/mcq.py, read in its copies
    wtalioy/VoiceBench and VoiceAgentGroup/AudioCompass.
    """
    given = re.sub(r"^<[123]>\s*", "", response.lower())
    for form in _DECLARED:
        for letter in "abcd":
            if re.search(form.format(letter), given):
                return _is_right(letter, choices, answer)
    return bool(re.match(r"[abcd](?:\Z|[.,:)])", given)) and _is_right(given[0], choices, answer)


def r1_aqa_tag(response: str, choices: Sequence[str], answer: str) -> bool:
    """What stands in <answer> tags, or all of the response without any, is the answer's text,
    letter for letter.

    Before that the published reward tries whether both are equal as mathematics (math-verify: "2.0"
    for "2"); that is not done here. Source: github.com/xiaomi-research/r1-aqa, src/utils/rewards.py
    (``accuracy_reward``).
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
    """The choice whose text the response is, else the one behind a word like "answer" or
    "probably", else the first one named.

    Letters mean nothing. Of several choices the one named first counts, so a list of all of them is
    an answer. A denied choice is not named; but where none is, a response that holds the answer is
    right, so "not a bell" is an answer "a bell". Source: github.com/xishu-Design/echodistill,
    trainer.py (``_select_choice_from_response``, ``_compute_response_reward``: a reward of 1).
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
    """How surely the choice is named (0 is best), where first, and its length, negative: a tie goes
    to the longer one.
    """
    word = re.escape(choice)
    forms = (
        rf"^\W*{word}\W*$",
        rf"(?<!\w){_CUE}\W+[\"']?{word}(?!\w)",
        rf"(?<!\w)[\"']?{word}(?!\w)",
    )
    for sureness, form in enumerate(forms):
        for match in re.finditer(form, given):
            start = match.start()
            # as published, what follows is looked for one choice's length behind the match's start,
            # cue words and all
            behind = given[start + len(choice) : start + len(choice) + 18]
            if not _DENIED_BEFORE.search(
                given[max(0, start - 24) : start]
            ) and not _DENIED_BEHIND.match(behind):
                return sureness, start, -len(choice)
    return None


def seen_first_letter(response: str, choices: Sequence[str], answer: str) -> bool:
    """The response's first character is the right letter, as a capital: "B is heard" is right, "The
    answer is B" is not.

    Where it is no letter the published script stops with an error; here the response is wrong.
    Source: github.com/jyutian/SEEN, Qwen/get_acc.py.
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
"""By the source of the test's rows: the names of its rules, and the rules. ``authors`` says which
of two is taken.
"""
