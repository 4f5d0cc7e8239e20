"""Log a comparison's figures, page and answers in MLflow, and publish all its outputs where a store
is set.

Nothing here writes a file that DVC would track. In MLflow a comparison is one run with one child
run for each system, whose metrics are the system's row of the report. The trainings have runs of
their own, which get the figures of their seeds.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from echodistill.core.errors import UserError
from echodistill.data.mixes.folds import FIRST
from echodistill.evaluation.headline import PARTS, top_intervals
from echodistill.lineage.dvc_lock import LOCK, Lock, read_lock
from echodistill.lineage.facts import flow_run_tags
from echodistill.lineage.outputs import publish_outputs
from echodistill.models.layout import read_run
from echodistill.revision import revision_tags
from echodistill.storage.dvc_hashes import dvc_md5
from echodistill.storage.place import place_from_environment
from echodistill.tracking.client import (
    find_or_create_run,
    log_missing_metrics,
    tracking_uri,
    without_credentials,
)
from echodistill.tracking.runs import log_figures
from echodistill.training.metrics_file import METRICS as STEPS
from echodistill.training.metrics_file import read_metrics

GRAPH = Path("comparison")
FILES = (
    "compare.json",
    "compare_metrics.json",
    "compare_by_snr.csv",
    "index.html",
    "unparsed_answers.csv",
)
PARENT_TAG = "mlflow.parentRunId"
SYSTEM_TAG, SEED_TAG = "echodistill.system", "echodistill.seed"


def log_comparison(reports: Path, models: Path) -> str:
    """Log the comparison in ``reports``, whose students are in ``models``, and return a line with
    its place.

    A repeated call adds only what is new. Raise ``UserError`` where the comparison is not complete,
    or a service fails.
    """
    for path in (*(reports / name for name in FILES), GRAPH / LOCK):
        if not path.is_file():
            raise UserError(f"{path} is missing: run `echodistill compare` first")
    lock = read_lock(GRAPH)
    _check_whole(lock)
    content = (reports / FILES[0]).read_bytes()
    table, run_fingerprint = json.loads(content), hashlib.sha256(content).hexdigest()
    tags = {
        name: without_credentials(value)
        for name, value in (revision_tags(Path()) | flow_run_tags()).items()
    }
    parent = find_or_create_run(run_fingerprint, "comparison", tags)
    gains = {
        f"{name} {metric}": found
        for name, figures in table["differences"].items()
        for metric, found in top_intervals(figures).items()
    }
    log_figures(parent, _flat(gains), [*(reports / name for name in FILES), GRAPH / LOCK])
    for name, figures in table["systems"].items():
        child = find_or_create_run(
            f"{run_fingerprint} {name}", name, tags | {PARENT_TAG: parent, SYSTEM_TAG: name}
        )
        log_figures(child, _flat(top_intervals(figures)), [])
    for name, seeds in table["by_seed"].items():
        for seed, figures in seeds.items():
            folder = models / f"{name}-{seed}"
            run = read_run(folder)
            training = find_or_create_run(
                run["fingerprint"], run["method"], {SYSTEM_TAG: name, SEED_TAG: seed}
            )
            log_missing_metrics(training, read_metrics(folder / STEPS))
            log_figures(training, figures, [])
    where = without_credentials(tracking_uri())
    return f"logged as MLflow run {parent} at {where}{_publish(table, lock)}"


def _check_whole(lock: Lock) -> None:
    """Raise ``UserError`` unless the report was made from the present students and answers."""
    made = {path: md5 for stage in lock.stages.values() for path, md5 in stage.outs.items()}
    if "compare" not in lock.stages or "report" not in lock.stages:
        raise UserError(
            f"{GRAPH / LOCK} has no whole comparison: run `echodistill compare` to its end first"
        )
    reports = {path: made[path] for path in made if path.startswith("reports/")}
    for path, md5 in {**lock.stages["compare"].deps, **reports}.items():
        if dvc_md5(Path(path)) != md5:
            raise UserError(
                f"{path} is not what the report was made from: run `echodistill compare` to its end"
                " first"
            )


def _flat(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return figures as flat numbers by name: ``acc``, ``acc.low``, ``acc.high``."""
    return {
        name if end == "value" else f"{name}.{end}": float(found[end])
        for name, found in figures.items()
        for end in PARTS
    }


def _publish(table: Mapping[str, Any], lock: Lock) -> str:
    place = place_from_environment()
    if place is None:
        return ""
    urls = publish_outputs(place, Path(), lock, _stages(table, lock), graph=GRAPH)
    return f"; report: {urls['reports/index.html']}"


def _stages(table: Mapping[str, Any], lock: Lock) -> list[str]:
    """Return the stages of this comparison: DVC's lock also keeps those of removed systems and
    seeds.
    """
    present = {f"{name}-{seed}" for name, seeds in table["by_seed"].items() for seed in seeds}
    folds = {
        str(fold)
        for fold in range(FIRST + 1, len(table.get("rotation", {}).get("held_out", [])) + 1)
    }
    known = (
        folds
        | {name.partition(" + ")[0] for name in table.get("denoised", {}).get("systems", {})}
        | set(table["by_seed"])
    )
    return [stage for stage in lock.stages if stage.partition("@")[2] in {"", *present, *known}]
