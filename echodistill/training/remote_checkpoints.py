"""Keep a training's checkpoints in the shared store, so that another machine can resume a killed
training.

This happens only where ``ECHODISTILL_S3`` is set. Each complete checkpoint is published under
content-addressed keys, and then a pointer to it is written below
``checkpoints/runs/STAGE-FINGERPRINT``. The fingerprint is computed from the inputs, so only the
same training finds the checkpoint.

Nothing is ever removed. Other runs may share objects, and their publishers skip objects that exist,
so no object can be removed safely. A training that is started again because its result was lost
loads its last checkpoint from the store and is done at once. To limit the space, let the store
expire ``PREFIX/checkpoints/`` by age: a checkpoint with missing objects is reported and skipped.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

from transformers import TrainerCallback

from echodistill.storage.client import Store, open_store
from echodistill.storage.folders import (
    NoManifest,
    fetch_folder,
    publish_folder,
    read_manifest,
    verify_folder,
)
from echodistill.storage.interrupt import interruptible
from echodistill.storage.place import Place
from echodistill.storage.run_pointers import KIND, Pointer, point, pointers_of, runs_folder
from echodistill.storage.transfer import DamagedObject, remove_abandoned
from echodistill.training.checkpoint_files import contains_code, is_needed
from echodistill.training.checkpoint_uploader import (
    DRAIN_AFTER_FAILURE_S,
    DRAIN_S,
    CheckpointUploader,
)
from echodistill.training.checkpoints import (
    latest_complete,
    mark_complete,
    remove_unusable,
    step_of,
)
from echodistill.training.metrics_file import METRICS

INCOMING = ".incoming"


@dataclass(frozen=True)
class Run:
    """The identity of a training in the store."""

    stage: str
    fingerprint: str

    @property
    def name(self) -> str:
        return f"{self.stage}-{self.fingerprint}"


class _UploadCheckpoints(TrainerCallback):
    """A callback that submits checkpoints. It runs after ``CompleteCheckpoints``, so they are
    complete.
    """

    def __init__(self, uploader: CheckpointUploader) -> None:
        self._uploader = uploader

    def on_save(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        self._uploader.submit(Path(args.output_dir) / f"checkpoint-{state.global_step}")


@contextmanager
def uploaded_checkpoints(
    place: Place | None, run: Run, folder: Path, mlflow_run: Callable[[], str | None]
) -> Iterator[list[TrainerCallback]]:
    """Fetch the run's newest checkpoint to ``folder``, and yield the callbacks that publish later
    ones.

    Without a ``place``, nothing is fetched and no callback is yielded. ``mlflow_run`` returns the
    MLflow run's id, or ``None`` where it is not known. Raise ``UserError`` where the store cannot
    be used at the start; later failures cause only a warning. At the end, wait for a limited time
    until the last checkpoint is published.
    """
    if place is None:
        yield []
        return
    store = open_store(place)
    known = fetch_newest(store, run, folder)
    remove_abandoned(store)
    sending = open_store(place)
    interrupted = interruptible(sending)

    def send(step: int, held: Path) -> None:
        publish_checkpoint(sending, run, step, held, mlflow_run())

    uploader = CheckpointUploader(folder, send)
    wait_s = DRAIN_AFTER_FAILURE_S
    try:
        local = latest_complete(folder)
        # The store could not be reached, or the training was killed before the upload.
        if local is not None and step_of(local) > known:
            uploader.submit(local)
        yield [_UploadCheckpoints(uploader)]
        wait_s = DRAIN_S
    finally:
        uploader.close(wait_s)
        interrupted.set()


def publish_checkpoint(
    store: Store, run: Run, step: int, held: Path, mlflow_run: str | None
) -> None:
    """Publish a folder of checkpoint files, then write a pointer to it.

    Raise ``UserError`` where the store cannot be used.
    """
    facts = {"stage": run.stage, "fingerprint": run.fingerprint, "step": str(step)}
    manifest = publish_folder(
        store, KIND, held, facts | ({"mlflow-run": mlflow_run} if mlflow_run else {})
    )
    point(store, run.name, Pointer(step, manifest))


def fetch_newest(store: Store, run: Run, folder: Path) -> int:
    """Fetch the newest usable checkpoint to the run's local ``folder``, unless one at least as new
    is there.

    What is done is printed. A damaged, incomplete or suspicious checkpoint is reported, and the
    next older one is tried. Return the newest step in the store that is not known to be unusable,
    or 0 where there is none. Raise ``UserError`` where the store cannot be reached: the training
    must not start from the beginning because of that.
    """
    _clear(folder)
    remove_unusable(folder)
    local = latest_complete(folder)
    have = step_of(local) if local is not None else 0
    found = pointers_of(store, run.name)
    where = store.place.url(runs_folder(store, run.name))
    if not found:
        print(f"no checkpoint of this training in {where}")
    for pointer in found:
        if pointer.step <= have:
            print(
                f"the local checkpoint of step {have} is used; the newest usable one in {where} is"
                f" of step {pointer.step}"
            )
            return pointer.step
        fault = _fetch(store, pointer, folder)
        if fault is None:
            print(f"the checkpoint of step {pointer.step} is used, fetched from {where}")
            return pointer.step
        print(
            f"warning: the checkpoint of step {pointer.step} in {where} is not used: {fault}",
            file=sys.stderr,
        )
    if found:
        instead = (
            f"the local checkpoint of step {have} is used"
            if have
            else "training starts from the beginning"
        )
        print(
            f"warning: none of the {len(found)} checkpoints in {where} can be used: {instead}",
            file=sys.stderr,
        )
    return 0


def _clear(folder: Path) -> None:
    """Remove what a kill during fetching left."""
    for left in folder.glob(f"*{INCOMING}*"):
        shutil.rmtree(left)


def _fetch(store: Store, pointer: Pointer, folder: Path) -> str | None:
    """Make the checkpoint a complete local one, and return what is wrong where it cannot be used.

    The marker is written last, so a kill before that leaves nothing that counts as a checkpoint.
    """
    incoming = folder / INCOMING
    try:
        fault = _fault_there(store, pointer)
        if fault is not None:
            return fault
        fetch_folder(store, pointer.manifest, incoming)
    except (DamagedObject, NoManifest) as error:
        return str(error)
    for path in sorted(incoming.iterdir()):
        if contains_code(path):
            _clear(folder)
            return f"{path.name} holds more than tensors and numbers, and is not opened"
    checkpoint = folder / f"checkpoint-{pointer.step}"
    os.replace(incoming / METRICS, folder / METRICS)
    os.replace(incoming, checkpoint)
    mark_complete(checkpoint)
    return None


def _fault_there(store: Store, pointer: Pointer) -> str | None:
    """Return the fault that can be found before anything large is fetched, or ``None``."""
    for state in verify_folder(store, pointer.manifest):
        if state.state != "ok":
            return (
                f"{store.place.url(state.key)}"
                f" ({'its manifest' if state.path == '.' else state.path}) is {state.state}"
            )
    names = {entry.path for entry in read_manifest(store, pointer.manifest)}
    foreign = sorted(name for name in names if name != METRICS and not is_needed(name))
    if foreign:
        return f"it holds {', '.join(foreign)}, which no checkpoint of this project has"
    return None if METRICS in names else f"{METRICS} is not in it"
