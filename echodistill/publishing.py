"""After the graph: complete the training's MLflow run and enter the student into the registry. Leaves no bytes DVC would own."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from echodistill.atomic import atomic_path
from echodistill.errors import UserError
from echodistill.lineage import headline, read_lineage
from echodistill.models.layout import RUN
from echodistill.registry import log_run, register
from echodistill.tracking import find_or_create_run, log_missing_metrics, tracking_uri
from echodistill.training.metrics_file import read_metrics
from echodistill.training.run_folder import RUNS

RUN_PARAMS = Path(".echodistill/run_params.yaml")
REGISTERED = Path(".echodistill/registered.json")


def publish(student: Path, base: Path, metrics: Path, promotion: Path, lock: Path, figures: Sequence[Path]) -> str:
    """Register the student; one line that says what was entered. Raises ``UserError`` when the pipeline has not run."""
    for path in (student / RUN, metrics, promotion, lock):
        if not path.is_file():
            raise UserError(f"{path} is missing: run `echodistill run` first")
    state = hashlib.sha256(lock.read_bytes() + tracking_uri().encode()).hexdigest()
    if _stands(state):
        return json.loads(REGISTERED.read_text(encoding="utf-8"))["says"]
    run = json.loads((student / RUN).read_text(encoding="utf-8"))
    decision = json.loads(promotion.read_text(encoding="utf-8"))
    figures_of = headline(json.loads(metrics.read_text(encoding="utf-8")))
    run_id = find_or_create_run(run["fingerprint"], run["method"])
    # the run's own log has the timings too, which an artifact leaves out; it is gone where the student came from a cache
    own = RUNS / f"train-{run['fingerprint'][:16]}" / "metrics.jsonl"
    log_missing_metrics(run_id, read_metrics(own if own.is_file() else student / "metrics.jsonl"))
    log_run(run_id, _params_of_the_run(lock), read_lineage(Path(), "train"), metrics, figures)
    number = register(student, base, decision, run_id, figures_of)
    aliases = "candidate, champion" if decision["promote"] else "candidate"
    says = f"registered echodistill version {number} ({aliases}), MLflow run {run_id}"
    with atomic_path(REGISTERED) as temporary:
        temporary.write_text(json.dumps({"state": state, "says": says}) + "\n", encoding="utf-8")
    return says


def _stands(state: str) -> bool:
    """Whether just this was registered already, so that a run without changes need not ask MLflow."""
    database = tracking_uri().removeprefix("sqlite:///")
    known = REGISTERED.is_file() and json.loads(REGISTERED.read_text(encoding="utf-8"))["state"] == state
    return known and (database == tracking_uri() or Path(database).is_file())


def _params_of_the_run(lock: Path) -> Path:
    """The parameters the artifacts were made with, as DVC locked them: params.yaml may have been overridden for the run."""
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    for stage in yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"].values():
        for key, value in stage.get("params", {}).get("params.yaml", {}).items():
            *outer, last = key.split(".")
            node = params
            for part in outer:
                node = node[part]
            node[last] = value
    with atomic_path(RUN_PARAMS) as temporary:
        temporary.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    return RUN_PARAMS
