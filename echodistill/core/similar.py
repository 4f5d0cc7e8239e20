"""Propose the known name that a user may have meant by an unknown one."""

from collections.abc import Iterable
from difflib import get_close_matches


def meant(name: str, known: Iterable[str]) -> str:
    """Return ``: did you mean X?`` for an unknown ``name``, or an empty string where none of
    ``known`` is similar.

    Upper and lower case are not distinguished.
    """
    of_folded = {one.casefold(): one for one in known}
    alike = get_close_matches(name.casefold(), of_folded, n=1)
    return f": did you mean {of_folded[alike[0]]}?" if alike else ""
