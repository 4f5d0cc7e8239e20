"""Train a student by a method so that a killed training can resume."""

import json
import math
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

from transformers import TrainerCallback
from trl import GRPOConfig

from echodistill.core.counted import counted
from echodistill.core.errors import UserError
from echodistill.methods.base import Method
from echodistill.methods.registry import open_method
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.text_llm import TextLLM
from echodistill.params.train import TrainParams
from echodistill.rewards.registry import chosen_rewards
from echodistill.training.accelerators.base import Resources, open_accelerator
from echodistill.training.bar import ProgressBar, remove_printer
from echodistill.training.checkpoints import (
    CompleteCheckpoints,
    is_sharded,
    latest_complete,
    remove_unusable,
    step_of,
    train_to_end,
)
from echodistill.training.device import precision, require_float32, split_batch
from echodistill.training.distributed import barrier, is_main, processes
from echodistill.training.metrics_file import METRICS, read_metrics, trim_after
from echodistill.training.metrics_log import MetricSink, MetricsLog
from echodistill.training.step_counts import TIMING_METRICS
from echodistill.training.trainer import AudioGRPOTrainer
from echodistill.training.training_rows import TrainingRows, sample_order
from echodistill.training.validation_rows import ValidationRows


@dataclass(frozen=True)
class Trained:
    """The result of a finished training."""

    model: Any
    """The full model, or the adapter around it; ``save_pretrained`` writes what was trained."""
    trainable: dict[str, int]
    """Number of trainable parameters by module."""
    weights: dict[str, Any] | None
    """Weights for ``save_pretrained(state_dict=...)`` where the model is sharded; ``None``
    otherwise.
    """


def train_student(
    llm: AudioLLM,
    source: TrainingRows,
    settings: TrainParams,
    max_new_tokens: int,
    seed: int,
    folder: Path,
    sink: MetricSink,
    callbacks: Sequence[TrainerCallback] = (),
    method: Method | None = None,
    validation: ValidationRows | None = None,
    text_teacher: TextLLM | None = None,
) -> Trained:
    """Train ``llm`` in place, starting from the last complete checkpoint in ``folder``.

    Rollouts have up to ``max_new_tokens`` tokens. ``method`` defaults to the one that ``settings``
    choose. Every logged step is written to ``folder/metrics.jsonl`` first and passed to ``sink``
    after that. ``callbacks`` are called for a checkpoint when it is complete. ``validation`` has
    the questions that an accelerator judges the student on. ``text_teacher`` is the teacher without
    audio of methods that have one. Where several processes train together, all of them call this,
    and only the main one writes. Raise ``UserError`` where the rows lack a field that the method
    needs, its textual teacher is missing, or the accelerator cannot work.
    """
    method = method or open_method(settings)
    if method.settings.text_teacher and text_teacher is None:
        raise UserError(
            f"the method ({method.settings.label}) needs a textual teacher: set base.text_teacher"
        )
    source.check_fields(method.settings.needs)
    accelerator = open_accelerator(Resources(settings, llm, validation, max_new_tokens, seed))
    log = folder / METRICS
    if is_main():
        remove_unusable(folder)
        resume = latest_complete(folder)
        trim_after(log, step_of(resume) if resume else 0)
    barrier()
    resume = latest_complete(folder)
    metrics = MetricsLog(log, sink)
    order = sample_order(len(source), settings.steps * settings.prompts_per_step, seed)
    # TRL uses names that transformers is about to rename, and accelerate uses such names of torch.
    # The user could fix neither.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|accelerate")
    trainer = AudioGRPOTrainer(
        llm,
        source,
        order,
        method,
        chosen_rewards(method.rewards, settings.reward),
        _arguments(llm, method, settings, max_new_tokens, seed, folder),
        settings.clean_rollouts,
        text_teacher,
        callbacks=[
            accelerator,
            CompleteCheckpoints(),
            *method.callbacks(),
            *callbacks,
            metrics,
            *([ProgressBar("train")] if is_main() else []),
        ],
        peft_config=_adapter(settings) if settings.weights == "lora" else None,
    )
    remove_printer(trainer)
    if is_sharded(trainer) and uses_hidden_states(method):
        raise UserError(
            f"the method ({method.settings.label}) applies the model's head to hidden states, and"
            " needs all weights in each process: train without FSDP and DeepSpeed"
        )
    # DeepSpeed keeps float32 weights of its own besides the model's.
    if not trainer.is_deepspeed_enabled:
        require_float32(trainer.model)
    accelerator.start(trainer, resume)
    trainable = trainable_by_module(trainer.model)
    metrics.once = {f"trainable/{module}": count for module, count in trainable.items()}
    total = sum(parameter.numel() for parameter in trainer.model.parameters())
    if is_main():
        parts = ", ".join(f"{name} {count:,}" for name, count in trainable.items())
        print(f"training {sum(trainable.values()):,} of {total:,} parameters: {parts}")
        if resume:
            print(f"resuming from {resume}")
    train_to_end(trainer, folder, settings.steps)
    accelerator.finish()
    # All processes gather the weights together.
    weights = (
        trainer.accelerator.get_state_dict(trainer.model_wrapped) if is_sharded(trainer) else None
    )
    barrier()
    if is_main():
        for remark in method.remarks(read_metrics(log)):
            print(remark)
    return Trained(trainer.accelerator.unwrap_model(trainer.model).eval(), trainable, weights)


