"""Suggest the next command after a gate failed."""

STAGE_OF = {
    "student": "train",
    "metrics": "evaluate",
    "promotion": "promote",
    "answers_champion_decision": "predict_champion",
    "evaluated": "evaluation/dvc.yaml:predict",
    "evaluation": "evaluation/dvc.yaml:evaluate",
}
"""Stage that makes an artifact, where the two have different names."""
COMPARISON_PREFIX = "compared_"


def next_step(artifact: str) -> str:
    """Return a sentence with the next command, for the last line of a gate's message."""
    if artifact.startswith(COMPARISON_PREFIX):
        return (
            "next: change what is named above, then `echodistill compare`, which continues"
            " where it stopped"
        )
    if artifact in ("corpus", "base"):
        what = (
            "the source, or the parameters" if artifact == "corpus" else "the parameters as above"
        )
        return (
            f"next: change {what}, then `echodistill run {artifact} gate@{artifact}`, which does no"
            " more than this"
        )
    maker = STAGE_OF.get(artifact) or artifact.replace("answers_", "predict@", 1)
    return (
        f"next: change what is named above, then `echodistill run`; `dvc repro --force {maker}`"
        " makes it again where it was damaged"
    )
