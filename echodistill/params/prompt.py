"""Section ``prompt`` of ``params.yaml``: how responses are asked for."""

from echodistill.core.prompt_style import PromptStyle
from echodistill.params.types import Section


class PromptParams(Section):
    """How the questions of the corpus ask for a response."""

    style: PromptStyle
    """``direct`` asks for the answer alone, ``chain`` for steps and then "Answer: ..."."""
