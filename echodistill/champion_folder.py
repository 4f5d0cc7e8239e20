"""The folder ``models/champion``: the champion's files as they were registered, and what is known
of it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from echodistill.core.errors import UserError
from echodistill.models.layout import RUN, WEIGHTS, content_hash

FACTS = "champion.json"
STUDENT, BASE = "student", "base"
"""Folders of the model's files; ``base`` is there where the student is an adapter."""


@dataclass(frozen=True)
class ChampionFacts:
    """What the folder's ``champion.json`` says."""

    version: str | None
    """Of the registered model; ``None`` where there is no champion to compare with."""
    fingerprint: str = ""
    """Of its training."""
    weights_sha256: str = ""
    """``content_hash`` of its weights when it was entered."""
    content_sha256: str = ""
    """``content_hash`` of all model files in this folder; empty where there are none."""
    reason: str = ""
    """Why there is no champion, or why there are no files of it; empty where all is here."""


def write_facts(folder: Path, facts: ChampionFacts) -> None:
    """Write ``champion.json``: the same bytes for the same facts."""
    (folder / FACTS).write_text(json.dumps(asdict(facts), indent=1) + "\n", encoding="utf-8")


def read_facts(folder: Path) -> ChampionFacts:
    """Return the facts. Raises ``UserError`` when they are missing or damaged."""
    path = folder / FACTS
    try:
        return ChampionFacts(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is missing or damaged ({error}): say `echodistill run champion`"
        ) from error


def files_hash(folder: Path) -> str:
    """Return the hash of all model files of the folder."""
    return "".join(
        content_hash(folder / part, "**/*") for part in (STUDENT, BASE) if (folder / part).is_dir()
    )


def fault_of_files(folder: Path, weights_sha256: str) -> str:
    """Return what is wrong with the files of a champion whose weights had this hash; empty where
    nothing is.
    """
    student = folder / STUDENT
    if not (student / RUN).is_file() or not list(student.glob(WEIGHTS)):
        return "MLflow keeps no student of it that `echodistill register` entered"
    if weights_sha256 and content_hash(student, WEIGHTS) != weights_sha256:
        return "the weights that MLflow keeps of it are not those that were registered"
    try:
        is_adapter = json.loads((student / RUN).read_text(encoding="utf-8"))["weights"] == "lora"
    except (ValueError, KeyError, TypeError):
        return f"its {RUN} is damaged in MLflow"
    if is_adapter and not (folder / BASE).is_dir():
        return "it is an adapter, and MLflow keeps no base with it"
    return ""


def is_whole(folder: Path, facts: ChampionFacts) -> bool:
    """Return whether the model files are those that the facts speak of."""
    return (
        not facts.reason
        and bool(facts.content_sha256)
        and files_hash(folder) == facts.content_sha256
    )
