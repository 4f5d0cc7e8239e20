"""Checkpoints are sent elsewhere by a thread of its own, so that training never waits for the
network.
"""

import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from echodistill.core.errors import UserError
from echodistill.training.checkpoint_files import is_needed
from echodistill.training.checkpoints import step_of
from echodistill.training.metrics_file import METRICS, copy_until

OUTGOING = "outgoing"
DRAIN_S = 600.0
"""How long the end of a training waits for its last checkpoint to be sent."""
DRAIN_AFTER_FAILURE_S = 30.0
"""How long it waits when the training or the attempt before has failed."""


class CheckpointUploader:
    """Sends the newest checkpoint it was offered; one that is still waiting when a newer one comes
    is skipped.

    ``send(step, folder)`` runs in the thread. When it fails, that is one warning until it works
    again, and training is not affected. What is to be sent is held by links of its own, so the
    checkpoint itself may be removed at any time.
    """

    def __init__(self, run_folder: Path, send: Callable[[int, Path], None]) -> None:
        self._run_folder, self._send = run_folder, send
        self._pending: Path | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._failing = False
        shutil.rmtree(run_folder / OUTGOING, ignore_errors=True)  # left by a kill
        self._thread = threading.Thread(target=self._work, name="checkpoint-uploader", daemon=True)
        self._thread.start()

    def submit(self, checkpoint: Path) -> None:
        """Take a complete local checkpoint, with the training's log up to its step. Never raises
        for a full disk.
        """
        try:
            held = snapshot(
                checkpoint,
                self._run_folder / METRICS,
                self._run_folder / OUTGOING / checkpoint.name,
            )
        except (OSError, UserError) as error:
            self._warn(step_of(checkpoint), error)
            return
        with self._changed:
            skipped, self._pending = self._pending, held
            self._changed.notify()
        if skipped is not None:
            shutil.rmtree(skipped)

    def close(self, wait_s: float) -> None:
        """Wait up to ``wait_s`` seconds until the last one is sent; a warning when that is not
        enough.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(min(wait_s, DRAIN_AFTER_FAILURE_S) if self._failing else wait_s)
        if self._thread.is_alive():
            print(
                "warning: the last checkpoint could not be uploaded in time. Training"
                " is not affected",
                file=sys.stderr,
            )
            return
        shutil.rmtree(self._run_folder / OUTGOING, ignore_errors=True)

    def _work(self) -> None:
        while (held := self._next()) is not None:
            try:
                self._send(step_of(held), held)
                self._failing = False
            except (
                Exception
            ) as error:  # whatever is wrong with the uploader, training must not die of it
                self._warn(step_of(held), error)
            shutil.rmtree(held, ignore_errors=True)

    def _next(self) -> Path | None:
        with self._changed:
            self._changed.wait_for(lambda: self._pending is not None or self._closed)
            held, self._pending = self._pending, None
            return held

    def _warn(self, step: int, error: Exception) -> None:
        if not self._failing:
            consequence = "Training goes on; the next checkpoint is tried again"
            print(
                f"warning: the checkpoint of step {step} was not uploaded: {error}. {consequence}",
                file=sys.stderr,
            )
        self._failing = True


def snapshot(checkpoint: Path, log: Path, held: Path) -> Path:
    """Links to the files of ``checkpoint`` that a resume needs, and a copy of the log up to its
    step, in the folder ``held``.

    Files are copied where there are no hard links. A checkpoint's files are written once, so a link
    keeps their bytes.
    """
    shutil.rmtree(held, ignore_errors=True)
    held.mkdir(parents=True)
    for file in checkpoint.iterdir():
        if is_needed(file.name):
            try:
                os.link(file, held / file.name)
            except OSError:
                shutil.copyfile(file, held / file.name)
    copy_until(log, step_of(checkpoint), held / METRICS)
    return held
