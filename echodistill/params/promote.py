"""Section ``promote`` of ``params.yaml``: when a student may be champion."""

from echodistill.params.types import Section, Share


class PromoteParams(Section):
    clean_acc_margin: Share
    """How much clean accuracy may fall."""
