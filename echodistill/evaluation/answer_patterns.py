"""Patterns of how responses are worded: words without meaning for the answer, declarations of an
answer, negation, contrast and doubt.

They cover English and the commonest words of other languages that users answer in. ``{MARK}`` is
the placeholder for a choice's text (see ``choices``).
"""

import html
import unicodedata
from functools import lru_cache
from typing import Final

import regex

FIRST_MARK: Final = 0xE000
MARK: Final = "[\ue000-\uf8ff]"
"""Placeholders for choices' texts in a response: one private-use character for each choice."""
UNSPACED: Final = regex.compile(r"[\p{Hiragana}\p{Katakana}\p{Han}\p{Thai}]")
"""Scripts without spaces between words."""

THOUGHTS: Final = tuple(
    regex.compile(pattern, regex.I | regex.S)
    for pattern in (
        r"<(think(?:ing)?|thought|reasoning)>.*?</\1>",
        "^.*</think(?:ing)?>",
        "<think(?:ing)?>.*$",
    )
)
"""Reasoning that a response contains beside its answer. The opening tag may be missing, since some
chat templates put it into the prompt, and so may the closing tag of a response that was cut.
"""
FINAL: Final = regex.compile(
    r"<answer>(.*?)</answer>|\\boxed ?\{(?:\\\w+\{)?([^{}]*)\}"
    r"|[\"'](?:final_?)?(?:answer|choice|prediction)[\"'] ?: ?[\"']([^\"']*)[\"']",
    regex.I | regex.S,
)
"""What a response marks as its answer: a tag, a box or a JSON value."""

_TAG = regex.compile(r"</\w+>|<\w{2,}>|<\|[^|>]*\|>")
_LINE_START = regex.compile(r"^\s*(?:[-*>•]|#+)\s+(?=\S)", regex.M)
_MARKUP = regex.compile(
    r"[*`\"“”„‟«»‹›「」『』《》〈〉¿¡]|(?<!\w)'|'(?!\w)|(?<!\w)_+|_+(?!\w)|\\(?=\W)"
)
_MATHS = regex.compile(r"(?<!\w)\$([^$\n]+)\$(?!\w)")
_MINUS = regex.compile(r"(?<![\w)])[−–](?=\d)")
_PUNCTUATION = str.maketrans(
    {
        "‘": "'",
        "’": "'",
        "【": "[",
        "】": "]",
        "〔": "(",
        "〕": ")",
        "、": ", ",
        "،": ", ",
        "؛": "; ",
        "؟": "?",
    }
)
_FULL_STOP = regex.compile("[。।۔]")


@lru_cache(maxsize=65_536)  # Choices and short answers are the same in many rows.
def normalise(text: str) -> str:
    """Return the Unicode compatibility form (NFKC) of ``text`` without markup, quotes, invisible
    characters, outer brackets and final punctuation, with one space between words.

    The end of a line becomes a full stop, and so do the full stops of other scripts.
    """
    composed = unicodedata.normalize("NFKC", html.unescape(text))
    visible = _LINE_START.sub(
        "", "".join(character for character in composed if not _is_invisible(character))
    )
    plain = _MARKUP.sub(
        "",
        _FULL_STOP.sub(
            ". ", _MINUS.sub("-", _MATHS.sub(r"\1", _TAG.sub("", visible))).translate(_PUNCTUATION)
        ),
    )
    lines = ". ".join(line.strip() for line in plain.splitlines() if line.strip())
    return " ".join(lines.split()).lstrip("([{ ").rstrip(")]} .!,;:")


def _is_invisible(character: str) -> bool:
    """Return whether a character is a mark of direction, a joiner, a soft hyphen, or a private-use
    character, which serves as a mark of a choice here.
    """
    return unicodedata.category(character) in ("Cf", "Co")


