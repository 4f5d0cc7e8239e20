"""Configure DVC's caches: one cache for all clones on a machine, and the team's remote.

The remote is in the same store as everything else, and ``echodistill publish`` sends to it too.
"""

from pathlib import Path

from echodistill.storage.place import DVC as REMOTE
from echodistill.storage.place import Place
from flows.commands import DVC, output_of

NAME = "store"


def share_cache(repository: Path, clone: Path) -> None:
    """Make a clone use the cache of its repository, in the DVC configuration that git does not
    track.
    """
    cache = output_of(*DVC, "cache", "dir", cwd=repository)
    output_of(*DVC, "cache", "dir", "--local", str((repository / cache).resolve()), cwd=clone)


def use_remote(repository: Path, place: Place) -> None:
    """Make ``PLACE/dvc`` the default remote, in the DVC configuration that git does not track.

    A default remote that somebody else has set is kept.
    """
    from dvc.config import Config

    config = Config(str(repository / ".dvc"))
    own = config.load_one("local")
    is_ours = own.get("core", {}).get("remote") == NAME
    if config.get("core", {}).get("remote") and not is_ours:
        return
    # Without ``verify``, DVC uses an object whose bytes have changed in the store.
    settings = {"url": place.url(place.below(REMOTE)), "verify": "true"} | (
        {"endpointurl": place.endpoint} if place.endpoint else {}
    )
    if is_ours and dict(own.get("remote", {}).get(NAME, {})) == settings:
        return
    with config.edit("local") as local:
        local.setdefault("core", {})["remote"] = NAME
        local.setdefault("remote", {})[NAME] = settings


def has_remote(repository: Path) -> bool:
    """Return whether DVC has a default remote in this repository."""
    from dvc.config import Config

    return bool(Config(str(repository / ".dvc")).get("core", {}).get("remote"))
