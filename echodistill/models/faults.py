"""What is wrong with a model that was loaded, or could not be: its files, its keys, its numbers.

transformers gives random numbers to what a checkpoint lacks, leaves out what it does not know, and
tells it to a log alone. Each function returns an empty text where nothing is wrong.
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
QUANTISED = ("I8", "U8", "I16", "U16", "I32", "U32")
"""Formats of safetensors in which no floating-point model has weights; some keep positions as
I64.
"""


class LoadingInfo(TypedDict):
    """What transformers tells with ``output_loading_info``, without the keys that are tied or that
    the class ignores.
    """

    missing_keys: set[str]
    """Of the model, and not of the checkpoint."""
    unexpected_keys: set[str]
    """Of the checkpoint, and not of the model."""
    mismatched_keys: set[tuple[str, tuple[int, ...], tuple[int, ...]]]
    """With their shapes in the checkpoint and in the model."""


def file_fault(paths: Iterable[Path]) -> str:
    """Return what is wrong with the first of these files that is not what its name says, and how to
    fix it.
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
    """Return which weights of safetensors files are small whole numbers, as quantised models have
    them.

    Read without the scales that belong to them they mean nothing.
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
    """Return which tensors hold a NaN or an infinite number, or nothing but zeros. Reads each once,
    without a copy.

    A matrix of zeros is what a download leaves that was cut and filled up. ``may_be_zero``: an
    adapter begins with such.
    """
    broken, empty = [], []
    for name, tensor in tensors.items():
        if not tensor.numel() or not tensor.is_floating_point():
            continue
        values = tensor.detach()
        # a NaN anywhere is the smallest and the largest value, and an infinite number is one of
        # them
        smallest, largest = torch.aminmax(values.float() if values.element_size() == 1 else values)
        if not (torch.isfinite(smallest) and torch.isfinite(largest)):
            broken.append(name)
        elif values.dim() > 1 and not may_be_zero and smallest == largest == 0:
            empty.append(name)
    if broken:
        return (
            f"{len(broken)} of its weights hold NaN or infinite numbers ({_first(broken)}):"
            f" {AGAIN}, or train it anew"
        )
    return f"{len(empty)} of its weights are all zero ({_first(empty)}): {AGAIN}" if empty else ""


def first_line(error: Exception) -> str:
    """Return what another library's error says, in one line."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__


def _first(names: list[str]) -> str:
    more = len(names) - SHOWN_KEYS
    return ", ".join(names[:SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")
