"""Check how many responses are cut at the length limit; such a response may be wrong only because
it is incomplete.
"""

from collections.abc import Mapping, Sequence

from echodistill.core.counted import counted
from echodistill.gates.expect import Between, Expect, Table
from echodistill.models.response_limit import KEY

Cut = tuple[int, bool]
"""Number of tokens of a response, and whether it was cut at the limit."""


def truncation_check(responses: Mapping[str, Sequence[Cut]], max_share: float) -> Expect:
    """Return the expectation that no model has more than ``max_share`` of its responses cut.

    ``responses`` are by the model's name; a failure shows the name, the counts and the limit.
    """
    table = Table.of(
        "truncation",
        "responses",
        {
            "responses": [_described(name, cuts) for name, cuts in responses.items()],
            "share": [
                sum(cut for _, cut in cuts) / max(1, len(cuts)) for cuts in responses.values()
            ],
        },
    )
    description = (
        f"at most {100 * max_share:g} % of the responses are cut at the length limit (else raise"
        f" {KEY})"
    )
    longest = max((length for cuts in responses.values() for length, cut in cuts if cut), default=0)
    cure = (
        f"give answers more room with -S {KEY}={2 * longest}; where as many are cut then, the model"
        " does not end its answers: take another base, train it on more clips, or accept it with"
        " gates.max_truncated_share"
    )
    return table.expect("share", Between(0.0, max_share), description, cure)


def _described(name: str, cuts: Sequence[Cut]) -> str:
    lengths = [length for length, cut in cuts if cut]
    return f"{name}: {len(lengths)} of {len(cuts)} cut" + (
        f" at {counted(max(lengths), 'token')}" if lengths else ""
    )
