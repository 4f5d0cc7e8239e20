"""Read and change which version of the registered model is its champion.

A version's tags name the champion that it replaced (``PREVIOUS_TAG``) and whether it was rolled
back (``ROLLED_BACK_TAG``); only ``set_champion`` makes such a version champion again. The
registered model has one tag for each change (``CHANGE_TAG``), and these tags are the history.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from echodistill.core.checksums import verify_checksums
from echodistill.core.errors import UserError
from echodistill.models.layout import STUDENT_CURE, WEIGHTS, content_hash, read_run
from echodistill.tracking.client import (
    FINGERPRINT_TAG,
    connected,
    tracking_uri,
    without_credentials,
)
from echodistill.tracking.local_store import database_of

MODEL = "echodistill"
CHAMPION = "champion"
WEIGHTS_TAG = "echodistill.weights_sha256"
PREVIOUS_TAG = "echodistill.previous_champion"
ROLLED_BACK_TAG = "echodistill.rolled_back"
CHANGE_TAG = "echodistill.champion."
"""Prefix of a change's number in the tags of the registered model."""
ChangeKind = Literal["promoted", "rolled back to", "set by hand to"]


@dataclass(frozen=True)
class Change:
    """A change of the champion."""

    version: str
    """Number of the version that is champion from then on."""
    since: str
    """Time of the change in UTC, in ISO 8601."""
    how: ChangeKind


@dataclass(frozen=True)
class ChampionVersion:
    """A version with which a student is compared."""

    number: str
    fingerprint: str
    """Fingerprint of the version's training; empty where ``register`` did not enter the version."""
    weights_sha256: str


@dataclass(frozen=True)
class Championship:
    """The present champion and its history, as the registry has them."""

    version: str
    changes: tuple[Change, ...]
    """Changes in order of time; empty where the alias was only ever set by other means."""

    @property
    def since(self) -> str:
        """Return the time at which the present champion became champion; empty where it is not
        known.
        """
        last = self.changes[-1] if self.changes else None
        return last.since if last and last.version == self.version else ""


def identity_of(student: Path) -> dict[str, str]:
    """Return the tags that identify a student's version: its training, and the weights that are
    served.

    Raise ``UserError`` where the student is damaged, because it would be registered with a wrong
    identity.
    """
    verify_checksums(student, STUDENT_CURE, required=False)
    return {
        FINGERPRINT_TAG: read_run(student)["fingerprint"],
        WEIGHTS_TAG: content_hash(student, WEIGHTS),
    }


def opponent_of(identity: Mapping[str, str]) -> ChampionVersion | None:
    """Return the champion with which a student is compared, or ``None`` where there is none.

    A student that is the champion itself is compared with the version that it replaced, so that
    registering it does not change its own decision. Raise ``UserError`` where MLflow cannot be
    reached.
    """
    if not _has_store():
        return None
    with connected() as client:
        number = champion_number(client)
        if number is not None and _matches(_versions(client)[number], identity):
            number = _previous(client, number)
        if number is None:
            return None
        tags = _versions(client)[number].tags
        return ChampionVersion(number, tags.get(FINGERPRINT_TAG, ""), tags.get(WEIGHTS_TAG, ""))


def champion_number(client: Any) -> str | None:
    """Return the number of the version with the alias ``champion``, or ``None`` where there is
    none.
    """
    if not client.search_registered_models(f"name = '{MODEL}'"):
        return None
    number = client.get_registered_model(MODEL).aliases.get(CHAMPION)
    return None if number is None else str(number)


def refusal(client: Any, number: str, decided_against: str | None) -> str:
    """Return why a promoted version is not made champion; empty where it can be.

    ``decided_against`` is the champion against which the decision was made.
    """
    if _versions(client)[number].tags.get(ROLLED_BACK_TAG) == "true":
        return (
            f"version {number} was rolled back; `echodistill champion --set {number}` makes it"
            " champion again"
        )
    now = champion_number(client)
    if now in (decided_against, number):
        return ""
    present, against = (
        f"version {each}" if each else "no version" for each in (now, decided_against)
    )
    return (
        f"{present} is champion now, and the decision was made against {against}: "
        "run `echodistill run`, and then `echodistill register` again"
    )


