"""Stage ``promote``: may the student replace the champion? The decision and its reasons, as JSON."""

import hashlib
import json
from pathlib import Path

from echodistill.atomic import atomic_path
from echodistill.gates.promotion import promotion_criteria
from echodistill.params import Params
from echodistill.quality import validate
from echodistill.stages.entry import run_stage


def promote(params: Params, out: Path, metrics: Path) -> None:
    """Write the decision on the figures in ``metrics`` to ``out``. A negative decision is a result, not a failure."""
    content = metrics.read_bytes()
    checks = promotion_criteria(json.loads(content), params)
    verdict = validate("promotion", checks, docs=None)
    decision = {
        "promote": verdict.passed,
        "criteria": [
            {"name": result.says, "value": result.observed, "bound": result.bound, "met": result.passed} for result in verdict.results
        ],
        "metrics_sha256": hashlib.sha256(content).hexdigest(),
    }
    with atomic_path(out) as temporary:
        temporary.write_text(json.dumps(decision, indent=1) + "\n", encoding="utf-8")
    print("promote" if verdict.passed else "do not promote: " + "; ".join(r.says for r in verdict.results if not r.passed))


if __name__ == "__main__":
    run_stage(promote, sections=("promote",))
