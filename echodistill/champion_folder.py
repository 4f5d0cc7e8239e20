"""Write and read the folder ``models/champion``: the champion's files as they were registered, and
facts about it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from echodistill.core.errors import UserError
from echodistill.models.layout import RUN, WEIGHTS, content_hash

FACTS = "champion.json"
STUDENT, BASE = "student", "base"
"""Names of the folders of the model's files. ``base`` exists where the student is an adapter."""


@dataclass(frozen=True)
class ChampionFacts:
    """The content of the folder's ``champion.json``."""

    version: str | None
    """Version of the registered model; ``None`` where there is no champion for the comparison."""
    fingerprint: str = ""
    """Fingerprint of the champion's training."""
    weights_sha256: str = ""
    """``content_hash`` of the champion's weights at the time of registration."""
    content_sha256: str = ""
    """``content_hash`` of all model files in this folder; empty where there are none."""
    reason: str = ""
    """Why there is no champion, or why its files are missing; empty where all files are here."""


def write_facts(folder: Path, facts: ChampionFacts) -> None:
    """Write ``champion.json``, with the same bytes for the same facts."""
    (folder / FACTS).write_text(json.dumps(asdict(facts), indent=1) + "\n", encoding="utf-8")


def read_facts(folder: Path) -> ChampionFacts:
    """Return the facts. Raise ``UserError`` where they are missing or damaged."""
    path = folder / FACTS
    try:
        return ChampionFacts(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is missing or damaged ({error}): run `echodistill run champion`"
        ) from error


def files_hash(folder: Path) -> str:
    """Return the hash of all model files of the folder."""
    return "".join(
        content_hash(folder / part, "**/*") for part in (STUDENT, BASE) if (folder / part).is_dir()
    )


def fault_of_files(folder: Path, weights_sha256: str) -> str:
    """Return what is wrong with a champion's files; empty where nothing is.

    ``weights_sha256`` is the hash of the registered weights.
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


def is_intact(folder: Path, facts: ChampionFacts) -> bool:
    """Return whether the model files are those that the facts describe."""
    return (
        not facts.reason
        and bool(facts.content_sha256)
        and files_hash(folder) == facts.content_sha256
    )