def make_champion(client: Any, number: str, how: ChangeKind = "promoted") -> None:
    """Give a version the alias, and record which version it replaced.

    Nothing changes where it has the alias already.
    """
    before = champion_number(client)
    if before == number:
        return
    if before is not None and how != "rolled back to":
        client.set_model_version_tag(MODEL, number, PREVIOUS_TAG, before)
    client.set_registered_model_alias(MODEL, CHAMPION, number)
    changes = _changes(client)
    change = Change(number, datetime.now(UTC).isoformat(timespec="seconds"), how)
    client.set_registered_model_tag(
        MODEL, f"{CHANGE_TAG}{len(changes) + 1:04d}", json.dumps(asdict(change))
    )


def championship() -> Championship:
    """Return the champion and its history. Raise ``UserError`` where there is no champion."""
    _check_store()
    with connected() as client:
        return Championship(_present(client), _changes(client))


def roll_back() -> tuple[str, str]:
    """Give the alias back to the previous champion and mark the present one as rolled back.

    Return the numbers of both, the new champion's first. Raise ``UserError`` where there is no
    champion, or none before it.
    """
    _check_store()
    with connected() as client:
        present = _present(client)
        before = _previous(client, present)
        if before is None:
            known = ", ".join(sorted(_versions(client), key=int))
            raise UserError(
                f"version {present} of model {MODEL!r} replaced no champion that could"
                " be restored; `echodistill champion --set VERSION` makes another version champion:"
                f" it has {known}"
            )
        client.set_model_version_tag(MODEL, present, ROLLED_BACK_TAG, "true")
        make_champion(client, before, "rolled back to")
        return before, present


def set_champion(number: str) -> None:
    """Make a version champion by hand, also one that was rolled back.

    Raise ``UserError`` for a version that does not exist.
    """
    _check_store()
    with connected() as client:
        known = _versions(client) if client.search_registered_models(f"name = '{MODEL}'") else {}
        if not known:
            raise UserError(f"{_no_model()}: register a version with `echodistill register`")
        if number not in known:
            raise UserError(
                f"model {MODEL!r} has no version {number}; it has"
                f" {', '.join(sorted(known, key=int))}"
            )
        if ROLLED_BACK_TAG in known[number].tags:
            client.delete_model_version_tag(MODEL, number, ROLLED_BACK_TAG)
        make_champion(client, number, "set by hand to")


def _has_store() -> bool:
    """Return whether a local store exists, or a server is used.

    A connection to a local store would create it.
    """
    database = database_of(tracking_uri())
    return database is None or database.exists()


def _check_store() -> None:
    if not _has_store():
        raise UserError(
            f"{_no_model()}: register one with `echodistill register`, or set MLFLOW_TRACKING_URI"
            " to the server that has it"
        )


def _present(client: Any) -> str:
    number = champion_number(client)
    if number is None:
        raise UserError(
            f"{_no_model()} with the alias {CHAMPION!r}: `echodistill register` gives it to a"
            " student that is promoted, `echodistill champion --set VERSION` to any version"
        )
    return number


def _no_model() -> str:
    return f"MLflow at {without_credentials(tracking_uri())} has no version of model {MODEL!r}"


def _versions(client: Any) -> dict[str, Any]:
    found = client.search_model_versions(f"name = '{MODEL}'", max_results=10_000)
    return {str(version.version): version for version in found}


def _matches(version: Any, identity: Mapping[str, str]) -> bool:
    return all(version.tags.get(name) == value for name, value in identity.items())


def _previous(client: Any, number: str) -> str | None:
    """Return the nearest earlier champion that still exists and was not rolled back, or
    ``None``.
    """
    versions, seen = _versions(client), {number}
    before = versions[number].tags.get(PREVIOUS_TAG)
    while before in versions and before not in seen:
        if versions[before].tags.get(ROLLED_BACK_TAG) != "true":
            return str(before)
        seen.add(before)
        before = versions[before].tags.get(PREVIOUS_TAG)
    return None


def _changes(client: Any) -> tuple[Change, ...]:
    tags = client.get_registered_model(MODEL).tags
    return tuple(
        Change(**json.loads(tags[name])) for name in sorted(tags) if name.startswith(CHANGE_TAG)
    )
