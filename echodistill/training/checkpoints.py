"""Checkpoints that are complete or not there: a marker is written last, and only marked ones are resumed from."""

import shutil
from pathlib import Path
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

from transformers import TrainerCallback

MARKER = "complete"
KEPT = 2


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def latest_complete(folder: Path) -> Path | None:
    """The newest checkpoint with its marker. Half-written ones, left by a kill, are removed."""
    complete = []
    for checkpoint in folder.glob("checkpoint-*"):
        if (checkpoint / MARKER).is_file():
            complete.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return max(complete, key=_step_of, default=None)


class CompleteCheckpoints(TrainerCallback):
    """Mark each checkpoint once everything in it is written, and keep the newest two."""

    def on_save(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir)
        (folder / f"checkpoint-{state.global_step}" / MARKER).touch()
        complete = [checkpoint for checkpoint in folder.glob("checkpoint-*") if (checkpoint / MARKER).is_file()]
        for checkpoint in sorted(complete, key=_step_of)[:-KEPT]:
            shutil.rmtree(checkpoint)
