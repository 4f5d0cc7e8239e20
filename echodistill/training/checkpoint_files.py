"""Which files of a checkpoint a training needs to go on, and whether those that came from elsewhere
hold nothing but data.
"""

import re
from pathlib import Path

import echodistill.models.torchaudio_guard  # noqa: F401

import torch
from transformers.trainer_pt_utils import safe_globals

# training_args.bin is a pickle of Python objects that nothing reads again; tokenizer and
# configuration come from the base model
NEEDED = re.compile(
    r"weights\.safetensors|adapter_model\.safetensors|pytorch_model_fsdp\.bin|optimizer\.(pt|bin)|scheduler\.pt|scaler\.pt"
    r"|rng_state(_\d+)?\.pth|trainer_state\.json"
)
PICKLED = (".pt", ".pth", ".bin")


def is_needed(name: str) -> bool:
    """Whether a file of this name, directly in the checkpoint's folder, is read when a training
    resumes.
    """
    return NEEDED.fullmatch(name) is not None


def holds_code(path: Path) -> bool:
    """Whether a file is in the pickle format and names anything beyond tensors, numbers and numpy
    arrays; none of it is run.

    A file that cannot be read as such counts too.
    """
    if path.suffix not in PICKLED:
        return False
    try:
        with safe_globals():
            # mapped: an optimizer's state may be larger than the memory
            torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # torch and pickle have no common class for what they refuse
        return True
    return False
