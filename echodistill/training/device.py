"""Lay out a computation on the present machine. Nothing here changes results beyond rounding."""

import torch

from echodistill.core.environment import device_batch


def split_batch(rows: int, unit: int) -> tuple[int, int]:
    """Return the rows of a device step and the number of accumulation steps for a global batch of
    ``rows``.

    The device step is the largest number of whole groups of ``unit`` rows that divides the batch
    and fits ``device_batch``, but at least one group.
    """
    groups = rows // unit
    fitting = [
        count
        for count in range(1, groups + 1)
        if groups % count == 0 and count * unit <= device_batch()
    ]
    size = max(fitting, default=1) * unit
    return size, rows // size


def one_thread() -> None:
    """Make torch compute on one core of the CPU; GPUs are not affected.

    The bytes are then the same whatever the number of cores, and stages can share a machine.
    """
    torch.set_num_threads(1)


def precision() -> dict[str, bool]:
    """Return the trainer arguments for the precision of computation.

    Autocast uses bfloat16 where the GPU supports it, and float32 elsewhere. The weights stay
    float32.
    """
    gpu = torch.cuda.is_available()
    return {"bf16": gpu and torch.cuda.is_bf16_supported(), "use_cpu": not gpu}


def require_float32(model: torch.nn.Module) -> None:
    """Raise ``ValueError`` where a weight to train is not float32.

    Rounding would remove most of the steps of such a weight.
    """
    trained = {str(value.dtype) for value in model.parameters() if value.requires_grad}
    if trained != {"torch.float32"}:
        raise ValueError(
            f"weights to train are {sorted(trained)}: load the model with"
            " models.precision.training_dtype"
        )
