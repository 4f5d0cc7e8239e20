"""EffOPD (arXiv 2605.11739): longer steps along the direction of the training, kept if they help.

At the optimizer steps 1, 2, 4, 8, ... the weights are moved on along Δ, the difference to the
weights that were kept at the previous such event (at first the initial weights): candidate k is
``W + 2kΔ``. Candidates are scored in order, each one that improves the score is accepted, the first
that does not ends the event, and the best is restored [paper].

This implementation differs from the paper and its released code as follows:
1. The items are noisy clips of the validation split, the same at each scoring, answered greedily;
   the paper takes 50 training items [ours].
2. A candidate whose share of answers that name a choice falls is not accepted: extrapolation has a
   cliff where a model is nearly certain of its outputs (arXiv 2605.08737) [ours].
3. ``accept`` chooses between ``>`` [code] and ``≥`` [paper].
4. What is kept at an event is its outcome, the accepted candidate, so that the next Δ is what
   training alone did since [ours].
5. The product of a LoRA adapter is moved exactly; see ``adapter.py`` [ours].
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from echodistill.core.counted import counted
from echodistill.core.errors import UserError
from echodistill.params.accelerators import EffOpdParams
from echodistill.training.accelerators.adapter import AdapterWeights
from echodistill.training.accelerators.base import STATE, Accelerator, Resources
from echodistill.training.accelerators.scoring import Score, Scorer
from echodistill.training.accelerators.weights import FullWeights, Weights
from echodistill.training.checkpoints import is_peft, is_sharded
from echodistill.training.distributed import is_main
from echodistill.training.frozen import without_dropout
from echodistill.training.trainer import AudioGRPOTrainer

VALUES = "values"
"""Key of the state's file under which it holds values as JSON."""


@dataclass(frozen=True)
class Event:
    """The outcome of one search along Δ."""

    step: int
    accepted: int
    """Number k of the candidate whose weights were kept; 0 where none was accepted."""
    scores: tuple[Score, ...]
    """Scores of the candidates that were tried, beginning with candidate 0; none where Δ is 0."""

    def metrics(self) -> dict[str, float]:
        """Return the numbers to log with the step."""
        found: dict[str, float] = {
            "effopd/accepted": self.accepted,
            "effopd/scorings": len(self.scores),
        }
        for number, score in enumerate(self.scores):
            found[f"effopd/accuracy_{number}"] = score.accuracy
            found[f"effopd/parse_rate_{number}"] = score.parse_rate
        return found

    def line(self, seconds: float) -> str:
        """Return the event in words."""
        if not self.scores:
            return f"effopd: step {self.step}: the weights have not moved; nothing is scored"
        accuracies = " ".join(f"{score.accuracy:.3f}" for score in self.scores)
        parsed = " ".join(f"{score.parse_rate:.3f}" for score in self.scores)
        moved = f"W + {2 * self.accepted}Δ is kept" if self.accepted else "no candidate is accepted"
        return (
            f"effopd: step {self.step}: {moved}; accuracy of W and the candidates {accuracies},"
            f" share parsed {parsed} ({counted(len(self.scores), 'scoring')} in {seconds:.1f} s)"
        )


def is_event(step: int) -> bool:
    """Return whether an event follows the optimizer step ``step``: a power of two."""
    return step > 0 and step & (step - 1) == 0


def is_accepted(candidate: Score, before: tuple[Score, ...], settings: EffOpdParams) -> bool:
    """Return whether ``candidate`` is accepted after ``before``, of which the last is the best so
    far.
    """
    best, most_parsed = before[-1], max(score.parsed for score in before)
    improves = candidate.right > best.right or (
        settings.accept == "equal" and candidate.right == best.right
    )
    # The tolerance covers the rounding of the margin alone: counts are whole numbers.
    fallen = most_parsed - candidate.parsed
    return improves and fallen <= settings.parse_margin * candidate.items + 1e-6


