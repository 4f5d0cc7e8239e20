"""Section ``evaluate`` of ``params.yaml``: how base and student are scored."""

from typing import Annotated

from pydantic import Field

from echodistill.params.types import Section, SnrDb


class EvaluateParams(Section):
    """How base and student are scored."""

    headline_max_snr_db: SnrDb
    """The headline figures average over this SNR in dB and below."""
    bootstrap_draws: Annotated[int, Field(ge=100)]
    """Number of draws of the bootstrap that gives the intervals."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)]
    """Confidence level of all intervals."""
    student: Annotated[str, Field(min_length=1)] | None
    """Folder of a student that was trained before, which is evaluated beside the base where the
    corpus is used for testing only; ``None`` evaluates the base by itself.
    """
