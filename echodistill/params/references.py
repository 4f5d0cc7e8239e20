"""Section ``references`` of ``params.yaml``: the teacher's view, and how much of its distributions
is kept.
"""

from typing import Literal

from echodistill.params.types import Count, PositiveInt, Section

Control = Literal["shuffled", "noise", "silence"]
ViewName = Literal["clean", "transcript", Control]


class ReferencesParams(Section):
    """The teacher's view, and how much of its distributions is kept."""

    view: ViewName
    """What the teacher is given instead of the student's noisy clip: the clean clip, its transcript
    as text, or a control.
    """
    top_k: PositiveInt
    """Number of log-probabilities kept for each token; the rest is kept as one tail bucket."""
    full_vocabulary_up_to: Count
    """Largest vocabulary size for which the whole distribution is kept."""
