"""Recognise rows whose recording is missing by how their reason begins."""

from echodistill.core.paths import MISSING as NO_AUDIO
from echodistill.core.records import Quarantined


def lacks_audio(row: Quarantined) -> bool:
    """Return whether the row was quarantined because its recording is missing."""
    return row.reason.startswith(NO_AUDIO)
