"""Section ``references`` of ``params.yaml``: the teacher's view, and what of its
distributions is kept.
"""

from typing import Literal

from echodistill.params.types import Count, PositiveInt, Section

Control = Literal["shuffled", "noise", "silence"]
ViewName = Literal["clean", Control]


class ReferencesParams(Section):
    """The teacher's view, and what of its distributions is kept."""

    view: ViewName
    """What the teacher is given in place of the student's noisy clip; all but ``clean`` are
    controls.
    """
    top_k: PositiveInt
    """Log-probabilities kept a token; the rest is kept as one tail bucket."""
    full_vocabulary_up_to: Count
    """Vocabularies up to this size are kept whole."""
