"""Numbers in messages: one thing is in the singular, with its verb."""

import re

import pytest

from echodistill.core.counted import counted
from echodistill.import_graph import ROOT

NOUNS = "clip|row|question|group|choice|remark|expectation|reference|token|answer|seed|line|prompt"
WITHOUT_HELPER = re.compile(rf"\{{[^{{}}]*\}} (?:test )?(?:{NOUNS})s\b")
ALWAYS_MANY = re.compile(
    r"\{(?:rows|offered|sum|change|seeds|base|split|size|vocabulary|known|[^}]*' if )"
)
"""Numbers that are above one where the message is given, and texts that are no numbers."""


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 clips were"), (1, "1 clip was"), (2, "2 clips were")]
)
def test_one_thing_is_singular(number: int, text: str) -> None:
    assert counted(number, "clip", "was/were") == text
    assert counted(number, "clip") == text.rpartition(" ")[0]


def test_messages_use_the_helper_where_a_number_may_be_one() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in sorted((ROOT / "echodistill").rglob("*.py"))
        for match in WITHOUT_HELPER.finditer(path.read_text(encoding="utf-8"))
        if not ALWAYS_MANY.match(match[0])
    ]
    assert not found, found
