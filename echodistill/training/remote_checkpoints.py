"""A training's checkpoints in the shared store: killed on one machine, it goes on from the last one
on another.

Only where ``ECHODISTILL_S3`` is set. Each complete checkpoint is published under content-addressed
keys, then pointed to from ``checkpoints/runs/STAGE-FINGERPRINT``; the fingerprint is that of the
inputs, so only the same training finds it.

What stays: everything. Objects may be shared with other runs, whose publishers skip what is there,
so none can be removed safely; and a training that is started again where its result was lost takes
its last checkpoint from there and is done at once. To bound the space, let the store expire
``PREFIX/checkpoints/`` by age: a checkpoint with missing objects is named and passed over.
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
from echodistill.training.checkpoint_files import holds_code, is_needed
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
    """A training as the store knows it."""

    stage: str
    fingerprint: str

    @property
    def name(self) -> str:
        return f"{self.stage}-{self.fingerprint}"


class _UploadCheckpoints(TrainerCallback):
    """Comes after ``CompleteCheckpoints``: what it offers is complete."""

    def __init__(self, uploader: CheckpointUploader) -> None:
        self._uploader = uploader

    def on_save(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        self._uploader.submit(Path(args.output_dir) / f"checkpoint-{state.global_step}")


@contextmanager
def uploaded_checkpoints(
    place: Place | None, run: Run, folder: Path, mlflow_run: Callable[[], str | None]
) -> Iterator[list[TrainerCallback]]:
    """Bring the run's newest checkpoint to ``folder`` and yield what the trainer must call to have
    later ones published.

    Nothing without a ``place``. ``mlflow_run`` says the MLflow run's id where it is known. Raises
    ``UserError`` when the store cannot be used at the start; later that is only a warning. At the
    end it waits, for a limited time, until the last one is published.
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
        # the store was away, or the kill came first
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
    """Publish a folder of checkpoint files, then point to it. Raises ``UserError`` when the store
    cannot be used.
    """
    facts = {"stage": run.stage, "fingerprint": run.fingerprint, "step": str(step)}
    manifest = publish_folder(
        store, KIND, held, facts | ({"mlflow-run": mlflow_run} if mlflow_run else {})
    )
    point(store, run.name, Pointer(step, manifest))


def fetch_newest(store: Store, run: Run, folder: Path) -> int:
    """Bring the newest usable checkpoint to the run's local ``folder``, unless one at least as new
    is there; says what it does.

    A damaged, incomplete or suspicious one is named, and the next older one is taken. Returns the
    newest step in the store that is not known to be unusable, 0 when there is none. Raises
    ``UserError`` when the store cannot be asked: the training must not start from the beginning
    because of that.
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
    """Remove what a kill in the middle of fetching left."""
    for left in folder.glob(f"*{INCOMING}*"):
        shutil.rmtree(left)


def _fetch(store: Store, pointer: Pointer, folder: Path) -> str | None:
    """Make the checkpoint a complete local one; what is wrong when it cannot be used.

    The marker comes last: a kill before leaves nothing that counts.
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
        if holds_code(path):
            _clear(folder)
            return f"{path.name} holds more than tensors and numbers, and is not opened"
    checkpoint = folder / f"checkpoint-{pointer.step}"
    os.replace(incoming / METRICS, folder / METRICS)
    os.replace(incoming, checkpoint)
    mark_complete(checkpoint)
    return None


def _fault_there(store: Store, pointer: Pointer) -> str | None:
    """What can be told before anything large is fetched."""
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
