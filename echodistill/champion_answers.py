"""Write and read the folder of the champion's answers to the decision split, with the reason where
there are none.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from echodistill.core.atomic import atomic_path
from echodistill.core.errors import UserError
from echodistill.core.records import Answer, write_rows

ANSWERS, STATUS = "answers.parquet", "status.json"


@dataclass(frozen=True)
class ChampionStatus:
    """The champion that answered, or the reason why none did."""

    version: str | None
    """Version of the registered model; ``None`` where there is no champion for the comparison."""
    reason: str = ""
    """Why there is no champion, or why it did not answer; empty where it answered."""

    @property
    def has_answered(self) -> bool:
        """Return whether there is a champion with answers."""
        return self.version is not None and not self.reason

    @property
    def fault(self) -> str:
        """Return why an existing champion did not answer; empty where it did, or where there is
        none.
        """
        return self.reason if self.version is not None else ""


def write_unanswered(out: Path, status: ChampionStatus) -> None:
    """Write the folder where the champion did not answer, or where there is none."""
    with atomic_path(out) as temporary:
        temporary.mkdir()
        write_rows(temporary / ANSWERS, Answer, [])
        write_status(temporary, status)


def write_status(folder: Path, status: ChampionStatus) -> None:
    """Write the status into the folder of the answers."""
    (folder / STATUS).write_text(json.dumps(asdict(status), indent=1) + "\n", encoding="utf-8")


def read_status(folder: Path) -> ChampionStatus:
    """Return the status. Raise ``UserError`` where it is missing or damaged."""
    path = folder / STATUS
    try:
        return ChampionStatus(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is missing or damaged ({error}): delete {folder} and run `echodistill run`"
        ) from error
