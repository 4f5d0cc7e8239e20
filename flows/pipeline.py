"""The flow ``echodistill``, with one task for each DVC stage.

DVC decides whether a stage runs. Prefect decides where and when it runs, retries it and shows it.
"""

import threading
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, wait
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed, State
from prefect.task_runners import ThreadPoolTaskRunner

from echodistill.core.cache_location import cache_folder
from echodistill.core.counted import counted
from echodistill.core.errors import UserError
from echodistill.core.paths import check_hashable
from echodistill.evaluating import NOTHING_TO_TRAIN
from echodistill.leftovers import remove_leftovers
from echodistill.lineage.dvc_lock import set_damaged_aside
from echodistill.overrides import restore
from echodistill.params.methods import MethodName
from echodistill.storage.client import Store, checked_place, open_store
from flows.cancellation import CancellationWatcher
from flows.commands import DVC
from flows.dvc_repo import locked
from flows.graph import (
    EVALUATION,
    PIPELINE,
    Meta,
    Node,
    inputs_of_graph,
    note_code,
    read_graph,
    unchanged,
    whole_graph,
)
from flows.remote import use_remote
from flows.remote_stage import run_remote_stage
from flows.reporting import StageProgress, report_result
from flows.stage_process import (
    RAN,
    StageCrashed,
    StageRefused,
    StageRun,
    StageUnknown,
    end_all,
    run_command,
    run_stage,
)
from flows.workspace import (
    environment,
    experiment_name,
    keep_reports,
    open_workspace,
    save_experiment,
)
from flows.workspace_lock import workspace_lock

MAX_PARALLEL_STAGES = 8
RETRY_DELAY_S = 5
LOCAL_POOL = Meta().pool
"""Name of the pool whose stages run on the flow's own machine."""
RUN_ID, RUN_URL = "ECHODISTILL_FLOW_RUN_ID", "ECHODISTILL_FLOW_RUN_URL"


@dataclass(frozen=True)
class Site:
    """The place of a run: its repository, workspace, store and identity."""

    repository: Path
    workspace: Path
    """The repository itself, or a clone of it where the run has overrides."""
    store: Store | None
    run_id: str
    run_url: str
    """Address of the run's page in Prefect's UI."""
    watch: CancellationWatcher

    @property
    def shared(self) -> dict[str, str]:
        """Return the environment variables that every command of the run gets."""
        return environment(self.repository, self.workspace) | {
            RUN_ID: self.run_id,
            RUN_URL: self.run_url,
        }


def _may_retry(_task: Any, _run: Any, state: State) -> bool:
    """Return whether a task may be tried again: only after a crash.

    A stage that refused its input would refuse it again.
    """
    try:
        state.result(raise_on_failure=True)
    except StageCrashed:
        return True
    except BaseException:
        return False
    return False


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    retry_delay_seconds=RETRY_DELAY_S,
    retry_condition_fn=_may_retry,
)
def stage(
    node: Node, site: Site, force: bool, skipped: str | None, slot: threading.Semaphore
) -> StageRun:
    """Bring one stage up to date.

    ``skipped`` is DVC's reason where the stage is known to have nothing to do.
    """
    logger = get_run_logger()
    if skipped and not force:
        logger.info("%s: %s", node.name, skipped)
        return StageRun(node.name, f"cached: {skipped}", 0.0)
    with slot:
        if site.watch.cancelled:
            raise StageRefused("cancelled")
        try:
            done = _run_node(node, site, force, lambda line: logger.info("%s", line))
        except StageCrashed as error:
            # Cancellation ends the stages of the run, so this is no crash that a retry could help.
            if site.watch.cancelled:
                raise StageRefused("cancelled") from error
            raise
    logger.info("%s: %s in %.0f s", done.name, done.decision, done.seconds)
    return done


def _run_node(node: Node, site: Site, force: bool, log: Any) -> StageRun:
    here = partial(
        run_stage,
        node.name,
        site.workspace,
        environment=site.shared,
        log=log,
        progress=StageProgress(node.name, log),
    )
    if node.meta.pool == LOCAL_POOL:
        return here("always" if force else "if changed", node.meta.timeout_s)
    if site.store is None:
        raise UserError(
            f"{node.name} needs pool {node.meta.pool}, which gets its inputs from S3: set"
            " ECHODISTILL_S3 for the worker"
        )
    if not force:
        try:
            return here("if known", None)
        except StageUnknown:
            pass
    if node.needs:
        run_command(
            [*DVC, "--wait-for-lock", "push", *node.needs],
            site.workspace,
            site.shared,
            lambda _line: None,
        )
    return run_remote_stage(
        site.store, site.repository, site.workspace, node, force, site.run_id, log
    )


@task(cache_policy=NO_CACHE, persist_result=False)
def register(site: Site, pipeline: str) -> str:
    """Register the student, or the comparison, in MLflow and return the command's last line.

    Registering makes no file, so it is no DVC stage.
    """
    logger = get_run_logger()
    options = [] if pipeline == PIPELINE else ["--comparison"]
    with locked(site.workspace):  # The command reads ``dvc.lock``.
        return run_command(
            ["echodistill", "register", *options],
            site.workspace,
            site.shared,
            partial(logger.info, "%s"),
        )[-1]


