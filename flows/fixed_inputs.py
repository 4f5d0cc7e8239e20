"""A stage's inputs are fixed at its start: DVC records a stage only if they are the same when it
has ended.

DVC hashes what a stage read after it ran, too, and records that. A file that was edited meanwhile
would stand in ``dvc.lock`` and in the run cache as what the stage ran with, and its outputs would
be handed out from then on for inputs that they were not made from.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch


@contextmanager
def inputs_fixed() -> Iterator[None]:
    """While the block runs, a stage whose inputs changed during its run fails in DVC and is
    recorded nowhere.

    The comparison is of the very hashes that DVC would record, so there is no moment at which a
    change goes unnoticed.
    """
    from dvc.stage import Stage

    run_stage, save_deps = Stage._run_stage, Stage.save_deps

    def run_with_inputs_noted(stage: Any, dry: bool, force: bool, **options: Any) -> None:
        if dry:
            run_stage(stage, dry, force, **options)
            return
        if force:  # DVC has not looked at the inputs before
            save_deps(stage)
        run_stage(stage, dry, force, **options)
        stage.inputs_at_start = _inputs(stage)  # as they were hashed just before the command

    def save_same_deps(stage: Any, allow_missing: bool = False) -> None:
        save_deps(stage, allow_missing=allow_missing)
        _check_same(stage, stage.__dict__.pop("inputs_at_start", None))

    with (
        patch.object(Stage, "_run_stage", run_with_inputs_noted),
        patch.object(Stage, "save_deps", save_same_deps),
    ):
        yield


def _inputs(stage: Any) -> dict[str, Any]:
    return {str(dep): dep.hash_info for dep in stage.deps}


def _check_same(stage: Any, before: dict[str, Any] | None) -> None:
    """Raises DVC's error for a stage with ``before``, its inputs at the start, that differ from
    those now.
    """
    from dvc.exceptions import DvcException

    changed = [
        path for path, now in _inputs(stage).items() if before is not None and before[path] != now
    ]
    if changed:
        raise DvcException(
            f"{', '.join(changed)} changed while stage {stage.addressing} ran: what it made is of"
            " neither state and is not recorded. Run it again"
        )
