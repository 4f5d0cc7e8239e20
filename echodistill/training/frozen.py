"""The model as training starts from it, kept unchanged: EchoDistill's teacher, and what GRPO's KL
penalty is measured against.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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
