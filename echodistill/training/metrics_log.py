"""Training metrics: one JSON line a step in ``metrics.jsonl`` first; whoever else wants them gets
them after that.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

from transformers import TrainerCallback

MetricSink = Callable[[int, dict[str, float]], None]


def nowhere(_step: int, _metrics: dict[str, float]) -> None:
    """The sink of metrics that nobody else wants."""


class MetricsLog(TrainerCallback):
    """Writes every log of the trainer to a file, then hands it to ``sink``; in the main process
    only.
    """

    def __init__(self, path: Path, sink: MetricSink) -> None:
        self._path = path
        self._sink = sink
        self.once: dict[str, float] = {}
        """Added to the first step: facts of the whole training."""

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
        # the summary at the end of training repeats what is known
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
