"""What a stage is given of ``params.yaml``, as its graph has to declare it."""

from collections.abc import Iterable

from echodistill.params.accelerators import ACCELERATORS
from echodistill.params.train import TrainParams


def declared(sections: Iterable[str]) -> list[str]:
    """Return the parameters that DVC must watch for a stage that is given ``sections``."""
    noted = {"methods", *ACCELERATORS}
    chosen = [f"train.{name}" for name in TrainParams.model_fields if name not in noted]
    chosen.append("train.methods.${train.method}")
    return sorted(
        key for section in sections for key in (chosen if section == "train.chosen" else [section])
    )
