"""Keep an unchanged copy of the model from which training starts.

It is EchoDistill's teacher, and the reference of GRPO's KL penalty.
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
    """Return a copy of ``model`` that is never trained and has no dropout, in the dtype of the
    model's weights.

    Make the copy before a trainer prepares the model and before a checkpoint is loaded into it, so
    that it has the base's weights in a resumed training as well. Under full fine-tuning the dtype
    is float32, 4 bytes a parameter. A bfloat16 copy would need half of that, but its rounding would
    make it differ from the student before the first step.
    """
    return copy.deepcopy(model).eval().requires_grad_(False)


@contextmanager
def without_dropout(model: Any) -> Iterator[None]:
    """Switch off dropout in ``model`` and its adapter while the block runs, and restore it
    afterwards.

    The model's own ``training`` flag is kept, because TRL reads from it whether the model trains or
    is evaluated. The flags of all modules within the model are cleared, and dropout is in those.
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
    """A mixin for a trainer whose student has a frozen teacher.

    The teacher of a LoRA student is the student itself with the adapter switched off. A student
    with full weights needs a frozen copy.
    """

    _frozen: Any = None

    def _copy_of(self, llm: AudioLLM, options: Mapping[str, Any]) -> Any:
        """Return a frozen copy, or ``None`` where the trainer's ``options`` have an adapter."""
        return frozen_copy(llm.model) if options.get("peft_config") is None else None

    def _prepare_frozen(self, frozen: Any) -> None:
        """Move a frozen copy to this process's device, and let it compute in the student's
        precision.

        TRL prepares its own reference model in the same way.
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
        """Yield the frozen model: a copy, or the student with its adapter switched off.

        The caller must switch off dropout.
        """
        if self._frozen is not None:
            yield self._frozen
            return
        model = self.accelerator.unwrap_model(self.model)
        with model.disable_adapter():
            yield model
