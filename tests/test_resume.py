"""Tests that a training killed with ``kill -9`` resumes from its last complete checkpoint, with the
losses of an undisturbed one.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from echodistill.data.store import Corpus
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.loading import load
from echodistill.training.checkpoints import MARKER, latest_complete, mark_complete, remove_unusable
from echodistill.training.metrics_file import read_metrics, trim_after
from echodistill.training.train import train_student
from tests.test_trainer import LIMIT, settings_of, source_of

ROOT = Path(__file__).parents[1]
# Train in a process of its own, which can be killed. It sleeps after each step, so that the kill
# comes between two steps.
SCRIPT = """
import sys, time
from pathlib import Path
from echodistill.data.store import Corpus
from tests.test_resume import train
folder, model, corpus, method = sys.argv[1:]
train(Path(folder), Path(model), Corpus(Path(corpus)), method, lambda *_: time.sleep(0.5))
"""


def train(
    folder: Path,
    model: Path,
    corpus: Corpus,
    method: str,
    after_step: Callable[[int, Any], None] = lambda *_: None,
) -> bytes:
    """Train eight steps with a checkpoint every two, and return the bytes of the weights."""
    llm = load(str(model), device="cpu")
    folder.mkdir(exist_ok=True, parents=True)
    settings = settings_of(method=method, steps=8, checkpoint_every=2)
    trained = train_student(llm, source_of(corpus, llm), settings, LIMIT, 1, folder, after_step)
    trained.model.save_pretrained(folder / "final")
    return (folder / "final/model.safetensors").read_bytes()


def start_training(
    folder: Path, model: Path, corpus: Corpus, method: str
) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True, parents=True)
    arguments = [sys.executable, "-c", SCRIPT, str(folder), str(model), str(corpus.folder), method]
    # The number of threads decides the order of sums, and with it the last bits of the weights.
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(arguments, cwd=ROOT, env=os.environ | threads)


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
    expected = train(whole, model, tiny_corpus, method)
    process = start_training(killed, model, tiny_corpus, method)
    # the checkpoint before is complete, this step is logged and will be done again; the corpus is
    # seen once after 6 steps
    wait_for(lambda: len(losses(killed)) >= killed_at)
    process.send_signal(signal.SIGKILL)
    process.wait()
    half_written = killed / f"checkpoint-{killed_at + 1}"
    half_written.mkdir(exist_ok=True)
    (half_written / MARKER).unlink(missing_ok=True)
    assert train(killed, model, tiny_corpus, method) == expected
    assert losses(killed) == losses(whole)


def test_a_training_killed_after_its_last_step_trains_no_further(
    tmp_path: Path, tiny_llm: AudioLLM, tiny_corpus: Corpus
) -> None:
    model, folder = tmp_path / "model", tmp_path / "run"
    tiny_llm.save(model)
    first = train(folder, model, tiny_corpus, "distill"), losses(folder)
    assert (train(folder, model, tiny_corpus, "distill"), losses(folder)) == first


def test_only_complete_checkpoints_count(tmp_path: Path) -> None:
    for step in (2, 4, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (2, 4):
        (tmp_path / f"checkpoint-{step}/state").write_text("state")
        mark_complete(tmp_path / f"checkpoint-{step}")
    remove_unusable(tmp_path)
    found = latest_complete(tmp_path)
    assert found is not None
    assert found.name == "checkpoint-4"
    assert not (tmp_path / "checkpoint-10").exists()


def test_metrics_past_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text(
        "".join(json.dumps({"step": step, "loss": 1.0}) + "\n" for step in (1, 2, 3))
        + '{"step": 4, "lo'
    )
    trim_after(log, 2)
    assert [row["step"] for row in read_metrics(log)] == [1, 2]


DAMAGES = {
    "a bit of the weights": (
        "weights.safetensors",
        lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    ),
    "a bit of the optimizer": (
        "optimizer.pt",
        lambda content: content[:3000] + bytes([content[3000] ^ 1]) + content[3001:],
    ),
    "half the optimizer": ("optimizer.pt", lambda content: content[: len(content) // 2]),
    "no weights": ("weights.safetensors", None),
    "empty state": ("trainer_state.json", lambda content: b""),
    "random numbers": ("rng_state.pth", lambda content: content[:-1]),
    "schedule": ("scheduler.pt", lambda content: bytes(len(content))),
    "the marker": (MARKER, lambda content: b"0" + content[1:]),
    "an empty marker": (MARKER, lambda content: b""),
}


def in_process(folder: Path, model: Path, corpus: Corpus, steps: int, **changes: Any) -> bytes:
    """Train and return the weights, with the schedule of four steps wherever it stops."""
    llm = load(str(model), device="cpu")
    folder.mkdir(exist_ok=True)
    settings = settings_of(method="sft", steps=4, checkpoint_every=1, **changes)

    def stop(step: int, _metrics: Any) -> None:
        if step > steps:
            raise KeyboardInterrupt

    trained = train_student(llm, source_of(corpus, llm), settings, LIMIT, 1, folder, stop)
    trained.model.save_pretrained(folder / "final")
    return next((folder / "final").glob("*.safetensors")).read_bytes()


@pytest.mark.parametrize(
    ("weights", "damages"), [("full", tuple(DAMAGES)), ("lora", tuple(DAMAGES)[:2])]
)
def test_a_damaged_checkpoint_is_named_and_the_older_one_is_used(
    weights: str,
    damages: tuple[str, ...],
    tmp_path: Path,
    tiny_llm: AudioLLM,
    tiny_corpus: Corpus,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, whole, cut = tmp_path / "model", tmp_path / "whole", tmp_path / "cut"
    tiny_llm.save(model)
    expected = in_process(whole, model, tiny_corpus, 4, weights=weights), losses(whole)
    with pytest.raises(KeyboardInterrupt):
        in_process(cut, model, tiny_corpus, 3, weights=weights)
    assert sorted(path.name for path in cut.glob("checkpoint-*")) == [
        "checkpoint-2",
        "checkpoint-3",
    ]
    for number, (file, damage) in enumerate(DAMAGES[name] for name in damages):
        here = Path(shutil.copytree(cut, tmp_path / f"damaged-{number}"))
        file = (
            "adapter_model.safetensors"
            if (weights, file) == ("lora", "weights.safetensors")
            else file
        )
        path = here / "checkpoint-3" / file
        if damage is None:
            path.unlink()
        else:
            path.write_bytes(damage(path.read_bytes()))
        capsys.readouterr()
        assert (in_process(here, model, tiny_corpus, 4, weights=weights), losses(here)) == expected
        output = capsys.readouterr()
        (warning,) = [line for line in output.err.splitlines() if line.startswith("warning: ")]
        assert "checkpoint-3 is damaged (" in warning
        assert warning.endswith("and removed; checkpoint-2 is tried instead")
        assert f"resuming from {here}/checkpoint-2" in output.out


def test_without_a_sound_checkpoint_training_starts_anew(
    tmp_path: Path, tiny_llm: AudioLLM, tiny_corpus: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    model, whole, cut = tmp_path / "model", tmp_path / "whole", tmp_path / "cut"
    tiny_llm.save(model)
    expected = in_process(whole, model, tiny_corpus, 4)
    with pytest.raises(KeyboardInterrupt):
        in_process(cut, model, tiny_corpus, 3)
    for checkpoint in cut.glob("checkpoint-*"):
        (checkpoint / "optimizer.pt").write_bytes(b"")
    capsys.readouterr()
    assert in_process(cut, model, tiny_corpus, 4) == expected
    warnings = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")
    ]
    assert [line.partition(";")[2] for line in warnings] == [
        " checkpoint-2 is tried instead",
        " there is no older one here",
    ]


def test_the_marker_comes_when_everything_else_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        synced.append((name, (tmp_path / MARKER).exists()))
        fsync(descriptor)

    for name in ("weights.safetensors", "optimizer.pt"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(os, "fsync", noted)
    mark_complete(tmp_path)
    before = {name for name, marked in synced if not marked}
    assert {"weights.safetensors", "optimizer.pt", tmp_path.name} <= before
    assert {MARKER, tmp_path.name} <= {name for name, marked in synced if marked}
