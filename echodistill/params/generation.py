"""Section ``generation`` of ``params.yaml``: the responses of all models."""

from echodistill.params.types import PositiveInt, Section


class GenerationParams(Section):
    """Settings of all responses: references, rollouts and answers."""

    max_new_tokens: PositiveInt | None
    """Maximum number of tokens of a response; ``None`` derives it from the longest choice
    (``models/response_limit.py``).
    """
