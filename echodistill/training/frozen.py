"""The model as training starts from it, kept unchanged: EchoDistill's teacher, and what GRPO's KL
penalty is measured against.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

from transformers import Trainer
from trl.models import prepare_deepspeed, prepare_fsdp

from echodistill.models.audio_llm import AudioLLM


def frozen_copy(model: Any) -> Any:
    """Return a copy of ``model`` that nothing trains, without dropout, in the format of the model's
    own weights.

    Take it before a trainer prepares the model, and before a checkpoint is loaded into it: then it
    has the base's weights, also where a training is resumed. Under full fine-tuning that is
    float32, 4 bytes a parameter: a bfloat16 copy would halve that, but round otherwise than the
    student, so that they would differ before the first step.
    """
    return copy.deepcopy(model).eval().requires_grad_(False)


@contextmanager
def without_dropout(model: Any) -> Iterator[None]:
    """Switch off, inside, whatever ``model`` does in training alone (dropout, an adapter's too);
    restore it afterwards.

    The model's own ``training`` flag stays as it is, since TRL reads from it whether it trains or
    evaluates: the flags of all modules within are cleared, which is where dropout is.
    """
    within = [module for module in model.modules() if module is not model and module.training]
    for module in within:
        module.training = False
    try:
        yield
    finally:
        for module in within:
            module.training = True


class FrozenModel(Trainer):
    """Mix into a trainer whose student has a frozen teacher.

    The teacher of a LoRA student is the student itself with the adapter off; a full one needs a
    frozen copy.
    """

    _frozen: Any = None

    def _copy_of(self, llm: AudioLLM, options: Mapping[str, Any]) -> Any:
        """Return a frozen copy, or ``None`` where the trainer's ``options`` have an adapter."""
        return frozen_copy(llm.model) if options.get("peft_config") is None else None

    def _prepare_frozen(self, frozen: Any) -> None:
        """Put a frozen copy on this process's device, computing in the precision of the student:
        as TRL prepares its own.
        """
        if frozen is None:
            return
        if self.is_deepspeed_enabled:
            self._frozen = prepare_deepspeed(frozen, self.accelerator)
        elif self.is_fsdp_enabled:
            self._frozen = prepare_fsdp(frozen, self.accelerator)
        else:
            self._frozen = self.accelerator.prepare_model(frozen, evaluation_mode=True)

    @contextmanager
    def _teacher(self) -> Iterator[Any]:
        """Give the frozen model: a copy, or the student with its adapter switched off (and, as the
        caller sees to, no dropout).
        """
        if self._frozen is not None:
            yield self._frozen
            return
        model = self.accelerator.unwrap_model(self.model)
        with model.disable_adapter():
            yield model
