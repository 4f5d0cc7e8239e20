"""Section ``gates`` of ``params.yaml``: the limits of the gates."""

from echodistill.params.types import NonNegativeFloat, PositiveFloat, Section, Share


class PolicyGate(Section):
    """Limits of the base's sampled responses (``base.sampled``): whether a policy term has
    something to learn from.
    """

    clean_acc: tuple[Share, Share]
    """Least and largest accuracy of greedy responses about clean clips."""
    min_pass_ratio: NonNegativeFloat
    """Least ratio of pass@K, the share of questions with a right sample, to the share of right
    samples.
    """
    min_mixed_share: Share
    """Least share of questions with both right and wrong samples."""
    text_above_audio: bool
    """Whether the accuracy with text in place of the clip must be above that with the clip."""


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
    policy: PolicyGate
