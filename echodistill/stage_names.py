"""Check the names of stages that a user gives, against ``dvc.yaml``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from echodistill.core.errors import UserError
from echodistill.core.similar import meant
from echodistill.core.yaml12 import load_yaml

PIPELINE = Path("dvc.yaml")


def check_stages(targets: Sequence[str]) -> None:
    """Raise ``UserError`` where one of ``targets`` is no stage of ``dvc.yaml``.

    DVC also takes paths and stages of other files (``FILE:STAGE``) as targets, and reports faults
    of these itself.
    """
    if not targets:
        return
    stages: dict[str, Any] = load_yaml(PIPELINE.read_text(encoding="utf-8"))["stages"]
    single = [f"{name}@{key}" for name, stage in stages.items() for key in stage.get("foreach", ())]
    for target in targets:
        if "/" in target or ":" in target or Path(target).exists():
            continue
        if target in stages or target in single:
            continue
        group = target.partition("@")[0]
        listed = [name for name in single if name.startswith(f"{group}@")] or list(stages)
        example = (
            f", and parts of stages, e.g. {single[0]}" if single and listed[0] in stages else ""
        )
        raise UserError(
            f"there is no stage {target!r}; there are {', '.join(listed)}{example}"
            f"{meant(target, [*stages, *single])}"
        )