@task(cache_policy=NO_CACHE, persist_result=False)
def push(names: list[str], site: Site) -> None:
    """Push the stages' outputs and DVC's run cache to the team's remote."""
    logger = get_run_logger()
    lines = run_command(
        [*DVC, "--wait-for-lock", "push", "--run-cache", *names],
        site.workspace,
        site.shared,
        lambda _line: None,
    )
    logger.info("%s", lines[-1] if lines else "pushed")


# Its type parameter is narrower than the one that `flow` declares.
RUNNER: Any = ThreadPoolTaskRunner(max_workers=MAX_PARALLEL_STAGES)


@flow(name="echodistill", task_runner=RUNNER, persist_result=False)
def echodistill(
    method: MethodName | None = None,
    overrides: list[str] | None = None,
    target: str | None = None,
    force: bool = False,
    pipeline: str = PIPELINE,
) -> State[Any]:
    """Bring the graph of the file ``pipeline`` up to date, or the part that leads to the stage
    ``target``.

    ``overrides`` are parameters in the form ``section.key=value``; ``method`` is short for
    ``train.method=``. A run with any override is a DVC experiment with a workspace of its own.
    ``force`` also runs stages that have not changed. Where the corpus is used for testing only, the
    base model is evaluated on it and nothing is trained.
    """
    repository = Path.cwd()
    changes = [*([f"train.method={method}"] if method else []), *(overrides or [])]
    name = experiment_name(flow_run.get_name() or "run")
    run_id = str(flow_run.get_id())
    with CancellationWatcher([UUID(run_id)], end_all) as watch:
        try:
            store = _store()
            workspace = open_workspace(repository, name, changes) if changes else repository
            with workspace_lock(workspace, lambda: watch.cancelled, get_run_logger().info):
                if workspace == repository and (notice := restore(Path("params.yaml"))):
                    get_run_logger().warning(notice)
                for line in remove_leftovers(workspace, repository / cache_folder()):
                    get_run_logger().info(line)
                if store:
                    use_remote(workspace, store.place)
                with locked(workspace):
                    for folder in [
                        workspace,
                        *(graph.parent for graph in workspace.glob("*/dvc.yaml")),
                    ]:
                        if notice := set_damaged_aside(folder):
                            get_run_logger().warning(notice)
                for folder in filter(Path.is_dir, inputs_of_graph(workspace)):
                    check_hashable(PIPELINE, folder)
                if (
                    pipeline == PIPELINE
                    and target is None
                    and (pipeline := whole_graph(workspace)) == EVALUATION
                ):
                    get_run_logger().info(NOTHING_TO_TRAIN)
                site = Site(
                    repository,
                    workspace,
                    store,
                    run_id,
                    flow_run.get_flow_run_ui_url() or "",
                    watch,
                )
                results = _run_graph(site, target, force, pipeline)
                if target is None:
                    registered = (
                        NOTHING_TO_TRAIN if pipeline == EVALUATION else register(site, pipeline)
                    )
                    reports = (
                        keep_reports(repository, workspace, name)
                        if changes
                        else workspace.resolve() / "reports"
                    )
                    report_result(workspace, reports, results, registered, pipeline)
                if store:
                    push([done.name for done in results], site)
                if changes and target is None:  # DVC can save only complete experiments.
                    save_experiment(repository, workspace, name, pipeline)
                    get_run_logger().info(
                        "experiment %s: see `dvc exp show`, take it over with `dvc exp apply %s`",
                        name,
                        name,
                    )
        except (UserError, StageRefused, StageCrashed) as error:
            return Cancelled(message="cancelled") if watch.cancelled else Failed(message=str(error))
        finally:
            end_all()
    return Completed(
        message=(
            f"{sum(done.decision.startswith(RAN) for done in results)} of"
            f" {counted(len(results), 'stage')} ran"
        )
    )


def _store() -> Store | None:
    """Return the team's store, checked before the run does anything, or ``None`` where no store is
    set.

    Raise ``UserError`` where the store does not work.
    """
    place = checked_place()
    return open_store(place) if place else None


def _run_graph(site: Site, target: str | None, force: bool, pipeline: str) -> list[StageRun]:
    """Submit every stage after the stages that it needs, and return their results.

    Raise the error of the first stage that failed.
    """
    nodes = read_graph(site.workspace, target, pipeline)
    note_code(site.workspace)
    skipped = {} if force else unchanged(site.workspace, nodes, pipeline)
    places: dict[str, int] = defaultdict(lambda: 1)
    for node in nodes:
        places[node.meta.pool] = max(places[node.meta.pool], node.meta.concurrency)
    slots = {pool: threading.Semaphore(count) for pool, count in places.items()}
    futures: dict[str, PrefectFuture[StageRun]] = {}
    for node in nodes:
        task_of_node = stage.with_options(
            name=node.name, task_run_name=node.name, retries=node.meta.retries
        )
        futures[node.name] = task_of_node.submit(
            node,
            site,
            force,
            skipped.get(node.name),
            slots[node.meta.pool],
            return_state=False,
            wait_for=[futures[name] for name in node.needs],
        )
    wait(list(futures.values()))
    for future in futures.values():
        if future.state.is_failed() or future.state.is_crashed():
            future.result(raise_on_failure=True)
    return [future.result() for future in futures.values()]
