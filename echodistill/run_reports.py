"""Name the files with the results of a run."""

from dataclasses import dataclass
from pathlib import Path

from echodistill.core.errors import UserError


@dataclass(frozen=True)
class Reports:
    """Paths of the files with the results of a run."""

    metrics: Path
    """Path of ``reports/metrics.json``."""
    promotion: Path
    """Path of ``reports/promotion.json``."""
    card: Path
    """Path of the model card, in Markdown."""
    curves: Path
    """Path of the picture of accuracy by SNR."""
    answers: tuple[Path, ...]
    """Paths of all answers of the base and of the student."""

    @classmethod
    def of(cls, reports: Path, answers: Path) -> "Reports":
        """Return the reports in the folders to which the stages write them.

        Raise ``UserError`` that names the first file that is missing.
        """
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
