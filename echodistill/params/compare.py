"""Section ``compare`` of ``params.yaml``: the systems that are trained and compared."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from echodistill.core.similar import meant
from echodistill.params.faults import BadKey
from echodistill.params.methods import METHODS
from echodistill.params.system_settings import VIEW, has_own_references
from echodistill.params.types import PositiveInt, Section, Seed

Denoiser = Literal["wavelet", "spectral_gating", "log_mmse", "deepfilternet3"]
RESERVED = re.compile(r"base|student|text|constant|distorted.*|fold\d+|train_mixes.*")
"""Names that the tables and files of a comparison use for something else."""


class SystemParams(Section):
    """A way to train beside the methods with their own settings: an ablation or a control."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._]*(-[a-z0-9._]+)*$")]
    """Name of the system in ``train``, ``controls``, tables and files."""
    label: Annotated[str, Field(min_length=1)]
    """Description of the system, for tables and pages."""
    set: dict[str, Any]
    """Changed values by dotted key: keys of the section ``train``, or ``references.view``."""


def system_names(systems: Iterable[SystemParams]) -> tuple[str, ...]:
    """Return the names of all systems, whether they are trained or not: the methods and
    ``systems``.
    """
    return (*METHODS, *(system.name for system in systems))


def changes_of(name: str, systems: Iterable[SystemParams]) -> Mapping[str, Any]:
    """Return the values of ``params.yaml`` that the system ``name`` changes, by dotted key."""
    return {system.name: system.set for system in systems}.get(name, {"train.method": name})


class CompareParams(Section):
    """What ``echodistill compare`` trains and compares."""

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    """Seeds of the trainings; everything else uses the one ``seed``."""
    train: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of methods and of ``systems`` to train."""
    controls: tuple[str, ...]
    """Names of ``systems``, and of methods, whose teacher has another view and therefore references
    of its own.
    """
    systems: tuple[SystemParams, ...]
    """Systems that may be trained beside the methods with their own settings: ablations and
    controls.
    """
    denoisers: tuple[Denoiser, ...]
    """Denoisers, each of which cleans the clips for the base and for the first seed's student."""
    folds: tuple[PositiveInt, ...]
    """Numbers of the further folds, 2, 3, ... or none, in which ``echodistill`` is trained without
    other kinds of noise than ``mixes.unseen``.
    """

    @field_validator("folds")
    @classmethod
    def _counted(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value != tuple(range(2, len(value) + 2)):
            raise ValueError("must count up from 2, e.g. [2, 3]: fold 1 holds out mixes.unseen")
        return value

    @field_validator("seeds", "train", "controls", "denoisers")
    @classmethod
    def _no_repetition(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if twice := [one for one in value if value.count(one) > 1]:
            raise ValueError(f"{twice[0]!r} is given twice")
        return value

    @field_validator("train")
    @classmethod
    def _has_echodistill(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "echodistill" not in value:
            raise ValueError("must hold echodistill, which the others are compared with")
        return value

    @field_validator("systems")
    @classmethod
    def _names(cls, value: tuple[SystemParams, ...]) -> tuple[SystemParams, ...]:
        names = [system.name for system in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is defined twice")
            if name in METHODS or RESERVED.fullmatch(name):
                raise ValueError(f"{name!r} is taken: choose another name")
        return value

    @model_validator(mode="after")
    def _known(self) -> "CompareParams":
        defined = {
            name: has_own_references(changes_of(name, self.systems))
            for name in system_names(self.systems)
        }
        for key, names in (("train", self.train), ("controls", self.controls)):
            known = {name for name, control in defined.items() if control == (key == "controls")}
            for name in names:
                if name in defined and name not in known:
                    other = "controls" if key == "train" else "train"
                    has = "changes" if key == "train" else "does not change"
                    raise BadKey(key, f"{name} {has} {VIEW}: name it in compare.{other}")
                if name not in known:
                    raise BadKey(
                        key, f"{name!r} is none of {', '.join(sorted(known))}{meant(name, known)}"
                    )
        return self

    @property
    def trained(self) -> tuple[str, ...]:
        """Return the names of all systems that are trained, in the order of tables."""
        return (*self.train, *self.controls)

    def label_of(self, name: str) -> str:
        """Return the description of the system ``name``, for tables and pages."""
        by_name = {system.name: system.label for system in self.systems}
        return by_name[name] if name in by_name else METHODS[name].label