def search(score_of: Callable[[int], Score], settings: EffOpdParams) -> tuple[int, list[Score]]:
    """Return the number of the best candidate and all scores, that of candidate 0 first.

    Source: arXiv 2605.11739 [paper].
    """
    scores = [score_of(0)]
    for candidate in range(1, settings.candidates + 1):
        scores.append(score_of(candidate))
        if not is_accepted(scores[-1], tuple(scores[:-1]), settings):
            return candidate - 1, scores
    return settings.candidates, scores


class EffOpd(Accelerator):
    """See the module's description."""

    def __init__(self, resources: Resources) -> None:
        """Choose the validation items. Raise ``UserError`` where there are none."""
        self._settings = resources.settings.effopd
        rows = resources.validation
        items = rows.chosen(self._settings.items, resources.seed) if rows is not None else []
        if rows is None or not items:
            raise UserError(
                "train.accelerator: effopd scores its candidates on noisy clips of the validation"
                " split, and there are none: raise corpus.validation_share, or write none"
            )
        self._score = Scorer(resources.llm, rows, items, resources.max_new_tokens)
        self._items = len(items)
        self._events: list[dict[str, float]] = []
        self._unlogged: dict[str, float] = {}

    def start(self, trainer: AudioGRPOTrainer, checkpoint: Path | None) -> None:
        """See ``Accelerator``.

        Raise ``UserError`` where the model is sharded, or where ``checkpoint`` was written without
        this accelerator.
        """
        if is_sharded(trainer):
            raise UserError(
                "train.accelerator: effopd needs all weights in each process: train without FSDP"
                " and DeepSpeed, or write none"
            )
        self._trainer = trainer
        model: Any = trainer.accelerator.unwrap_model(trainer.model)
        self._weights: Weights = AdapterWeights(model) if is_peft(model) else FullWeights(model)
        if checkpoint is not None:
            self._load(checkpoint / STATE)
        if is_main():
            print(f"effopd: candidates are scored on {self._items} validation items")

    def _load(self, path: Path) -> None:
        if not path.is_file():
            raise UserError(
                f"{path} is missing: the checkpoint was written without train.accelerator: effopd;"
                " remove the checkpoint, or write none"
            )
        with safe_open(path, framework="pt") as file:
            values = json.loads(file.metadata()[VALUES])
        self._events = values["events"]
        self._weights.load(load_file(path), values["weights"])

    def on_step_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        if not is_event(state.global_step):
            return
        started = time.perf_counter()
        event = self._event(state.global_step)
        seconds = time.perf_counter() - started
        self._trainer.leave_out(seconds)
        self._events.append({"step": event.step, **event.metrics()})
        self._unlogged = {**event.metrics(), "effopd/seconds": seconds}
        if is_main():
            print(event.line(seconds), flush=True)

    def _event(self, step: int) -> Event:
        def score_of(candidate: int) -> Score:
            self._weights.put(candidate)
            return self._score()

        if not self._weights.begin():  # The learning rate of a warm-up begins at 0.
            return Event(step, 0, ())
        with without_dropout(self._trainer.model):
            accepted, scores = search(score_of, self._settings)
        self._weights.end(accepted)
        return Event(step, accepted, tuple(scores))

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: dict[str, Any] | None = None,
        **_kwargs: Any,
    ) -> None:
        if logs is not None and "loss" in logs:
            logs |= self._unlogged
            self._unlogged = {}

    def on_save(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        tensors, values = self._weights.state()
        text = json.dumps({"weights": values, "events": self._events})
        path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / STATE
        save_file(tensors, path, metadata={VALUES: text})

    def finish(self) -> None:
        self._weights.finish()
        if is_main():
            moved = sum(event["effopd/accepted"] > 0 for event in self._events)
            scorings = sum(event["effopd/scorings"] for event in self._events)
            print(
                f"effopd: {moved} of {counted(len(self._events), 'event')} moved the weights;"
                f" {counted(int(scorings), 'scoring')} of {counted(self._items, 'answer')}"
            )


ACCELERATOR = EffOpd
