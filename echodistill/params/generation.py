"""Section ``generation`` of ``params.yaml``: the responses of all models."""

from echodistill.params.types import PositiveInt, Section


class GenerationParams(Section):
    """Of all responses: references, rollouts and answers."""

    max_new_tokens: PositiveInt | None
    """The longest response; ``None``: derived from the longest choice
    (``models/response_limit.py``).
    """
