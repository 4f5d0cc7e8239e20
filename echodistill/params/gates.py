"""Section ``gates`` of ``params.yaml``: the limits of the gates."""

from echodistill.params.types import PositiveFloat, Section, Share


class GatesParams(Section):
    snr_tolerance_db: PositiveFloat
    max_position_share: Share
    """No choice position may hold more right answers than this."""
    min_parse_rate: Share
    """Of the teacher's references."""
    above_chance: Share
    """Clean accuracy must pass chance by this."""
    max_truncated_share: Share
    """Of the references, and of each system's answers, that may be cut at the length limit."""
