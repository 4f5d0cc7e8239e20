"""Section ``promote`` of ``params.yaml``: when a student may become the champion."""

from echodistill.params.types import Section, Share


class PromoteParams(Section):
    """The conditions under which a student may become the champion."""

    clean_acc_margin: Share
    """Accuracy on clean clips that a student may lose, measured by the interval's lower end."""
