"""Show the trainers' progress in one bar with the rate, the remaining time and the loss."""

from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback

from echodistill.core.progress import bar


class ProgressBar(TrainerCallback):
    """A progress bar that counts optimizer steps."""

    def __init__(self, label: str) -> None:
        self._label = label

    def on_train_begin(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        self._bar = bar(state.max_steps, self._label, "steps")
        self._bar.update(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        self._bar.update()

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: dict[str, Any] | None = None,
        **_kwargs: Any,
    ) -> None:
        shown = {
            name: f"{logs[name]:.3g}"
            for name in ("loss", "reward")
            if logs and isinstance(logs.get(name), float)
        }
        self._bar.set_postfix(shown, refresh=False)

    def on_train_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        self._bar.close()


def remove_printer(trainer: Trainer) -> None:
    """Remove the callback with which the trainer prints raw dictionaries."""
    trainer.remove_callback(PrinterCallback)
