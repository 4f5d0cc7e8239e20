"""Count what a training logs besides the loss: tokens, clips, speed, and the metrics of all
processes.
"""

import time
from collections.abc import Sequence
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

import torch
from transformers import Trainer

from echodistill.methods.base import Batch, require
from echodistill.training.distributed import all_gather_object, processes

COUNTED = ("clips", "sampled_tokens", "target_tokens")
TIMING_METRICS = ("tokens_per_s", "clips_per_s", "step_time", "effopd/seconds")


def truncated_share(ids: torch.Tensor, mask: torch.Tensor, end_ids: Sequence[int]) -> torch.Tensor:
    """Return the share of the responses that were cut off at the length limit, as a scalar tensor.

    These are the rows of ``ids`` and ``mask`` (B, T) whose last token is none of ``end_ids``.
    """
    last = ids.gather(1, (mask.sum(dim=1, keepdim=True) - 1).clamp(min=0))
    return (~torch.isin(last, torch.tensor(end_ids, device=ids.device))).float().mean()


class CountedSteps(Trainer):
    """A mixin for TRL's trainer that adds to its ``_metrics`` and ``_logs``."""

    _metrics: Any
    _logs: Any

    def _reset_counts(self) -> None:
        """Set to 0 the counts since the last log.

        They are the numbers of clips, of tokens that the student sampled, and of tokens of
        references or gold answers from which it learned.
        """
        self._counts: dict[str, float] = dict.fromkeys(COUNTED, 0) | {"since": time.perf_counter()}

    def leave_out(self, seconds: float) -> None:
        """Leave ``seconds`` that were no part of a step out of the speeds of the next log."""
        self._counts["since"] += seconds

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
            # A method may set targets for each prompt or for each sample.
            mask = batch.targets.mask[:: max(1, len(batch.targets.mask) // clips)]
            self._counts["target_tokens"] += int(mask.sum())

    def _log_advantages(self, advantages: torch.Tensor | None) -> None:
        """Replace the advantages that TRL has logged by ``advantages`` (B,) of all processes.

        TRL's own are divided by the sample's standard deviation.
        """
        gathered = self.accelerator.gather(require(advantages)).tolist()
        logged = self._logs["advantages"]
        for _ in gathered:
            logged.pop()
        logged.extend(gathered)

    def _gather_metrics(self) -> None:
        """Combine the metrics of all processes: values are concatenated, counts are added.

        Values that TRL has gathered already are the same in each process.
        """
        gathered = all_gather_object((dict(self._metrics["train"]), self._counts))
        names = sorted({name for metrics, _ in gathered for name in metrics})
        for name in names:
            self._metrics["train"][name] = [
                value for metrics, _ in gathered for value in metrics.get(name, [])
            ]
        for name in COUNTED:
            self._counts[name] = sum(counts[name] for _, counts in gathered)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the tokens and the speed since the last log, and the metrics that other processes
        recorded.
        """
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
