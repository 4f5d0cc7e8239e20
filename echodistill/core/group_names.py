"""What a group (a speaker, a voice, a place) is called: manifests and parameters write one name in
several ways.
"""

import re
import unicodedata

_WHOLE = re.compile(r"([-+]?[0-9]+)\.0+")


def group_name(text: str) -> str:
    """Return the one form of a group's name: without blanks around, in Unicode's composed form, a
    whole number without a point.

    Data frames write a column of numbers with an empty cell as 7.0.
    """
    name = unicodedata.normalize("NFC", text).strip()
    whole = _WHOLE.fullmatch(name)
    return whole[1] if whole else name
