"""The files that say what a run came to."""

from dataclasses import dataclass
from pathlib import Path

from echodistill.core.errors import UserError


@dataclass(frozen=True)
class Reports:
    """What a run came to, as files. Raises ``UserError`` naming the first that is missing."""

    metrics: Path
    """``reports/metrics.json``."""
    promotion: Path
    """``reports/promotion.json``."""
    card: Path
    """The model card, Markdown."""
    curves: Path
    """A picture."""
    answers: tuple[Path, ...]
    """All of the base's and the student's."""

    @classmethod
    def of(cls, reports: Path, answers: Path) -> "Reports":
        """In the folders where the stages leave them."""
        found = cls(
            reports / "metrics.json",
            reports / "promotion.json",
            reports / "model_card.md",
            reports / "accuracy_by_snr.png",
            tuple(answers / f"{name}.parquet" for name in ("base", "student")),
        )
        for path in (found.metrics, found.promotion, found.card, found.curves, *found.answers):
            if not path.is_file():
                raise UserError(f"{path} is missing: run `echodistill run` first")
        return found
