"""Write checkpoints that are either complete or ignored: a marker is written last, and only a
marked one is resumed.

The marker contains the checksums of all files, so each file is read once more. For a full
fine-tuning of 7 billion parameters, 80 GB with the optimizer's state, this takes about a minute of
one core where the processor has instructions for SHA-256.
"""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

from safetensors.torch import load_model, save_model
from transformers import TrainerCallback

from echodistill.core.atomic import sync
from echodistill.core.checksums import SUMS, folder_fault, write_checksums
from echodistill.core.errors import UserError
from echodistill.training.distributed import barrier

MARKER = SUMS
WEIGHTS = "weights.safetensors"
KEPT = 2
_NAME = re.compile(r"checkpoint-[0-9]+")


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _checkpoints(folder: Path) -> list[Path]:
    """Return the folders that a trainer wrote, without copies that somebody made next to them."""
    return [
        path for path in folder.glob("checkpoint-*") if _NAME.fullmatch(path.name) and path.is_dir()
    ]


def latest_complete(folder: Path) -> Path | None:
    """Return the newest checkpoint that has its marker, or ``None`` where there is none."""
    return max(_complete(folder), key=step_of, default=None)


def _complete(folder: Path) -> list[Path]:
    return [checkpoint for checkpoint in _checkpoints(folder) if (checkpoint / MARKER).is_file()]


def mark_complete(checkpoint: Path) -> None:
    """Write the marker after everything else in ``checkpoint`` is on the disk."""
    sync(checkpoint)
    write_checksums(checkpoint)
    sync(checkpoint)


def remove_unusable(folder: Path) -> None:
    """Remove incomplete checkpoints, and damaged ones from the newest to the first undamaged one.

    A warning is printed for each damaged checkpoint. Only the main process calls this, before the
    other processes look for checkpoints. It reads only the newest checkpoint, unless that is
    damaged.
    """
    for checkpoint in _checkpoints(folder):
        if not (checkpoint / MARKER).is_file():
            shutil.rmtree(checkpoint)
    for checkpoint in sorted(_complete(folder), key=step_of, reverse=True):
        fault = folder_fault(checkpoint)
        if not fault:
            return
        shutil.rmtree(checkpoint)
        older = latest_complete(folder)
        instead = f"{older.name} is tried instead" if older else "there is no older one here"
        print(f"warning: {checkpoint} is damaged ({fault}) and removed; {instead}", file=sys.stderr)


def train_to_end(trainer: Any, folder: Path, steps: int) -> None:
    """Train up to ``steps``, starting from the last complete checkpoint in ``folder``.

    A checkpoint of the last step only needs its weights loaded. Raise ``UserError`` where that
    checkpoint would have to be loaded into a sharded model.
    """
    resume = latest_complete(folder)
    if resume is not None and step_of(resume) >= steps:
        if is_sharded(trainer):
            raise UserError(
                f"{resume} is of the last step, and no training in shards goes on from that: remove"
                " it, or train on one GPU"
            )
        trainer._load_from_checkpoint(str(resume))  # ``train`` would make one step too many.
    else:
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)


def remove_checkpoints(folder: Path) -> None:
    """Remove all checkpoints in ``folder``; call this after the trained model is stored
    elsewhere.
    """
    for checkpoint in _checkpoints(folder):
        shutil.rmtree(checkpoint)


class ExactWeights:
    """A mixin for a ``Trainer`` that saves weights under their names in memory and loads them
    strictly.

    transformers saves some models (Qwen2-Audio) under their published names, and its trainer loads
    a checkpoint leniently by the names in memory. No name matches then, no message is printed, and
    training "resumes" from the initial weights. Adapters are not affected. A sharded model (FSDP,
    ZeRO) is not affected either: the library that sharded it writes and reads it under the names in
    memory.
    """

    model: Any

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if is_peft(self.model):
            super()._save(output_dir, state_dict)  # type: ignore[misc]
            return
        if is_sharded(self) or not self.args.should_save:  # type: ignore[attr-defined]
            return
        folder = Path(output_dir or self.args.output_dir)  # type: ignore[attr-defined]
        folder.mkdir(parents=True, exist_ok=True)
        save_model(self.model, str(folder / WEIGHTS))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if is_peft(self.model) or is_sharded(self):
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
            return
        load_model(
            model if model is not None else self.model,
            str(Path(resume_from_checkpoint) / WEIGHTS),
            strict=True,
        )


def is_peft(model: Any) -> bool:
    """Return whether a model has adapters."""
    return hasattr(model, "peft_config")


def is_sharded(trainer: Any) -> bool:
    """Return whether the model is sharded, so that no process has all of it."""
    return bool(trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)


class CompleteCheckpoints(TrainerCallback):
    """A callback that marks each checkpoint once it is written completely, and keeps the newest
    two.

    The older one is used where the newer one is damaged.
    """

    def on_save(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        barrier()  # Each process writes the state of its own random numbers.
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir)
        mark_complete(folder / f"checkpoint-{state.global_step}")
        for checkpoint in sorted(_complete(folder), key=step_of)[:-KEPT]:
            shutil.rmtree(checkpoint)
