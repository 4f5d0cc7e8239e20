"""Choose the device of a model and the number format that its weights are loaded in. No function
here allocates on a device.
"""

from typing import Literal

import torch

WeightsDtype = torch.dtype | Literal["auto"]
"""Value of the argument ``dtype`` of transformers; ``"auto"`` is the format that the checkpoint is
stored in.
"""


def chosen_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` is a GPU if there is one, else the CPU."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def inference_dtype(device: torch.device) -> WeightsDtype:
    """Return the format for answering questions: the checkpoint's own on a GPU, float32 on a
    CPU.
    """
    return "auto" if device.type == "cuda" else torch.float32


def training_dtype(weights: Literal["full", "lora"], device: torch.device) -> WeightsDtype:
    """Return the format for training.

    Weights that an optimizer updates are float32 on every device: a step of 1e-5 is less than half
    the distance between two neighbouring bfloat16 numbers for all weights above about 0.005, so
    that these would never change. On a GPU the trainer still computes in bfloat16 (autocast). Under
    LoRA the base is frozen and may keep its own format; the adapter is float32.
    """
    return torch.float32 if weights == "full" else inference_dtype(device)
