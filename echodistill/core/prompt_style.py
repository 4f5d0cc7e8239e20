"""The styles in which a prompt asks for a response."""

from typing import Literal

PromptStyle = Literal["direct", "chain"]
"""``direct`` asks for the answer alone, ``chain`` for steps that end in "Answer: ..."."""
