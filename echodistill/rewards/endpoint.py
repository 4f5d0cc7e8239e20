"""Compare two texts by asking a language model behind an OpenAI-compatible endpoint.

``ECHODISTILL_JUDGE_URL`` is its base address, such as ``http://127.0.0.1:8000/v1``, and
``ECHODISTILL_JUDGE_KEY`` its key, where it wants one. Neither is a parameter: the place changes no
result, and a key must not be stored. Verdicts are kept on disk by the content of the question, so
that a resumed training asks for none again.
"""

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from echodistill.core.cache_location import cache_folder
from echodistill.core.errors import UserError
from echodistill.rewards.chat import ChatEndpoint
from echodistill.rewards.judge import Case

URL, KEY = "ECHODISTILL_JUDGE_URL", "ECHODISTILL_JUDGE_KEY"
CONCURRENT = 8
"""Number of requests at a time."""
INSTRUCTIONS = (
    "You compare two answers to the same question about a recording. Reply with one word: yes if"
    " they mean the same, no if they do not. Whether either is right does not matter."
)


@dataclass(frozen=True)
class EndpointComparison:
    """A ``judge.Comparison`` by a language model, which replies with yes or no."""

    endpoint: ChatEndpoint

    def __call__(self, cases: Sequence[Case]) -> list[bool]:
        """Return the verdicts.

        Raise ``UserError`` where the endpoint does not answer, or replies neither yes nor no.
        """
        different = list(dict.fromkeys(cases))
        with ThreadPoolExecutor(CONCURRENT) as pool:
            replies = pool.map(
                lambda case: self.endpoint.reply(INSTRUCTIONS, _asked(case)), different
            )
            verdicts = dict(zip(different, map(_is_yes, replies), strict=True))
        return [verdicts[case] for case in cases]


def endpoint_comparison(model: str) -> EndpointComparison:
    """Return the comparison by ``model`` at the endpoint that the environment names.

    Raise ``UserError`` where it names none, or one that cannot be used.
    """
    url = os.environ.get(URL, "").strip()
    if not url:
        raise UserError(f"{URL} is not set: the judge's endpoint, such as http://127.0.0.1:8000/v1")
    key = os.environ.get(KEY, "").strip()
    return EndpointComparison(ChatEndpoint(url, model, key, cache_folder() / "judge"))


def _asked(case: Case) -> str:
    return (
        f"Question: {case.question}\nFirst answer: {case.reference}\nSecond answer: {case.answer}"
    )


def _is_yes(reply: str) -> bool:
    """Return whether a reply is yes. Raise ``UserError`` where it is neither yes nor no."""
    word = re.match(r"\W*(yes|no)\b", reply.casefold())
    if word is None:
        raise UserError(
            f"the judge replied {reply[:40]!r} in place of yes or no: choose another"
            " train.methods.cord.judge_model, one that follows instructions"
        )
    return word[1] == "yes"
