"""A training killed with ``kill -9`` goes on from its last complete checkpoint, with the losses of an undisturbed one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from echodistill.datasets.store import Corpus
from echodistill.models.audio_llm import AudioLLM
from echodistill.training.checkpoints import MARKER, latest_complete
from echodistill.training.metrics_file import read_metrics, trim_after

ROOT = Path(__file__).parents[1]
# trains in a process of its own, so that it can be killed; sleeps after each step, so that the kill lands between two
SCRIPT = """
import sys, time
from pathlib import Path
import tests.test_trainer as t
from echodistill.datasets.store import Corpus
from echodistill.models.audio_llm import load
from echodistill.training.train import train_student
folder, model, corpus, method, pause = sys.argv[1:]
llm = load(model, device="cpu")
sent = lambda step, metrics: time.sleep(float(pause))
settings = t.settings_of(method=method, steps=8, checkpoint_every=2)
train_student(llm, t.source_of(Corpus(Path(corpus)), llm), settings, t.LIMIT, 1, Path(folder), sent)
llm.model.save_pretrained(Path(folder) / "final")
"""


def train(folder: Path, model: Path, corpus: Corpus, method: str, pause: float = 0.0) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True, parents=True)
    arguments = [sys.executable, "-c", SCRIPT, str(folder), str(model), str(corpus.folder), method, str(pause)]
    return subprocess.Popen(arguments, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})


def losses(folder: Path) -> list[tuple[float, float]]:
    return [(row["step"], row["loss"]) for row in read_metrics(folder / "metrics.jsonl")]


def wait_for(condition: Any, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


@pytest.mark.parametrize(("method", "killed_at"), [("echodistill", 3), ("distill", 7)])
def test_a_killed_training_resumes_exactly(
    method: str, killed_at: int, tmp_path: Path, tiny_llm: AudioLLM, tiny_corpus: Corpus
) -> None:
    model, killed, whole = tmp_path / "model", tmp_path / "killed", tmp_path / "whole"
    tiny_llm.save(model)
    assert train(whole, model, tiny_corpus, method).wait() == 0
    process = train(killed, model, tiny_corpus, method, pause=0.5)
    # the checkpoint before is complete, this step is logged and will be done again; the corpus is seen once after 6 steps
    wait_for(lambda: len(losses(killed)) >= killed_at)
    process.send_signal(signal.SIGKILL)
    process.wait()
    half_written = killed / f"checkpoint-{killed_at + 1}"
    half_written.mkdir(exist_ok=True)
    (half_written / MARKER).unlink(missing_ok=True)
    assert train(killed, model, tiny_corpus, method).wait() == 0
    assert losses(killed) == losses(whole)
    assert (killed / "final/model.safetensors").read_bytes() == (whole / "final/model.safetensors").read_bytes()


def test_a_training_killed_after_its_last_step_trains_no_further(tmp_path: Path, tiny_llm: AudioLLM, tiny_corpus: Corpus) -> None:
    model, folder = tmp_path / "model", tmp_path / "run"
    tiny_llm.save(model)
    assert train(folder, model, tiny_corpus, "distill").wait() == 0
    first = (folder / "final/model.safetensors").read_bytes(), losses(folder)
    assert train(folder, model, tiny_corpus, "distill").wait() == 0
    assert ((folder / "final/model.safetensors").read_bytes(), losses(folder)) == first


def test_only_complete_checkpoints_count(tmp_path: Path) -> None:
    for step in (2, 4, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (2, 4):
        (tmp_path / f"checkpoint-{step}" / MARKER).touch()
    found = latest_complete(tmp_path)
    assert found is not None
    assert found.name == "checkpoint-4"
    assert not (tmp_path / "checkpoint-10").exists()


def test_metrics_past_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text("".join(json.dumps({"step": step, "loss": 1.0}) + "\n" for step in (1, 2, 3)) + '{"step": 4, "lo')
    trim_after(log, 2)
    assert [row["step"] for row in read_metrics(log)] == [1, 2]
