"""Cache the clean teacher's answers by content address, shared by all runs.

An entry is one safetensors file ``<key[:2]>/<key>.safetensors`` preceded by the sha256 of its
bytes, and its key is a ``reference_key``. A damaged entry counts as absent, so it is computed
again. Entries are written under a temporary name and renamed, so a killed run leaves whole entries
only.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from echodistill.core.atomic import atomic_path
from echodistill.core.checksums import payload_of, with_digest
from echodistill.core.errors import UserError


@dataclass(frozen=True)
class TeacherTargets:
    """The teacher's greedy response to a clean clip and its distribution at each of its T
    tokens.
    """

    token_ids: torch.Tensor
    """Token ids, (T,) int64, the end-of-turn token included."""
    log_probs: torch.Tensor
    """Log-probabilities: (T, V) float32 for a small vocabulary, else (T, K+1): those of the top K
    tokens and the log of the remaining probability mass.
    """
    top_ids: torch.Tensor | None
    """Ids of the top K tokens, (T, K) int64; ``None`` for a small vocabulary."""


class ReferenceCache:
    """A cache whose entries are files below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path_of(self, key: str) -> Path:
        return self._folder / "references" / key[:2] / f"{key}.safetensors"

    def get(self, key: str) -> TeacherTargets | None:
        """Return the entry, or ``None`` if it is absent or damaged. Raise ``UserError`` if the
        cache cannot be read.
        """
        path = self.path_of(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(
                f"{path} cannot be read: {error.strerror}. Set ECHODISTILL_CACHE to a folder of"
                " yours"
            ) from error
        payload = payload_of(content)
        if payload is None:
            return None
        try:
            tensors = load(payload)
        except SafetensorError:
            return None
        return TeacherTargets(tensors["token_ids"], tensors["log_probs"], tensors.get("top_ids"))

    def put(self, key: str, target: TeacherTargets) -> None:
        tensors = {
            "token_ids": target.token_ids.contiguous(),
            "log_probs": target.log_probs.contiguous(),
        }
        if target.top_ids is not None:
            tensors["top_ids"] = target.top_ids.contiguous()
        with atomic_path(self.path_of(key)) as temporary:
            temporary.write_bytes(with_digest(save(tensors)))
