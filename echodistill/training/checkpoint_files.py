"""Decide which files of a checkpoint a resumed training needs, and whether fetched files contain
only data.
"""

import re
from pathlib import Path

import echodistill.models.torchaudio_guard  # noqa: F401

import torch
from transformers.trainer_pt_utils import safe_globals

# training_args.bin is a pickle of Python objects that nothing reads again. The tokenizer and the
# configuration come from the base model.
NEEDED = re.compile(
    r"weights\.safetensors|adapter_model\.safetensors|accelerator\.safetensors|pytorch_model_fsdp\.bin|optimizer\.(pt|bin)|scheduler\.pt|scaler\.pt"
    r"|rng_state(_\d+)?\.pth|trainer_state\.json"
)
PICKLED = (".pt", ".pth", ".bin")


def is_needed(name: str) -> bool:
    """Return whether a resumed training reads a file of this name directly in the checkpoint's
    folder.
    """
    return NEEDED.fullmatch(name) is not None


def contains_code(path: Path) -> bool:
    """Return whether a pickle file names anything beyond tensors, numbers and numpy arrays.

    Nothing in the file is executed. A pickle file that cannot be read counts as well.
    """
    if path.suffix not in PICKLED:
        return False
    try:
        with safe_globals():
            # The file is memory-mapped: an optimizer's state may be larger than the memory.
            torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # torch and pickle have no common class for the errors they raise.
        return True
    return False
