"""Write one JSON line for each training step to ``metrics.jsonl``, then pass its metrics on."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

from transformers import TrainerCallback

MetricSink = Callable[[int, dict[str, float]], None]


def discard_metrics(_step: int, _metrics: dict[str, float]) -> None:
    """Discard the metrics; the sink of a training whose metrics go only to the file."""


class MetricsLog(TrainerCallback):
    """A callback that writes each log of the trainer to a file, then passes it to ``sink``.

    Only the main process writes.
    """

    def __init__(self, path: Path, sink: MetricSink) -> None:
        self._path = path
        self._sink = sink
        self.once: dict[str, float] = {}
        """Facts of the whole training, which are added to the first step."""

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: dict[str, Any] | None = None,
        **_kwargs: Any,
    ) -> None:
        numbers = {
            name: value for name, value in (logs or {}).items() if isinstance(value, int | float)
        }
        # The summary at the end of training repeats known values.
        if "loss" not in numbers or not state.is_world_process_zero:
            return
        if state.global_step == 1:
            numbers |= self.once
        row = {"step": state.global_step, **numbers}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
        self._sink(
            state.global_step,
            {name: value for name, value in numbers.items() if math.isfinite(value)},
        )
