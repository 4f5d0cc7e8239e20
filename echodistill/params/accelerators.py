"""The registry of accelerators: each has a section ``train.NAME`` of ``params.yaml`` with its
settings. An accelerator works with any method; ``none`` is the absence of one.
"""

from typing import Literal

from echodistill.params.types import PositiveInt, Section, Share


class EffOpdParams(Section):
    """Steps along the direction of the training so far that are kept where they help (arXiv
    2605.11739).
    """

    candidates: PositiveInt
    """Largest number of steps that are tried at an event, each longer than the one before."""
    accept: Literal["strict", "equal"]
    """Whether the score of a candidate must be higher than the best so far, or may be equal."""
    items: PositiveInt
    """Number of noisy clips of the validation split that every candidate answers; fewer where the
    split has fewer.
    """
    parse_margin: Share
    """The share of answers that name a choice may fall by this much below the highest of the
    event.
    """


ACCELERATORS: dict[str, type[Section]] = {"effopd": EffOpdParams}
"""The settings of every accelerator by its name."""
AcceleratorName = Literal["none", "effopd"]
