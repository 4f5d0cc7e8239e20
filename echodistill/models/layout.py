"""What stands in a model's folder, and the hashes of its content. Imports nothing heavy."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

POINTER = "pointer.json"  # a base that is not ours: its name instead of its files
FACTS = "base.json"  # what is known of a base
WEIGHTS = "*.safetensors"
RUN = "run.json"  # how a student was trained
READ_WHEN_LOADING = (
    WEIGHTS,
    "*.json",
    "*.jinja",
    "additional_chat_templates/*.jinja",
    "*.txt",
    "*.model",
    "*.py",
)
"""Weights, configurations, tokenizer, processor, chat templates, the generation config and a checkpoint's own code."""
OURS = frozenset({POINTER, FACTS, RUN})
"""Written beside a model's files by the pipeline; loading does not read them."""


def content_hash(folder: Path, pattern: str = "*") -> str:
    """sha256 over the relative names and bytes of a folder's files that match, sorted by name."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob(pattern)):
        if path.is_file():
            with path.open("rb") as file:
                digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def file_hashes(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file that loading the model in ``folder`` reads, by relative name, sorted.

    A README, logs and checkpoints in folders of their own are left out.
    """
    found = {path for pattern in READ_WHEN_LOADING for path in folder.glob(pattern) if path.is_file()}
    hashes = {}
    for path in sorted(found):
        if path.name not in OURS:
            with path.open("rb") as file:
                hashes[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def revision_of(hashes: Mapping[str, str]) -> str:
    """Return one sha256 that stands for all of ``file_hashes``."""
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def changed_files(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names of the files that were changed, added or removed, sorted."""
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
