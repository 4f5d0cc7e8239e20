"""Section ``gates`` of ``params.yaml``: the limits of the gates."""

from echodistill.params.types import PositiveFloat, Section, Share


class GatesParams(Section):
    """The limits of the gates."""

    snr_tolerance_db: PositiveFloat
    """Largest difference in dB between the SNR of a rendered mix and that of its recipe."""
    max_position_share: Share
    """Largest share of the right answers that one choice position may have."""
    min_parse_rate: Share
    """Smallest share of the teacher's references that must name a choice."""
    above_chance: Share
    """Margin by which the base without noise, and the teacher's references, must exceed chance."""
    max_truncated_share: Share
    """Largest share of the references, and of each system's answers, that may be cut at the length
    limit.
    """
