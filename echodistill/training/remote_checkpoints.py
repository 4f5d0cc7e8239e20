"""Keep a training's checkpoints in the shared store, so that another machine can resume a killed
training.

This happens only where ``ECHODISTILL_S3`` is set. Each complete checkpoint is published to
``checkpoints/STAGE-FINGERPRINT/step-00000020``: its files, and then the list of them, by which it
is found. The fingerprint is computed from the inputs, so only the same training finds the
checkpoint; the training's MLflow run has it as a tag. Where two machines published different bytes
for one step, there are two lists.

Nothing is ever removed: a training that is started again because its result was lost loads its last
checkpoint from the store and is done at once. To limit the space, let the store expire
``PREFIX/checkpoints/`` by age: a checkpoint with missing objects is reported and skipped.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

from transformers import TrainerCallback

from echodistill.storage.client import Store, open_store, rows_below
from echodistill.storage.dvc_hashes import objects_of
from echodistill.storage.interrupt import interruptible
from echodistill.storage.objects import FaultyObject, fetch, publish, read_list
from echodistill.storage.place import Place
from echodistill.storage.transfer import remove_abandoned
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
LIST = re.compile(r"step-(\d+)/files/md5/([0-9a-f]{2})/([0-9a-f]{30}\.dir)")
"""Key of the list of a checkpoint's files, below the folder of its run."""


@dataclass(frozen=True)
class Run:
    """The identity of a training in the store."""

    stage: str
    fingerprint: str

    @property
    def folder(self) -> str:
        """Return the folder of the run below the place."""
        return f"checkpoints/{self.stage}-{self.fingerprint}"


@dataclass(frozen=True)
class Published:
    """A published checkpoint."""

    step: int
    md5: str
    """Hash of the list of its files."""
    store: Store
    """Store at the checkpoint's folder."""


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
    place: Place | None, run: Run, folder: Path
) -> Iterator[list[TrainerCallback]]:
    """Fetch the run's newest checkpoint to ``folder``, and yield the callbacks that publish later
    ones.

    Without a ``place``, nothing is fetched and no callback is yielded. Raise ``UserError`` where
    the store cannot be used at the start; later failures cause only a warning. At the end, wait for
    a limited time until the last checkpoint is published.
    """
    if place is None:
        yield []
        return
    store = open_store(place)
    known = fetch_newest(store, run, folder)
    remove_abandoned(store)
    sending = open_store(place)
    interrupted = interruptible(sending)

    uploader = CheckpointUploader(folder, partial(publish_checkpoint, sending, run))
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


def publish_checkpoint(store: Store, run: Run, step: int, held: Path) -> None:
    """Publish a folder of checkpoint files. Raise ``UserError`` where the store cannot be used."""
    publish(store.at(f"{run.folder}/step-{step:08d}"), held.name, objects_of(held))


def published_checkpoints(store: Store, run: Run) -> list[Published]:
    """Return all published checkpoints of a run, the highest step first.

    Within a step, the one written last is first. Raise ``UserError`` where the store cannot be
    used.
    """
    folder = store.place.below(f"{run.folder}/")
    rows = sorted(rows_below(store, folder), key=lambda row: row["LastModified"], reverse=True)
    found = [match for row in rows if (match := LIST.fullmatch(row["Key"].removeprefix(folder)))]
    return [
        Published(int(match[1]), match[2] + match[3], store.at(f"{run.folder}/step-{match[1]}"))
        for match in sorted(found, key=lambda match: int(match[1]), reverse=True)
    ]


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
    found = published_checkpoints(store, run)
    where = store.place.url(store.place.below(f"{run.folder}/"))
    if not found:
        print(f"no checkpoint of this training in {where}")
    for checkpoint in found:
        if checkpoint.step <= have:
            print(
                f"the local checkpoint of step {have} is used; the newest usable one in {where} is"
                f" of step {checkpoint.step}"
            )
            return checkpoint.step
        fault = _fetch(checkpoint, folder)
        if fault is None:
            print(f"the checkpoint of step {checkpoint.step} is used, fetched from {where}")
            return checkpoint.step
        print(
            f"warning: the checkpoint of step {checkpoint.step} in {where} is not used: {fault}",
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


def _fetch(published: Published, folder: Path) -> str | None:
    """Make a checkpoint a complete local one, and return what is wrong where it cannot be used.

    The marker is written last, so a kill before that leaves nothing that counts as a checkpoint.
    """
    incoming = folder / INCOMING
    try:
        names = read_list(published.store, published.md5).keys()
        if foreign := sorted(name for name in names if name != METRICS and not is_needed(name)):
            return f"it holds {', '.join(foreign)}, which no checkpoint of this project has"
        if METRICS not in names:
            return f"{METRICS} is not in it"
        fetch(published.store, published.md5, incoming)
    except FaultyObject as error:
        return str(error)
    for path in sorted(incoming.iterdir()):
        if contains_code(path):
            _clear(folder)
            return f"{path.name} holds more than tensors and numbers, and is not opened"
    checkpoint = folder / f"checkpoint-{published.step}"
    os.replace(incoming / METRICS, folder / METRICS)
    os.replace(incoming, checkpoint)
    mark_complete(checkpoint)
    return None
