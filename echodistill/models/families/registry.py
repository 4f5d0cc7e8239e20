"""Register the supported architectures by the ``model_type`` of their configurations."""

from echodistill.models.base import AudioFamily
from echodistill.models.families.qwen2_audio import Qwen2Audio

FAMILIES: dict[str, type[AudioFamily]] = {"qwen2_audio": Qwen2Audio}
