"""Section ``promote`` of ``params.yaml``: when a student may be champion."""

from echodistill.params.types import Section, Share


class PromoteParams(Section):
    """When a student may be champion."""

    clean_acc_margin: Share
    """How much clean accuracy may fall, by the interval's low end."""
