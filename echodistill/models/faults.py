"""Find faults of a model that was loaded or could not be loaded: in its files, keys and numbers.

If keys are missing from a checkpoint, transformers initialises them at random; it ignores unknown
keys, and only logs both. Each function returns an empty text if nothing is wrong.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypedDict

import torch
from safetensors import SafetensorError, safe_open

SHOWN_KEYS = 3
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
CURE = "download or copy it again"
QUANTISED = ("I8", "U8", "I16", "U16", "I32", "U32")
"""Number formats of safetensors in which no floating-point model has weights; some models keep
positions as I64.
"""


class LoadingInfo(TypedDict):
    """The loading report of transformers (``output_loading_info``), without keys that are tied or
    that the class ignores.
    """

    missing_keys: set[str]
    """Keys of the model that are not in the checkpoint."""
    unexpected_keys: set[str]
    """Keys of the checkpoint that are not in the model."""
    mismatched_keys: set[tuple[str, tuple[int, ...], tuple[int, ...]]]
    """Keys with their shapes in the checkpoint and in the model."""


def file_fault(paths: Iterable[Path]) -> str:
    """Return the fault and its remedy of the first file that is empty, truncated, a Git LFS pointer
    or not of its named format.
    """
    return next((fault for path in paths if (fault := _fault_of_file(path))), "")


def _fault_of_file(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(len(LFS_POINTER))
    if head == LFS_POINTER:
        return (
            f"{path} is a Git LFS pointer and not the file itself: run `git lfs pull` in its"
            " repository, or download the file"
        )
    if not head:
        return f"{path} is empty: {CURE}"
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, "pt"):
                return ""
        except (SafetensorError, OSError) as error:
            return f"{path} is truncated or no safetensors file ({error}): {CURE}"
    if path.suffix == ".json":
        try:
            json.loads(path.read_bytes())
        except ValueError as error:
            return f"{path} is truncated or no JSON ({error}): {CURE}"
    return ""


def key_fault(info: LoadingInfo) -> str:
    """Return which keys of a checkpoint and of the model it was loaded into do not match."""
    parts = [
        f"{len(keys)} {label} ({_first(sorted(keys))})"
        for keys, label in (
            (info["missing_keys"], "are missing"),
            (info["unexpected_keys"], "do not belong to the model"),
        )
        if keys
    ]
    if mismatched := sorted(info["mismatched_keys"]):
        shapes = [
            f"{name} is {list(found)} and must be {list(wanted)}"
            for name, found, wanted in mismatched
        ]
        parts.append(f"{len(shapes)} have another shape ({_first(shapes)})")
    if not parts:
        return ""
    cure = (
        "give all of them, under the names that `save_pretrained` writes, with their own"
        " config.json"
    )
    return f"of its weights {', '.join(parts)}: {cure}"


def type_fault(weights: Iterable[Path]) -> str:
    """Return which weights of safetensors files are integers, as in quantised models.

    Without the scales that belong to them such weights have no meaning.
    """
    whole = []
    for path in weights:
        with safe_open(path, "pt") as file:
            whole += [name for name in file.keys() if file.get_slice(name).get_dtype() in QUANTISED]  # noqa: SIM118
    if not whole:
        return ""
    return (
        f"{len(whole)} of its weights are whole numbers ({_first(whole)}), as of a quantised model:"
        " give one in bfloat16 or float32"
    )


def number_fault(tensors: Mapping[str, torch.Tensor], may_be_zero: bool = False) -> str:
    """Return which tensors have a NaN or an infinite number, or only zeros. Each is read once,
    without a copy.

    A matrix of zeros results from a truncated download that was filled up. ``may_be_zero`` permits
    them, since an adapter begins with such matrices.
    """
    broken, empty = [], []
    for name, tensor in tensors.items():
        if not tensor.numel() or not tensor.is_floating_point():
            continue
        values = tensor.detach()
        # a NaN anywhere becomes both the smallest and the largest value, and an infinite number
        # becomes one of them
        smallest, largest = torch.aminmax(values.float() if values.element_size() == 1 else values)
        if not (torch.isfinite(smallest) and torch.isfinite(largest)):
            broken.append(name)
        elif values.dim() > 1 and not may_be_zero and smallest == largest == 0:
            empty.append(name)
    if broken:
        return (
            f"{len(broken)} of its weights hold NaN or infinite numbers ({_first(broken)}):"
            f" {CURE}, or train it anew"
        )
    return f"{len(empty)} of its weights are all zero ({_first(empty)}): {CURE}" if empty else ""


def first_line(error: Exception) -> str:
    """Return the first line of another library's error message."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__


def _first(names: list[str]) -> str:
    more = len(names) - SHOWN_KEYS
    return ", ".join(names[:SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")
