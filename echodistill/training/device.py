"""How a computation is laid out on the machine at hand; nothing here changes what is computed
beyond rounding.
"""

import torch

from echodistill.core.environment import device_batch


def split_batch(rows: int, unit: int) -> tuple[int, int]:
    """Rows a device step and accumulation steps for a global batch of ``rows``, in whole groups of
    ``unit``.

    The device step is the largest whole number of groups that divides the batch and fits
    ``device_batch``; one group at least.
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
    """Compute on one core: the bytes are the same on however many cores, and stages can share a
    machine. Leaves GPUs as they are.
    """
    torch.set_num_threads(1)


def precision() -> dict[str, bool]:
    """Trainer arguments: computation (autocast) in bfloat16 where the GPU has it, in float32
    elsewhere; the weights stay float32.
    """
    gpu = torch.cuda.is_available()
    return {"bf16": gpu and torch.cuda.is_bf16_supported(), "use_cpu": not gpu}


def require_float32(model: torch.nn.Module) -> None:
    """Raise ``ValueError`` where a weight to train is not float32: most of its steps would be lost
    in rounding.
    """
    trained = {str(value.dtype) for value in model.parameters() if value.requires_grad}
    if trained != {"torch.float32"}:
        raise ValueError(
            f"weights to train are {sorted(trained)}: load the model with"
            " models.precision.training_dtype"
        )
