"""Rows whose recording is missing, told from other bad rows by how their reason begins."""

from echodistill.core.paths import MISSING as NO_AUDIO
from echodistill.core.records import Quarantined


def lacks_audio(row: Quarantined) -> bool:
    """Whether the row was put aside for its recording."""
    return row.reason.startswith(NO_AUDIO)
