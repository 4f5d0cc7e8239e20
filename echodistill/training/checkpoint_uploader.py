"""Upload checkpoints in a thread of its own, so that training never waits for the network."""

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
"""Time in seconds that the end of a training waits for the upload of its last checkpoint."""
DRAIN_AFTER_FAILURE_S = 30.0
"""Time in seconds that it waits where the training or the previous upload has failed."""


class CheckpointUploader:
    """Upload the newest submitted checkpoint; skip one that still waits when a newer one is
    submitted.

    ``send(step, folder)`` runs in the thread. Where it fails, one warning is printed until it
    succeeds again, and training is not affected. The files to upload are hard links of its own, so
    the checkpoint itself may be removed at any time.
    """

    def __init__(self, run_folder: Path, send: Callable[[int, Path], None]) -> None:
        self._run_folder, self._send = run_folder, send
        self._pending: Path | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._failing = False
        # A killed training leaves this folder.
        shutil.rmtree(run_folder / OUTGOING, ignore_errors=True)
        self._thread = threading.Thread(target=self._work, name="checkpoint-uploader", daemon=True)
        self._thread.start()

    def submit(self, checkpoint: Path) -> None:
        """Accept a complete local checkpoint, and take the training's log up to its step.

        A full disk causes a warning and no error.
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
        """Wait up to ``wait_s`` seconds for the last upload, and print a warning where that is too
        short.
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
            except Exception as error:  # No error of the uploader may end the training.
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
    """Link the files of ``checkpoint`` that a resume needs into the folder ``held``, and return
    ``held``.

    The folder also gets a copy of the log up to the checkpoint's step. Files are copied where hard
    links are not possible. A checkpoint's files are written only once, so a link keeps their bytes.
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
