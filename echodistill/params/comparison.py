"""Section ``comparison`` of ``params.yaml``: the systems that are trained and put side by side."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from echodistill.params.references import Control
from echodistill.params.types import PositiveInt, Section, Seed

System = Literal[
    "sft", "grpo", "distill", "echodistill", "shaping-off", "shaping-instance", "shaping-candidate",
    "kl-forward", "kl-reverse", "kl-jsd", "ratio-teacher", "ratio-old", "rollouts-2", "rollouts-8",
    "beta-0.2", "beta-1",
]  # fmt: skip
"""What a comparison can train: ``systems.py`` says how each differs."""
Denoiser = Literal["wavelet", "spectral_gating", "log_mmse", "deepfilternet3"]


class ComparisonParams(Section):
    """What ``echodistill compare`` trains and puts side by side."""

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    """Of training; all else has the one ``seed``."""
    systems: Annotated[tuple[System, ...], Field(min_length=1)]
    controls: tuple[Control, ...]
    """Views of the teacher of `echodistill` in place of the clean one; each is trained like a
    system.
    """
    denoisers: tuple[Denoiser, ...]
    """Each tried in front of the base and of the first seed's student."""
    folds: tuple[PositiveInt, ...]
    """Numbers of the further folds in which ``echodistill`` is trained without other kinds of
    noise: 2, 3, ... or none.
    """

    @field_validator("folds")
    @classmethod
    def _counted(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value != tuple(range(2, len(value) + 2)):
            raise ValueError("must count up from 2, e.g. [2, 3]: fold 1 holds out mixes.unseen")
        return value

    @field_validator("seeds", "systems", "controls", "denoisers")
    @classmethod
    def _once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if twice := [one for one in value if value.count(one) > 1]:
            raise ValueError(f"{twice[0]!r} stands twice")
        return value

    @field_validator("systems")
    @classmethod
    def _ours(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "echodistill" not in value:
            raise ValueError("must hold echodistill, which the others are compared with")
        return value

    @property
    def trained(self) -> tuple[System | Control, ...]:
        """All that is trained, in the order of tables."""
        return (*self.systems, *self.controls)
