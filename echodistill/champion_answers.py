"""The folder of the champion's answers to the decision split: the answers, and why there are none
where there are none.
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
    """Which champion answered, if any did."""

    version: str | None
    """Of the registered model; ``None`` where there is no champion to compare with."""
    reason: str = ""
    """Why there is no champion, or why it did not answer; empty where it answered."""

    @property
    def has_answered(self) -> bool:
        """Whether there is a champion, and its answers."""
        return self.version is not None and not self.reason

    @property
    def fault(self) -> str:
        """Why a champion that there is did not answer; else empty."""
        return self.reason if self.version is not None else ""


def write_unanswered(out: Path, status: ChampionStatus) -> None:
    """Write the folder of a champion that did not answer, or of none."""
    with atomic_path(out) as temporary:
        temporary.mkdir()
        write_rows(temporary / ANSWERS, Answer, [])
        write_status(temporary, status)


def write_status(folder: Path, status: ChampionStatus) -> None:
    """Write the status beside the answers."""
    (folder / STATUS).write_text(json.dumps(asdict(status), indent=1) + "\n", encoding="utf-8")


def read_status(folder: Path) -> ChampionStatus:
    """Return the status. Raises ``UserError`` when it is missing or damaged."""
    path = folder / STATUS
    try:
        return ChampionStatus(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is missing or damaged ({error}): delete {folder} and run `echodistill run`"
        ) from error
