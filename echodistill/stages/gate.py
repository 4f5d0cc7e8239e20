"""Stage ``gate@ARTIFACT``: judge whether other stages may build on an artifact. Stages that depend
on the artifact depend on its verdict too.
"""

from collections.abc import Sequence
from pathlib import Path

from echodistill.core.checksums import verify_checksums
from echodistill.core.errors import UserError
from echodistill.gates.answers import answers_checks
from echodistill.gates.base import base_checks, base_notes
from echodistill.gates.champion import champion_answers_checks, champion_checks
from echodistill.gates.corpus import corpus_checks, corpus_notes
from echodistill.gates.evaluation import evaluated_checks, evaluation_checks
from echodistill.gates.expect import Expect
from echodistill.gates.metrics import metrics_checks
from echodistill.gates.mixes import mixes_checks, mixes_notes
from echodistill.gates.promotion import promotion_checks
from echodistill.gates.references import references_checks
from echodistill.gates.runner import open_gate
from echodistill.gates.student import student_checks
from echodistill.params.whole import Params
from echodistill.stages.entry import run_stage


def gate(params: Params, artifact: str, verdict: Path, *paths: Path) -> None:
    """Judge ``artifact``. Raise ``UserError`` if it does not pass; see
    ``gates.runner.open_gate``.
    """
    # an earlier verdict must not remain if the artifact cannot even be read
    verdict.unlink(missing_ok=True)
    if paths[0].is_dir():
        verify_checksums(paths[0], "delete it and run `echodistill run`", required=False)
    open_gate(
        artifact,
        paths[0],
        _checks(params, artifact, paths),
        verdict,
        _notes(params, artifact, paths),
        notes_printed=artifact == "corpus",
    )


def _notes(params: Params, artifact: str, paths: Sequence[Path]) -> list[str]:
    match artifact, paths:
        case "corpus", [folder, *_]:
            return corpus_notes(folder)
        case "base", [folder, *_]:
            return base_notes(folder)
        case "mixes", [folder, corpus]:
            return mixes_notes(folder, corpus, params.mixes.unseen)
    return []


def _checks(params: Params, artifact: str, paths: Sequence[Path]) -> list[Expect]:
    """Return the expectations about an artifact. Of names like ``answers_base`` and
    ``answers_student_decision``, the first word is the kind of artifact and a last word
    ``decision`` the split.
    """
    kind, _, rest = artifact.partition("_")
    split = "decision" if rest.endswith("decision") else "test"
    match kind, paths:
        case "corpus", [folder, *_]:
            return corpus_checks(folder, params)
        case "mixes", [folder, corpus]:
            return mixes_checks(folder, corpus, params)
        case "base", [folder, *_]:
            return base_checks(folder, params)
        case "references", [folder, corpus]:
            return references_checks(folder, corpus, params)
        case "student", [folder, *_]:
            return student_checks(folder)
        case "champion", [folder, *_]:
            return champion_checks(folder)
        case "answers", [folder, mixes] if rest.startswith("champion"):
            return champion_answers_checks(folder, mixes, params)
        case "answers", [rows, mixes]:
            return answers_checks(rows, mixes, params, split)
        case "metrics", [metrics, *_]:
            return metrics_checks(metrics, params)
        case "evaluated", [rows, mixes, student]:
            return evaluated_checks(rows, mixes, student, params)
        case "evaluation", [table, *_]:
            return evaluation_checks(table, params)
        case "promotion", [decision, answers]:
            return promotion_checks(decision, answers)
    raise UserError(f"no gate {artifact!r} with {len(paths)} paths")


if __name__ == "__main__":
    run_stage(gate, sections=("corpus", "mixes", "gates"), reads_folders=False)
