"""What a training logs beside the loss: tokens, clips, speed, and figures of all processes."""

import time
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

import torch
from transformers import Trainer

from echodistill.training.distributed import all_gather_object, processes

COUNTED = ("clips", "sampled_tokens", "target_tokens")
TIMING_METRICS = ("tokens_per_s", "clips_per_s", "step_time")


class CountedSteps(Trainer):
    """Mix into TRL's trainer, whose ``_metrics`` it adds to."""

    _metrics: Any

    def _reset_counts(self) -> None:
        """Set to 0 what is counted since the last log: clips, tokens that the student sampled, and
        tokens of references or gold answers that it learned from.
        """
        self._counts: dict[str, float] = dict.fromkeys(COUNTED, 0) | {"since": time.perf_counter()}

    def _record(self, name: str, value: torch.Tensor | float) -> None:
        self._metrics["train"][name].append(
            value.item() if isinstance(value, torch.Tensor) else value
        )

    def _gather_metrics(self) -> None:
        """Metrics of all processes together: values side by side (what TRL has gathered already is
        the same in each), counts added.
        """
        everyone = all_gather_object((dict(self._metrics["train"]), self._counts))
        names = sorted({name for metrics, _ in everyone for name in metrics})
        for name in names:
            self._metrics["train"][name] = [
                value for metrics, _ in everyone for value in metrics.get(name, [])
            ]
        for name in COUNTED:
            self._counts[name] = sum(counts[name] for _, counts in everyone)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds: tokens and speed since the last log, and what the other processes recorded."""
        if processes() > 1:
            self._gather_metrics()
        elapsed = time.perf_counter() - self._counts["since"]
        if "loss" in logs:
            counts = {name: self._counts[name] for name in COUNTED}
            tokens = counts["sampled_tokens"] + counts["target_tokens"]
            logs |= {
                "clips_per_s": counts.pop("clips") / elapsed,
                "tokens_per_s": tokens / elapsed,
            } | counts
            self._reset_counts()
        super().log(logs, start_time)
