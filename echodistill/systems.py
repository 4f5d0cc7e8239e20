"""The systems a comparison trains, by name: the methods, the controls of the teacher's view, and
the ablations.

Each says how its training differs from ``params.yaml``; everything else is the same for all, the
optimizer steps and prompts above all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from echodistill.errors import UserError
from echodistill.params.comparison import System
from echodistill.params.references import Control, ViewName
from echodistill.params.train import TrainParams
from echodistill.params.whole import Params


@dataclass(frozen=True)
class TrainedSystem:
    """One way to train."""

    label: str
    """What it is, for tables and pages."""
    train: Mapping[str, Any] = field(default_factory=dict)
    """What differs in the section ``train``, by dotted key."""
    view: ViewName = "clean"


BASE: Final = "base"
"""The model before training, in every table."""
STUDENT: Final = "student"
"""A student that was trained before, in the table of an evaluation."""
OURS: Final = "echodistill"
"""The system that all others are set against."""
_OURS = {"method": "echodistill"}
SYSTEMS: Mapping[System | Control, TrainedSystem] = {
    "sft": TrainedSystem("supervised on the gold answers", {"method": "sft"}),
    "grpo": TrainedSystem("GRPO alone: no teacher", {"method": "grpo"}),
    "distill": TrainedSystem("distillation alone: no rollouts", {"method": "distill"}),
    "echodistill": TrainedSystem("EchoDistill: GRPO and distillation", _OURS),
    "shuffled": TrainedSystem("EchoDistill, the teacher receives another clip", _OURS, "shuffled"),
    "noise": TrainedSystem("EchoDistill, the teacher receives white noise", _OURS, "noise"),
    "silence": TrainedSystem("EchoDistill, the teacher receives silence", _OURS, "silence"),
    "shaping-off": TrainedSystem(
        "EchoDistill without the consistency bonus", _OURS | {"objective.shaping": "off"}
    ),
    "shaping-instance": TrainedSystem(
        "EchoDistill, one bonus a prompt", _OURS | {"objective.shaping": "instance"}
    ),
    "shaping-candidate": TrainedSystem(
        "EchoDistill, a bonus for each candidate", _OURS | {"objective.shaping": "candidate"}
    ),
    "kl-forward": TrainedSystem(
        "EchoDistill, KL(teacher, student)", _OURS | {"objective.kl": "forward"}
    ),
    "kl-reverse": TrainedSystem(
        "EchoDistill, KL(student, teacher)", _OURS | {"objective.kl": "reverse"}
    ),
    "kl-jsd": TrainedSystem(
        "EchoDistill, Jensen-Shannon divergence", _OURS | {"objective.kl": "jsd"}
    ),
    "ratio-teacher": TrainedSystem(
        "EchoDistill, ratio against the clean teacher",
        _OURS | {"objective.ratio_reference": "teacher"},
    ),
    "ratio-old": TrainedSystem(
        "EchoDistill, ratio against the old policy", _OURS | {"objective.ratio_reference": "old"}
    ),
    "rollouts-2": TrainedSystem("EchoDistill, groups of 2", _OURS | {"rollouts": 2}),
    "rollouts-8": TrainedSystem("EchoDistill, groups of 8", _OURS | {"rollouts": 8}),
    "beta-0.2": TrainedSystem("EchoDistill, bonus 0.2", _OURS | {"objective.shaping_bonus": 0.2}),
    "beta-1": TrainedSystem("EchoDistill, bonus 1", _OURS | {"objective.shaping_bonus": 1.0}),
}


def fold_run(fold: int, seed: int) -> str:
    """Return the name of a training of ``OURS`` in a further fold of the rotation over held-out
    kinds of noise.
    """
    return f"fold{fold}-{seed}"


def check_distinct(params: Params) -> None:
    """Raises ``UserError`` where two systems of a comparison would be one training by two names."""
    seen: dict[str, str] = {}
    for name in params.comparison.trained:
        system = SYSTEMS[name]
        same = f"{settings_for(system, params.train).model_dump_json()} {system.view}"
        if (other := seen.setdefault(same, name)) != name:
            raise UserError(
                f"comparison.systems: {name} is what {other} is already, by the section train:"
                " leave one of them out"
            )


def settings_for(system: TrainedSystem, train: TrainParams) -> TrainParams:
    """The section ``train`` as this system has it."""
    raw = train.model_dump()
    for key, value in system.train.items():
        *outer, last = key.split(".")
        node = raw
        for part in outer:
            node = node[part]
        node[last] = value
    return TrainParams.model_validate(raw)
