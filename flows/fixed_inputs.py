"""Fix a stage's inputs at its start: DVC records a stage only if they are unchanged at its end.

DVC hashes a stage's inputs again after the stage ran, and records those hashes. A file that was
edited meanwhile would be recorded in ``dvc.lock`` and in the run cache as the stage's input, and
from then on DVC would restore the outputs for inputs from which they were not made.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch


@contextmanager
def inputs_fixed() -> Iterator[None]:
    """Make DVC fail, and record nothing, where a stage's inputs change while the stage runs in the
    block.

    The comparison uses the same hashes that DVC would record, so a change at any moment is found.
    """
    from dvc.stage import Stage

    run_stage, save_deps = Stage._run_stage, Stage.save_deps

    def run_recording_inputs(stage: Any, dry: bool, force: bool, **options: Any) -> None:
        if dry:
            run_stage(stage, dry, force, **options)
            return
        if force:  # With ``force``, DVC has not hashed the inputs yet.
            save_deps(stage)
        run_stage(stage, dry, force, **options)
        # These hashes were computed just before the command ran.
        stage.inputs_at_start = _inputs(stage)

    def save_same_deps(stage: Any, allow_missing: bool = False) -> None:
        save_deps(stage, allow_missing=allow_missing)
        _check_same(stage, stage.__dict__.pop("inputs_at_start", None))

    with (
        patch.object(Stage, "_run_stage", run_recording_inputs),
        patch.object(Stage, "save_deps", save_same_deps),
    ):
        yield


def _inputs(stage: Any) -> dict[str, Any]:
    return {str(dep): dep.hash_info for dep in stage.deps}


def _check_same(stage: Any, before: dict[str, Any] | None) -> None:
    """Raise ``DvcException`` where the stage's inputs now differ from ``before``, its inputs at the
    start.

    ``before`` is ``None`` where the inputs at the start are not known; nothing is compared then.
    """
    from dvc.exceptions import DvcException

    changed = [
        path for path, now in _inputs(stage).items() if before is not None and before[path] != now
    ]
    if changed:
        raise DvcException(
            f"{', '.join(changed)} changed while stage {stage.addressing} ran: its outputs match"
            " neither state and are not recorded. Run it again"
        )
