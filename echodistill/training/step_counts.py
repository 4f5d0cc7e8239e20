"""What a training logs beside the loss: tokens, clips, speed, and figures of all processes."""

import time
from collections.abc import Sequence
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

import torch
from transformers import Trainer

from echodistill.methods.base import Batch, given
from echodistill.training.distributed import all_gather_object, processes

COUNTED = ("clips", "sampled_tokens", "target_tokens")
TIMING_METRICS = ("tokens_per_s", "clips_per_s", "step_time")


def truncated_share(ids: torch.Tensor, mask: torch.Tensor, end_ids: Sequence[int]) -> torch.Tensor:
    """Return the share of the responses ``ids`` (B, T) that were cut at the length limit: whose
    last token is none of ``end_ids``.
    """
    last = ids.gather(1, (mask.sum(dim=1, keepdim=True) - 1).clamp(min=0))
    return (~torch.isin(last, torch.tensor(end_ids, device=ids.device))).float().mean()


class CountedSteps(Trainer):
    """Mix into TRL's trainer, whose ``_metrics`` and ``_logs`` it adds to."""

    _metrics: Any
    _logs: Any

    def _reset_counts(self) -> None:
        """Set to 0 what is counted since the last log: clips, tokens that the student sampled, and
        tokens of references or gold answers that it learned from.
        """
        self._counts: dict[str, float] = dict.fromkeys(COUNTED, 0) | {"since": time.perf_counter()}

    def _record(self, name: str, value: torch.Tensor | float) -> None:
        self._metrics["train"][name].append(
            value.item() if isinstance(value, torch.Tensor) else value
        )

    def _count(self, clips: int, batch: Batch) -> None:
        """Count a batch of ``clips`` prompts."""
        self._counts["clips"] += clips
        if batch.completion_mask is not None:
            self._counts["sampled_tokens"] += int(batch.completion_mask.sum())
        if batch.targets is not None:
            # a method may set targets of each prompt or of each sample
            mask = batch.targets.mask[:: max(1, len(batch.targets.mask) // clips)]
            self._counts["target_tokens"] += int(mask.sum())

    def _log_advantages(self, advantages: torch.Tensor | None) -> None:
        """Put the advantages (B,) of all processes where TRL has logged its own, which divide by
        the sample's deviation.
        """
        gathered = self.accelerator.gather(given(advantages)).tolist()
        logged = self._logs["advantages"]
        for _ in gathered:
            logged.pop()
        logged.extend(gathered)

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
