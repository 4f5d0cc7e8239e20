"""Section ``evaluation`` of ``params.yaml``: what a test alone evaluates."""

from typing import Annotated

from pydantic import Field

from echodistill.params.types import Section


class EvaluationParams(Section):
    """What is evaluated where the corpus is a test alone, beside the base."""

    student: Annotated[str, Field(min_length=1)] | None
    """Folder of a student that was trained before; ``None``: the base by itself."""
