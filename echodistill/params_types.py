"""Types of values in ``params.yaml`` that more than a range says."""

from typing import Annotated, Literal

from pydantic import BeforeValidator

FirstNumber = Literal[0, 1]
"""The number of the first choice."""


def _as_manifests_do(value: object) -> object:
    """Manifests write a group as text or as number, and so may the parameters."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


GroupName = Annotated[str, BeforeValidator(_as_manifests_do)]
