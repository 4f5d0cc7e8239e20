"""What stands in a model's folder, and the hash of its content. Imports nothing heavy."""

import hashlib
from pathlib import Path

POINTER = "pointer.json"  # a base that is not ours: its name instead of its files
WEIGHTS = "*.safetensors"
RUN = "run.json"  # how a student was trained


def content_hash(folder: Path, pattern: str = "*") -> str:
    """sha256 over the relative names and bytes of a folder's files that match, sorted by name."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob(pattern)):
        if path.is_file():
            with path.open("rb") as file:
                digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