_HEDGE = (
    r"(?: (?:most|very|quite|likely|probably|definitely|clearly|certainly|surely|obviously|indeed"
    r"|therefore|thus))*"
)
_IS = rf"(?:is|was|(?:should|would|must|may|might|could|has to|seems to|appears to) be){_HEDGE}\b"
_ANSWER = unicodedata.normalize(
    "NFKC",
    r"respuesta|réponse|antwort|lösung|risposta|resposta|ответ|odpowiedź|svar|cevap|antwoord|đáp"
    r" án|jawaban|vastaus"
    r"|(?:ال)?(?:إجابة|جواب)|उत्तर|정답|답|คำตอบ",
)
DECLARATIONS: Final = (
    regex.compile(
        r"\b(?:answer|choice|option|ans)(?: to (?:the|this) question)?"
        rf"(?: {_IS}:?| ?[:=]| ?[=-]> | [-–—→] |\]:? ?|\. (?=[A-Z]\b))\.? ?",
        regex.I,
    ),
    regex.compile(
        rf"\b(?:{_ANSWER})(?: \w+)??(?: (?:es|est|ist|lautet|è|é|هي|هو)\b:?| ?[:=]| [-–—] |[은는]"
        r" ?|คือ ?| (?=(?-i:[(A-Z]))) ?"
        r"|\brichtig ist ",
        regex.I,
    ),
    regex.compile(
        r"(?:答案|正确选项|正確選項|答え|正解|回答|選択肢|选项|選項|我选择?|我選擇?|(?:应该|應該|故|所以|本题|^"
        r" ?)(?:选|選)(?:择|擇)?)"
        r"(?:应该|應該)?(?:是|为|為|は|係|選|选)?:? ?"
    ),
    regex.compile(
        rf"\b(?:it {_IS}|it's{_HEDGE}|i(?:'d|'ll| would| will)? (?:choose|pick|select|say|go"
        r" with)|i'm going with"
        r"|i guess|let's go with|i(?:'ll)? take"
        r"|ich wähle|je choisis|elijo|scelgo|escolho|c'est|es ist|das ist|es (?=la |el |[A-Z]\b)) "
        rf"|(?:^|[.,;!:] |\bso )(?:(?:this|that) {_IS}|that's{_HEDGE}) ",
        regex.I,
    ),
)
"""Declarations of an answer, the most explicit first; the text before one is not the answer."""

LEAD: Final = regex.compile(
    r"(?:yes|yeah|yep|ok|okay|sure|of"
    r" course|well|so|therefore|thus|hence|then|definitely|certainly|clearly|probably|likely"
    r"|perhaps"
    r"|maybe|possibly|only|just|surely|(?:it )?(?:could|may|might|must) be|correct"
    r"|selected|output|response|result|prediction|label|assistant|final|la|el|le|letter)\b[,:!.]?"
    r" (?=\S)",
    regex.I,
)
"""Words before an answer that do not affect it."""

_OPENS = (
    r"(?:it|it's|its|this|that|there|here|i|i'm|i'd|we|he|she|they|which|yes|no|not|definitely"
    r" not|therefore|hence|thus)\b"
    "|是|不是|而是|应该是"
)
CLAUSES: Final = regex.compile(
    rf"[.!;]+(?: |$)|(?<=\?)(?: |$)|,? (?<!\b(?:anything|everything|nothing|all) )"
    r"(?:so|but|hence|therefore|thus|because|since|while|whereas|although|though)\b:? ?"
    rf"|, ?(?={_OPENS})| (?=I (?:think|believe|guess)\b)|因为|所以",
    regex.I,
)
"""Separators of two clauses. A comma alone is none: "not A, B or C"."""

