"""Write and read ``lineage.json``, which records the origin of a model stage by stage.

It is written when the model is registered, and ``echodistill provenance`` reads it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from echodistill.core.errors import UserError
from echodistill.lineage.dvc_lock import Lock, LockedStage
from echodistill.storage.place import Place

FILE = "lineage.json"


@dataclass(frozen=True)
class Record:
    """Everything that is known about a model's origin."""

    model: str
    """Path of the student among the outputs."""
    git: Mapping[str, str]
    """``rev`` and ``dirty`` of the training's git repository."""
    flow_run: Mapping[str, str]
    """``id`` and ``url`` of the flow run; empty without an orchestrator."""
    place: str | None
    """Address ``s3://BUCKET/PREFIX``; ``None`` where nothing was published."""
    server: str | None
    """Server to which the outputs were published, as the publisher reached it."""
    lock_sha256: str
    """SHA-256 of ``dvc.lock``, which is an artifact of the same MLflow run."""
    stages: Mapping[str, LockedStage]
    """Stages of ``dvc.lock``."""
    addresses: Mapping[str, str]
    """Address ``s3://BUCKET/KEY`` of each published output in DVC's remote, by path; that of a
    folder is DVC's list of its files.
    """


def make_record(
    lock: Lock, model: str, tags: Mapping[str, str], place: Place | None, urls: Mapping[str, str]
) -> Record:
    """Return the record of a lock, the tags of the MLflow run, and the S3 addresses of published
    outputs by path.
    """
    return Record(
        model=model,
        git={name: tags.get(f"git.{name}", "unknown") for name in ("rev", "dirty")},
        flow_run={
            name: tags[tag] for name in ("id", "url") if (tag := f"prefect.flow_run_{name}") in tags
        },
        place=place.url(place.prefix) if place else None,
        server=place.server if place else None,
        lock_sha256=lock.sha256,
        stages=lock.stages,
        addresses=urls,
    )


def record_text(record: Record) -> str:
    return json.dumps(asdict(record), indent=1, ensure_ascii=False) + "\n"


def parse_record(content: bytes, name: str) -> Record:
    """Return the record with this content. Raise ``UserError`` that names ``name`` where it is not
    a record.
    """
    try:
        found = json.loads(content)
        stages = {name: LockedStage(**stage) for name, stage in found["stages"].items()}
        record = Record(**(found | {"stages": stages}))
        if record.place and record.model not in record.addresses:
            raise ValueError(f"it has no address of {record.model}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = error if isinstance(error, ValueError) else "another version made it"
        raise UserError(
            f"{name} is not a lineage record ({reason}): run `echodistill register` where the model"
            " was made"
        ) from error
    return record
