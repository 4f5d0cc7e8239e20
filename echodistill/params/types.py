"""Value types of the sections of ``params.yaml``, and the checks that every section makes."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from echodistill.core.group_names import group_name

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
MIN_SNR_DB, MAX_SNR_DB = -40.0, 60.0
SnrDb = Annotated[float, Field(ge=MIN_SNR_DB, le=MAX_SNR_DB)]

FirstNumber = Literal[0, 1]
"""The number of the first choice."""


def _normalise_group(value: object) -> object:
    """Return a text or number as a group's name: parameters may write it as manifests do."""
    is_name = isinstance(value, str | int | float) and not isinstance(value, bool)
    return group_name(str(value)) if is_name else value


GroupName = Annotated[str, BeforeValidator(_normalise_group)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if (
            isinstance(value, bool)
            and cls.model_fields[info.field_name or ""].annotation is not bool
        ):
            # Pydantic would accept a bool as the number 0 or 1.
            raise ValueError("true or false is given where another value is needed")
        return value
