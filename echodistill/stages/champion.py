"""Stage ``champion``: copy the registry's champion into files that DVC watches.

It runs each time, since DVC cannot see that the alias moved. The same state of the registry gives
the same bytes, so later stages do not run again; weights that are here already are not fetched
again.
"""

from pathlib import Path

from echodistill.champion_folder import ChampionFacts, is_intact, read_facts, write_facts
from echodistill.core.atomic import atomic_path
from echodistill.core.errors import UserError
from echodistill.params.whole import Params
from echodistill.stages.entry import run_stage
from echodistill.tracking.champion import identity_of, opponent_of
from echodistill.tracking.versions import fetch_model

NONE = "no other student is champion of the registry"
"""Reason that is written if there is no champion; it is the same before and after the first student
is promoted.
"""


def champion(params: Params, out: Path, student: Path) -> None:
    """Write the folder of the champion that ``student`` is compared with to ``out``, or one that
    records that there is none.

    Raise ``UserError`` if MLflow cannot be reached.
    """
    found = opponent_of(identity_of(student))
    if found is None:
        _write_none(out)
        print(f"champion: {NONE}")
        return
    wanted = ChampionFacts(found.number, found.fingerprint, found.weights_sha256)
    if _is_fetched(out, wanted):
        print(f"champion: version {found.number}, here already")
        return
    with atomic_path(out) as temporary:
        temporary.mkdir()
        write_facts(temporary, fetch_model(wanted, temporary))
    print(f"champion: version {found.number}")


def _write_none(out: Path) -> None:
    with atomic_path(out) as temporary:
        temporary.mkdir()
        write_facts(temporary, ChampionFacts(None, reason=NONE))


def _is_fetched(out: Path, wanted: ChampionFacts) -> bool:
    try:
        found = read_facts(out)
    except UserError:
        return False
    return (
        found.version == wanted.version
        and found.weights_sha256 == wanted.weights_sha256
        and is_intact(out, found)
    )


if __name__ == "__main__":
    run_stage(champion, sections=())
