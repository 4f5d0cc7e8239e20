"""Stage ``card``: write the student's model card."""

import json
from pathlib import Path

from echodistill.core.atomic import atomic_path
from echodistill.models.layout import read_run
from echodistill.params.whole import Params
from echodistill.reports.model_card import model_card
from echodistill.stages.entry import run_stage


def card(params: Params, out: Path, student: Path, metrics: Path, promotion: Path) -> None:
    """Write the card of the model folder ``student`` to ``out`` (Markdown), from the figures and
    the decision.
    """
    figures, decision = (
        json.loads(path.read_text(encoding="utf-8")) for path in (metrics, promotion)
    )
    with atomic_path(out) as temporary:
        temporary.write_text(
            model_card(read_run(student), figures, decision, params), encoding="utf-8"
        )


if __name__ == "__main__":
    run_stage(
        card,
        sections=(
            "seed",
            "corpus.source",
            "corpus.test",
            "mixes",
            "references.view",
            "base.model",
            "train.prompts_per_step",
        ),
        reads_folders=False,
    )
