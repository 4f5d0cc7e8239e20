"""Publish the stages' outputs, complete the training's MLflow run and register the student, after
the graph has run.

Nothing here writes a file that DVC would track. The MLflow run has the S3 addresses as tags, by
which all runs with an object can be found.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from echodistill.core.atomic import atomic_path
from echodistill.core.errors import UserError
from echodistill.core.yaml12 import dump_yaml, load_yaml
from echodistill.lineage.dvc_lock import LOCK, Lock, check_outputs, read_lock
from echodistill.lineage.facts import flow_run_tags, headline, read_lineage
from echodistill.lineage.outputs import publish_outputs
from echodistill.lineage.record import FILE, make_record, record_text
from echodistill.models.layout import RUN, read_run
from echodistill.run_reports import Reports
from echodistill.storage.place import Place, place_from_environment
from echodistill.tracking.client import (
    find_or_create_run,
    log_missing_metrics,
    run_page,
    tracking_uri,
    without_credentials,
)
from echodistill.tracking.local_store import database_of, digest_of
from echodistill.tracking.registry import has_version, register
from echodistill.tracking.runs import log_lineage, log_run, read_run_file, run_tags, tag_name
from echodistill.training.metrics_file import read_metrics
from echodistill.training.run_folder import RUNS, SHOWN

RUN_PARAMS = Path(".echodistill/run_params.yaml")
REGISTERED = Path(".echodistill/registered.json")


def publish(
    student: Path, base: Path, reports_folder: Path, answers_folder: Path, lock: Path
) -> str:
    """Register the student, and publish all outputs before that where ``ECHODISTILL_S3`` is set.

    Return one line that states what was registered. Raise ``UserError`` where the pipeline has not
    run to its end, or a service cannot be used.
    """
    for path in (student / RUN, lock):
        if not path.is_file():
            raise UserError(f"{path} is missing: run `echodistill run` first")
    locked = read_lock(lock.parent)
    reports = Reports.of(reports_folder, answers_folder)
    place, flow = place_from_environment(), _flow_run()
    # New services at an old address have none of the earlier registrations; their passwords are new
    # too, so these are part of the state.
    accounts = [
        os.environ.get(name, "") for name in ("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY")
    ]
    state = hashlib.sha256(
        "\n".join([locked.stages_sha256, tracking_uri(), _named(place), *accounts]).encode()
    ).hexdigest()
    if (present := _stands(state, bool(flow))) is not None:
        return present
    if stale := locked.stale():
        raise UserError(
            f"dvc.lock does not fit together ({stale}): run `echodistill run` to its end first"
        )
    check_outputs(locked, (student, base, reports_folder, answers_folder))
    if place is not None:
        from echodistill.storage.client import check

        check(place)
    run = read_run(student)
    decision = json.loads(reports.promotion.read_text(encoding="utf-8"))
    figures_of = headline(json.loads(reports.metrics.read_text(encoding="utf-8")))
    run_id = find_or_create_run(run["fingerprint"], run["method"])
    # The run's own log has the timings too, which the artifact leaves out. It does not exist where
    # the student came from a cache.
    own = RUNS / f"train-{run['fingerprint'][:SHOWN]}" / "metrics.jsonl"
    log_missing_metrics(run_id, read_metrics(own if own.is_file() else student / "metrics.jsonl"))
    log_run(run_id, _params_of_the_run(lock), read_lineage(lock.parent, "train", flow), reports)
    published = _link(run_id, locked, student, place, lock.parent)
    entered = register(student, base, decision, run_id, figures_of, reports)
    aliases = "candidate, champion" if entered.is_champion else "candidate"
    message = (
        f"registered echodistill version {entered.number} ({aliases}), MLflow run"
        f" {run_id}{published}"
    )
    # The registration is not remembered: a later one may make the version champion.
    if entered.refusal:
        return f"{message}; not made champion: {entered.refusal}"
    entry = {"state": state, "flow": bool(flow), "message": message, "page": run_page(run_id)}
    entry |= {"run": run_id, "version": entered.number, "store": _store()}
    with atomic_path(REGISTERED) as temporary:
        temporary.write_text(json.dumps(entry) + "\n", encoding="utf-8")
    return message


def forget_registered() -> None:
    """Make the next ``register`` check MLflow again, because an earlier result may be outdated."""
    REGISTERED.unlink(missing_ok=True)


def _link(run_id: str, lock: Lock, student: Path, place: Place | None, folder: Path) -> str:
    """Publish the outputs, store the lock and the lineage record in the run, and return the text
    about it.
    """
    tags = run_tags(run_id)
    is_published = tag_name("s3", student.as_posix()) in tags
    if place is None and is_published and read_run_file(run_id, LOCK) == lock.content:
        return ""  # The existing record has the same content, and the addresses too.
    urls = publish_outputs(place, folder, lock) if place else {}
    record = make_record(lock, student.as_posix(), tags, place, urls)
    log_lineage(run_id, {FILE: record_text(record), LOCK: lock.content.decode()}, urls)
    return f", outputs in {record.place}" if place else ""


def publish_stages(stages: Sequence[str] | None) -> dict[str, str]:
    """Publish the outputs of some stages, all where ``None``, and replace what is damaged in the
    store.

    Return the S3 address by path. Raise ``UserError`` without ``ECHODISTILL_S3``.
    """
    from echodistill.storage.client import checked_place

    place = checked_place()
    if place is None:
        cure = (
            'set it to s3://BUCKET/PREFIX, or with the local services run eval "$(echodistill'
            ' services env)"'
        )
        raise UserError(f"ECHODISTILL_S3 is not set, so there is nowhere to publish to: {cure}")
    return publish_outputs(place, Path(), read_lock(Path()), stages, again=True)


def _flow_run() -> dict[str, str]:
    return {tag: without_credentials(value) for tag, value in flow_run_tags().items()}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _named(place: Place | None) -> str:
    return f"{place.url(place.prefix)} at {place.server}" if place else ""


def _stands(state: str, in_flow: bool) -> str | None:
    """Return the message of an earlier registration of the same state in an unchanged store, else
    ``None``.

    A registration outside a flow run is repeated by the first flow run, which adds a link to
    itself.
    """
    try:
        known = json.loads(REGISTERED.read_text(encoding="utf-8"))
        if (
            known["state"] != state
            or not (known["flow"] or not in_flow)
            or known["store"] != (store := _store())
        ):
            return None
        # A local store is identified by its bytes. A server is queried, since another server may
        # answer at its address.
        exists = bool(store) or has_version(known["version"], known["run"])
        return str(known["message"]) if exists else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _store() -> str:
    """Return the digest that identifies a local store; empty for a server."""
    database = database_of(tracking_uri())
    return digest_of(database) if database else ""


def _params_of_the_run(lock: Path) -> Path:
    """Write the parameters with which the artifacts were made, as DVC locked them, and return the
    file.

    The run may have overridden ``params.yaml``.
    """
    params = load_yaml(Path("params.yaml").read_text(encoding="utf-8"))
    for stage in load_yaml(lock.read_text(encoding="utf-8"))["stages"].values():
        for key, value in stage.get("params", {}).get("params.yaml", {}).items():
            *outer, last = key.split(".")
            node = params
            for part in outer:
                node = node[part]
            node[last] = value
    with atomic_path(RUN_PARAMS) as temporary:
        temporary.write_text(dump_yaml(params), encoding="utf-8")
    return RUN_PARAMS
