"""Normalise the names of groups (speakers, voices, places), which manifests and parameters spell in
several ways.
"""

import re
import unicodedata

_WHOLE = re.compile(r"([-+]?[0-9]+)\.0+")


def group_name(text: str) -> str:
    """Return the normalised name of a group: without surrounding blanks, in Unicode's composed
    form, and a whole number without a decimal point.

    Data frames write 7 as 7.0 in a column of numbers that has an empty cell.
    """
    name = unicodedata.normalize("NFC", text).strip()
    whole = _WHOLE.fullmatch(name)
    return whole[1] if whole else name
