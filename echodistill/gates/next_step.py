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


def next_step(artifact: str, options: str = "") -> str:
    """Return a sentence with the next command, for the last line of a gate's message.

    ``options`` are those that the user gave to the command, such as ``-S train.steps=60``. They are
    repeated, because without them the command would compute something else.
    """
    given = f" {options}" if options else ""
    if artifact.startswith(COMPARISON_PREFIX):
        return (
            f"next: change what is named above, then `echodistill compare{given}`, which continues"
            " where it stopped"
        )
    if artifact in ("corpus", "base"):
        what = (
            "the source, or the parameters" if artifact == "corpus" else "the parameters as above"
        )
        return (
            f"next: change {what}, then `echodistill run {artifact} gate@{artifact}{given}`, which"
            " does no more than this"
        )
    maker = STAGE_OF.get(artifact) or artifact.replace("answers_", "predict@", 1)
    again = f"`dvc repro --force {maker}` makes it again where it was damaged"
    if options:
        # DVC reads the file, which has the settings only during the run.
        again = f"with these settings written into params.yaml, {again}"
    return f"next: change what is named above, then `echodistill run{given}`; {again}"
