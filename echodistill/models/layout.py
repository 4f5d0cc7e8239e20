"""Define the files of a model's folder, and the hashes of its content. Imports nothing heavy."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from echodistill.core.checksums import sha256_of, verify_checksums
from echodistill.core.errors import UserError

POINTER = "pointer.json"  # the file of a base that was not made here: its name instead of its files
FACTS = "base.json"  # the file with the facts about a base
WEIGHTS = "*.safetensors"
PROMPT_STYLE = "prompt_style"
"""Field of ``run.json`` with the style of the prompts that a student was trained on."""
RUN = "run.json"  # the file with the settings of a student's training
BASE_REVISION = "base_revision"
"""Key in ``run.json`` of the base that the student was trained from (``checkpoint.base_revision``).
"""
READ_WHEN_LOADING = (
    WEIGHTS,
    "*.json",
    "*.jinja",
    "additional_chat_templates/*.jinja",
    "*.txt",
    "*.model",
    "*.py",
)
"""Patterns of the files that loading reads: weights, configurations, tokenizer, processor, chat
templates, the generation config and a checkpoint's own code.
"""
PIPELINE_FILES = frozenset({POINTER, FACTS, RUN})
"""Files that the pipeline writes beside a model's; loading does not read them."""


STUDENT_CURE = "delete it and run `echodistill run`, or take it again from where it was kept"
"""Remedy for a student that is damaged."""


def read_run(student: Path) -> dict[str, Any]:
    """Return the content of a student's ``run.json``. Raise ``UserError`` if it is missing, or has
    changed since it was written.
    """
    verify_checksums(student, STUDENT_CURE, [RUN], required=False)
    try:
        run = json.loads((student / RUN).read_text(encoding="utf-8"))
        if not isinstance(run, dict):
            raise ValueError("it is no JSON object")
        return run
    except FileNotFoundError as error:
        raise UserError(
            f"{student} holds no trained model ({RUN} is missing): make one with `echodistill run"
            " train`"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{student / RUN} is damaged ({error}): {STUDENT_CURE}") from error


def content_hash(folder: Path, pattern: str = "*") -> str:
    """Return the sha256 over the relative names and bytes of a folder's files that match
    ``pattern``, sorted by name.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.glob(pattern)):
        if path.is_file():
            digest.update(
                path.relative_to(folder).as_posix().encode()
                + b"\0"
                + bytes.fromhex(sha256_of(path))
            )
    return digest.hexdigest()


def files_read(folder: Path) -> list[Path]:
    """Return the files that loading the model in ``folder`` reads, sorted.

    A README, logs, and checkpoints in subfolders are left out.
    """
    found = {
        path for pattern in READ_WHEN_LOADING for path in folder.glob(pattern) if path.is_file()
    }
    return sorted(path for path in found if path.name not in PIPELINE_FILES)


def file_hashes(folder: Path) -> dict[str, str]:
    """Return the sha256 of each of ``files_read``, by relative name, sorted."""
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files_read(folder)}


def revision_of(hashes: Mapping[str, str]) -> str:
    """Return one sha256 of all of ``file_hashes``."""
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def changed_files(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names of the files that were changed, added or removed, sorted."""
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