def uses_hidden_states(method: Method) -> bool:
    """Return whether a method applies the model's head to hidden states by itself."""
    return method.settings.text_teacher or "hidden_states" in method.needs_of_teachers()


def _arguments(
    llm: AudioLLM,
    method: Method,
    settings: TrainParams,
    max_new_tokens: int,
    seed: int,
    folder: Path,
) -> GRPOConfig:
    if settings.prompts_per_step % processes():
        count = settings.prompts_per_step
        cure = (
            f"launch a number of processes that divides {count}, or change train.prompts_per_step"
        )
        raise UserError(
            f"train.prompts_per_step: {counted(count, 'prompt')} cannot be shared by"
            f" {processes()} processes:"
            f" {cure}"
        )
    device_rows, accumulation = split_batch(
        settings.prompts_per_step * settings.rollouts // processes(), settings.rollouts
    )
    return GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=device_rows,
        gradient_accumulation_steps=accumulation,
        # Generation and the teacher's scoring then also have no more rows than a device can hold.
        steps_per_generation=1,
        # The order is drawn in advance, so that a resume in any epoch continues with the right row.
        shuffle_dataset=False,
        num_generations=settings.rollouts,
        max_steps=settings.steps,
        learning_rate=method.settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, math.ceil(settings.warmup_share * settings.steps)),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        temperature=settings.temperature,
        max_completion_length=max_new_tokens,
        epsilon=method.trl_loss.clip,
        loss_type="grpo",
        generation_kwargs={"suppress_tokens": llm.never_sample},
        gradient_checkpointing=False,
        logging_steps=1,
        logging_nan_inf_filter=False,  # A loss that is NaN must be visible and not logged as 0.
        save_strategy="steps",
        save_steps=settings.checkpoint_every,
        report_to=[],
        seed=seed,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        # A method calls the model more than once before the backward pass.
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,  # No buffer is trained.
        **precision(),
    )


def _adapter(settings: TrainParams) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=settings.lora.rank,
        lora_alpha=settings.lora.alpha,
        lora_dropout=settings.lora.dropout,
        target_modules="all-linear",
        exclude_modules=["lm_head"],
        task_type="CAUSAL_LM",
    )


def trainable_by_module(model: Any) -> dict[str, int]:
    """Return the number of trainable parameters of each part (encoder, projector, decoder, head).

    The counts show what was frozen.
    """
    counts: dict[str, int] = defaultdict(int)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parts = [
                part for part in name.split(".") if part not in ("model", "base_model", "module")
            ]
            counts[parts[0]] += parameter.numel()
    return dict(counts)


def write_metrics(log: Path, target: Path) -> None:
    """Copy the log without its timings, so that the same training gives the same bytes."""
    rows = [
        {name: value for name, value in row.items() if name not in TIMING_METRICS}
        for row in read_metrics(log)
    ]
    target.write_text(
        "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows), encoding="utf-8"
    )
