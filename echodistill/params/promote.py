"""Section ``promote`` of ``params.yaml``: when a student may become the champion."""

from echodistill.params.types import Section, Share


class PromoteParams(Section):
    """When a student may be champion."""

    clean_acc_margin: Share
    """The accuracy on clean clips that a student may lose."""
