"""What is wrong with a model that was loaded, or could not be: its files, its keys, its numbers.

transformers gives random numbers to what a checkpoint lacks, leaves out what it does not know, and tells it to a log alone. Each
function returns an empty text where nothing is wrong.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypedDict

import torch
from safetensors import SafetensorError, safe_open

SHOWN_KEYS = 3
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
AGAIN = "download or copy it again"


class LoadingInfo(TypedDict):
    """What transformers tells with ``output_loading_info``, without the keys that are tied or that the class ignores."""

    missing_keys: set[str]
    """Of the model, and not of the checkpoint."""
    unexpected_keys: set[str]
    """Of the checkpoint, and not of the model."""
    mismatched_keys: set[tuple[str, tuple[int, ...], tuple[int, ...]]]
    """With their shapes in the checkpoint and in the model."""


def file_fault(paths: Iterable[Path]) -> str:
    """Return what is wrong with the first of these files that is not what its name says, and how to mend it."""
    return next((fault for path in paths if (fault := _fault_of_file(path))), "")


def _fault_of_file(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(len(LFS_POINTER))
    if head == LFS_POINTER:
        return f"{path} is a Git LFS pointer and not the file itself: run `git lfs pull` in its repository, or download the file"
    if not head:
        return f"{path} is empty: {AGAIN}"
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, "pt"):
                return ""
        except (SafetensorError, OSError) as error:
            return f"{path} is truncated or no safetensors file ({error}): {AGAIN}"
    if path.suffix == ".json":
        try:
            json.loads(path.read_bytes())
        except ValueError as error:
            return f"{path} is truncated or no JSON ({error}): {AGAIN}"
    return ""


def key_fault(info: LoadingInfo) -> str:
    """Return which keys of a checkpoint and of the model it was loaded into do not match."""
    parts = [
        f"{len(keys)} {says} ({_first(sorted(keys))})"
        for keys, says in ((info["missing_keys"], "are missing"), (info["unexpected_keys"], "do not belong to the model"))
        if keys
    ]
    if mismatched := sorted(info["mismatched_keys"]):
        shapes = [f"{name} is {list(found)} and must be {list(wanted)}" for name, found, wanted in mismatched]
        parts.append(f"{len(shapes)} have another shape ({_first(shapes)})")
    if not parts:
        return ""
    cure = "give all of them, under the names that `save_pretrained` writes, with their own config.json"
    return f"of its weights {', '.join(parts)}: {cure}"


def number_fault(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return which tensors hold a NaN or an infinite number. Reads each once, without a copy."""
    broken = [name for name, tensor in tensors.items() if tensor.numel() and not _all_finite(tensor.detach())]
    return f"{len(broken)} of its weights hold NaN or infinite numbers ({_first(broken)}): {AGAIN}, or train it anew" if broken else ""


def _all_finite(tensor: torch.Tensor) -> bool:
    """A NaN anywhere is the smallest and the largest value, and an infinite number is one of them."""
    if not tensor.is_floating_point():
        return True
    return all(map(torch.isfinite, torch.aminmax(tensor.float() if tensor.element_size() == 1 else tensor)))


def first_line(error: Exception) -> str:
    """Return what another library's error says, in one line."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__


def _first(names: list[str]) -> str:
    more = len(names) - SHOWN_KEYS
    return ", ".join(names[:SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")