NEGATION: Final = regex.compile(
    r"\b(?:not|no|never|neither|nor|none|nothing|nobody|cannot|without|except|excluding|unlike|instead|rather|doubt|hardly|scarcely|barely"
    r"|(?:anything|everything|all) but|far from|unlikely|least"
    r" likely|fails?|failed|absent|missing|lacks?|used to be"
    r"|wrong|incorrect|incorrectly|false|impossible|improbable|untrue|inaccurate|reject(?:s|ed)?|mistaken?"
    r"|rul(?:e|es|ed|ing)"
    r" out|ruled|eliminate[sd]?|(?:is|are|was|does|do|did|ca|could|would|wo|ai)nt"
    r"|nicht|keine?[nmrs]?|weder|noch|falsch|pas|ni|faux|fausse|falso|falsa|non|né|não|nem|tampoco|не|нет|ни|неверно"
    r"|ليس|ليست|لا|غير|नहीं)\b"
    r"|n't\b|不|没|沒|無い|未|ではな|じゃな|ではありません|じゃありません|いない|いません|ません|아니|아닙|않|없|ไม่|(?<!\w)[无無](?=\S)",
    regex.I,
)
NO_DOUBT: Final = regex.compile(r"\b(?:there is )?(?:no|without(?: a| any)?) doubt,? ?", regex.I)
DOUBT: Final = regex.compile(r"\b(?:or|either|unsure)\b|\?$|\?!", regex.I)
UNSURE: Final = regex.compile(
    r"\b(?:unsure|uncertain|unclear|unable|idea|clue|hard to (?:say|tell)|too noisy"
    r"|not (?:\w+ )?(?:sure|certain)|(?:can(?:'t|not| not)|could(?:n't| not)|do(?:n't|nt| not))"
    r" (?:\w+ )?"
    r"(?:know|tell|determine|decide|say|answer))\b",
    regex.I,
)
"""Clauses that state that the responder does not know; they invalidate the other clauses."""
RETRACTION: Final = regex.compile(
    r"^(?:(?:but|and|hmm|oh),? )*(?:(?:this|that|it)(?:'s| is| was)? )?(?:is |was"
    r" )?(?:not|isn't|wasn't|no|wrong|false|incorrect)"
    r"(?: (?:quite|really|exactly|right|correct|true|so|it))*$"
    r"|^(?:(?:but|and|hmm|oh),? )*(?:this|that|it)(?:'s| is| was)?(?: not|n't) (?:quite |really"
    r" )?(?:right|correct|true|it|so)\b",
    regex.I,
)
CORRECTION: Final = regex.compile(
    r"^(?:(?:hmm|but|oh|and|well),? )*(?:(?:no|nope)(?:,|$)|(?:no,? )?wait\b|sorry,|correction\b|on"
    r" second thought|actually\b)",
    regex.I,
)
"""Beginnings of a clause that withdraws the clauses before it."""
NOT_ONLY: Final = regex.compile(r"\bnot (?:only|just|merely)\b", regex.I)
COMPLEMENT_WORDS: Final = regex.compile(r"\b(?:that|say|if|whether|think|believe)\W*$", regex.I)
"""Words before "it is" that show that no new clause begins there."""
CLOSING_OFFER: Final = regex.compile(
    r"(?:is there anything|do you (?:have|want|need)|would you like|let me know|feel"
    r" free)[^.?!]*[.?!]*$",
    regex.I,
)
MENTION_WORDS: Final = regex.compile(r"\b(?:if|whether|asks?|asked|asking)\b", regex.I)
"""Words of a clause that mentions choices without naming an answer."""

_NAMED = (
    r"(?:(?:the|a|an|option|choice|die|der|das|ein|eine|einer|of) )*+"
    rf"[(\[]?(?:[A-Z]\b|{MARK})[)\]]?(?:[.:]? {MARK})?(?: ?[(\[][A-Z][)\]])?"
)
_SEVERAL = rf"{_NAMED}(?:(?:,| or| nor| and|, or|, and) {_NAMED})*"
CONTRAST: Final = regex.compile(
    rf"\b(?:(?i:not|no|nicht)|n't) {_SEVERAL},? (?:but|sondern) (?!also\b|not\b)"
    rf"|(?:(?:,|,? and|,? but) (?:definitely |certainly )?(?:not|no|nicht|keine?n?|pas|non)"
    r"|,? rather than|,? instead of|,? as opposed to|,? without|,? unlike)"
    rf" {_SEVERAL}(?=$|[.,;!)])"
    rf"|\((?:and )?not {_SEVERAL}(?:\)|$)|(?<={MARK}|\b[A-Z]) not {_SEVERAL}(?=$|[.,;!])"
    rf"|不是 ?{_NAMED} ?, ?(?=而是|是|应该是)|(?:[A-Z]|{MARK})ではなく"
    rf"|(?:[A-Z]|{MARK})[이가] 아니라"
)
"""Contrasts of one choice with another: "not the cat but the dog", "B, not A or C". The part that
these patterns match is denied.
"""
