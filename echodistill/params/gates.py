"""Section ``gates`` of ``params.yaml``: the limits of the gates."""

from echodistill.params.types import PositiveFloat, Section, Share


class GatesParams(Section):
    """The limits of the gates."""

    snr_tolerance_db: PositiveFloat
    """How far the SNR of a rendered mix may lie from that of its recipe."""
    max_position_share: Share
    """No choice position may have a larger share of the right answers than this."""
    min_parse_rate: Share
    """Lowest share of the teacher's references that must name a choice."""
    above_chance: Share
    """The clean accuracy must exceed chance by this."""
    max_truncated_share: Share
    """Highest share of the references, and of each system's answers, that may be cut at the length
    limit.
    """
