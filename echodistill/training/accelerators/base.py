"""The interface of an accelerator, and how the chosen one is opened."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import echodistill.models.torchaudio_guard  # noqa: F401

from transformers import TrainerCallback

from echodistill.accelerator_settings import modules_of
from echodistill.models.audio_llm import AudioLLM
from echodistill.params.train import TrainParams
from echodistill.training.trainer import AudioGRPOTrainer
from echodistill.training.validation_rows import ValidationRows

STATE = "accelerator.safetensors"
"""File of a checkpoint in which an accelerator keeps its state."""


class Accelerator(TrainerCallback):
    """A callback that may change weights between two optimizer steps. This one does nothing.

    It comes before all other callbacks of this project: what it adds to a log is written, and the
    file that it adds to a checkpoint is covered by the checkpoint's marker.
    """

    def start(self, trainer: AudioGRPOTrainer, checkpoint: Path | None) -> None:
        """Prepare for a training that begins, or resumes from ``checkpoint``, whose weights are not
        loaded yet.
        """

    def finish(self) -> None:
        """Complete the trained weights after the last step."""


@dataclass(frozen=True)
class Resources:
    """What an accelerator may use beside the trainer."""

    settings: TrainParams
    llm: AudioLLM
    """The student. With an adapter, its model has the adapter within."""
    validation: ValidationRows | None
    """Noisy questions to judge the student on; ``None`` where the caller has none."""
    max_new_tokens: int
    seed: int


def open_accelerator(resources: Resources) -> Accelerator:
    """Return the accelerator that the section ``train`` chooses.

    The module is imported by its name, so that the code hash of a training covers the file of the
    chosen accelerator and of no other.
    """
    modules = modules_of(resources.settings.accelerator)
    if not modules:
        return Accelerator()
    accelerator: Accelerator = import_module(modules[0]).ACCELERATOR(resources)
    return accelerator
