"""Checkpoints in a real S3 store: a training killed here goes on elsewhere, and nothing that is
wrong there harms it.
"""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

import pytest
import torch
from safetensors.torch import save_file

from echodistill.core.errors import UserError
from echodistill.data.store import Corpus
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.loading import load
from echodistill.stages.base import base
from echodistill.stages.train import train
from echodistill.storage.client import Store
from echodistill.storage.objects import read_list, verify
from echodistill.training.checkpoint_uploader import CheckpointUploader, snapshot
from echodistill.training.checkpoints import MARKER, latest_complete, mark_complete
from echodistill.training.metrics_file import METRICS, read_metrics
from echodistill.training.remote_checkpoints import (
    Published,
    Run,
    fetch_newest,
    publish_checkpoint,
    published_checkpoints,
    uploaded_checkpoints,
)
from echodistill.training.train import train_student
from tests.faulty_proxy import Proxy
from tests.seaweed import free_ports
from tests.storage_fixtures import overwrite
from tests.test_stages import params_of
from tests.test_trainer import LIMIT, settings_of, source_of

ROOT = Path(__file__).parents[1]
RUN = Run("train", "0f" * 16)
# a process of its own, so that it can be killed; sleeps after each step, so that a checkpoint is
# sent meanwhile
SCRIPT = """
import sys, time
from pathlib import Path
import tests.test_trainer as t
from echodistill.data.store import Corpus
from echodistill.models.loading import load
from echodistill.storage.place import place_from_environment
from echodistill.training.remote_checkpoints import Run, uploaded_checkpoints
from echodistill.training.train import train_student
folder, model, corpus, fingerprint = sys.argv[1:]
llm = load(model, device="cpu")
run = Run("train", fingerprint)
place = place_from_environment()
with uploaded_checkpoints(place, run, Path(folder)) as callbacks:
    settings = t.settings_of(method="echodistill", steps=6, checkpoint_every=2)
    source = t.source_of(Corpus(Path(corpus)), llm)
    slow = lambda *_: time.sleep(0.5)
    train_student(llm, source, settings, t.LIMIT, 1, Path(folder), slow, callbacks)
"""


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums are the same to the last bit only with as many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def wait_for(condition: Callable[[], Any], seconds: float = 100.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def test_a_training_killed_here_goes_on_elsewhere(
    store: Store,
    tmp_path: Path,
    tiny_llm: AudioLLM,
    tiny_corpus: Corpus,
    one_thread: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, killed, elsewhere, whole = (
        tmp_path / name for name in ("model", "killed", "elsewhere", "whole")
    )
    tiny_llm.save(model)
    killed.mkdir()
    arguments = [
        sys.executable,
        "-c",
        SCRIPT,
        str(killed),
        str(model),
        str(tiny_corpus.folder),
        RUN.fingerprint,
    ]
    place = f"s3://{store.place.bucket}/{store.place.prefix}"
    process = subprocess.Popen(
        arguments, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1", "ECHODISTILL_S3": place}
    )
    wait_for(lambda: published_checkpoints(store, RUN) and len(read_metrics(killed / METRICS)) >= 3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    step = published_checkpoints(store, RUN)[0].step
    assert 2 <= step < 6
    shutil.rmtree(killed)

    final = {}
    for folder in (elsewhere, whole):
        folder.mkdir()
        llm = load(str(model), device="cpu")
        source = source_of(tiny_corpus, llm)
        with uploaded_checkpoints(
            store.place if folder == elsewhere else None, RUN, folder
        ) as callbacks:
            settings = settings_of(method="echodistill", steps=6, checkpoint_every=2)
            train_student(llm, source, settings, LIMIT, 1, folder, lambda *_: None, callbacks)
        llm.model.save_pretrained(folder / "final")
        final[folder] = (folder / "final/model.safetensors").read_bytes()
    assert f"the checkpoint of step {step} is used, fetched from" in capsys.readouterr().out
    assert final[elsewhere] == final[whole]
    losses = [
        [(row["step"], row["loss"]) for row in read_metrics(folder / METRICS)]
        for folder in (elsewhere, whole)
    ]
    assert losses[0] == losses[1]
    assert not (elsewhere / "outgoing").exists()
    # the last one stays published, without what nobody reads
    last = published_checkpoints(store, RUN)[0]
    assert last.step == 6
    assert not {"training_args.bin", MARKER} & states_of(last).keys()
    assert set(states_of(last).values()) == {"ok"}


def states_of(published: Published) -> dict[str, str]:
    """The state of each file of a published checkpoint."""
    files = read_list(published.store, published.md5)
    return {name: verify(published.store, md5)[0] for name, md5 in files.items()}


def checkpoint(folder: Path, step: int) -> Path:
    """A small complete one, and the log up to three steps after it."""
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    save_file({"weight": torch.full((4,), float(step))}, made / "weights.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"name": name, "step": step, "state": torch.ones(2)}, made / name)
    (made / "trainer_state.json").write_text(f'{{"global_step": {step}}}')
    (made / "training_args.bin").write_bytes(b"never read")
    (folder / METRICS).write_text(
        "".join(f'{{"step": {number}, "loss": 1.0}}\n' for number in range(1, step + 4))
    )
    mark_complete(made)
    return made


def published(store: Store, tmp_path: Path, *steps: int) -> None:
    for step in steps:
        made = checkpoint(tmp_path / "origin", step)
        publish_checkpoint(
            store,
            RUN,
            step,
            snapshot(made, made.parent / METRICS, tmp_path / "held" / made.name),
        )


def object_key(store: Store, step: int, name: str) -> str:
    (one,) = [one for one in published_checkpoints(store, RUN) if one.step == step]
    return one.store.place.object_key(read_list(one.store, one.md5).get(name, one.md5))


def steps_here(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("checkpoint-*"))


@pytest.mark.parametrize(
    ("name", "damage"),
    [("optimizer.pt", b"x" * 1000), ("weights.safetensors", None), ("the list", b"{}")],
)
def test_instead_of_a_damaged_one_the_next_older_is_taken(
    name: str,
    damage: bytes | None,
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    published(store, tmp_path, 2, 4)
    key = object_key(store, 4, name)
    if damage is None:
        store.client.delete_object(Bucket=store.place.bucket, Key=key)
    else:
        overwrite(store, key, damage)
    here = tmp_path / "here"
    here.mkdir()
    assert fetch_newest(store, RUN, here) == 2
    said = capsys.readouterr()
    assert "the checkpoint of step 2 is used" in said.out
    assert said.err.count("\n") == 1
    assert "warning: the checkpoint of step 4 in s3://" in said.err
    assert "is missing" in said.err if damage is None else "is damaged" in said.err
    assert steps_here(here) == ["checkpoint-2"]
    assert [row["step"] for row in read_metrics(here / METRICS)] == [1, 2]


def test_of_two_of_one_step_the_later_is_taken_and_the_other_in_its_place(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(store, tmp_path, 2)
    made = checkpoint(tmp_path / "another", 2)
    (made / "trainer_state.json").write_text('{"global_step": 2, "epoch": 1}')
    time.sleep(1.1)  # S3 states times in seconds
    held = snapshot(made, made.parent / METRICS, tmp_path / "another/held")
    publish_checkpoint(store, RUN, 2, held)
    later, earlier = published_checkpoints(store, RUN)
    assert later.step == earlier.step == 2
    name = "trainer_state.json"
    for number, expected in ((1, '{"global_step": 2, "epoch": 1}'), (2, '{"global_step": 2}')):
        here = tmp_path / f"here{number}"
        here.mkdir()
        assert fetch_newest(store, RUN, here) == 2
        assert (here / "checkpoint-2" / name).read_text() == expected
        key = later.store.place.object_key(read_list(later.store, later.md5)[name])
        overwrite(store, key, b"x")


def test_what_cannot_be_used_at_all_is_said(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(store, tmp_path, 2)
    overwrite(store, object_key(store, 2, "rng_state.pth"), b"nothing")
    here = tmp_path / "here"
    here.mkdir()
    assert fetch_newest(store, RUN, here) == 0
    assert "none of the 1 checkpoints" in (said := capsys.readouterr().err)
    assert "training starts from the beginning" in said


def test_only_what_is_newer_than_here_is_fetched(store: Store, tmp_path: Path) -> None:
    published(store, tmp_path, 4)
    here = tmp_path / "here"
    checkpoint(here, 4)
    before = (here / "checkpoint-4/optimizer.pt").stat().st_ino
    assert fetch_newest(store, RUN, here) == 4
    assert (here / "checkpoint-4/optimizer.pt").stat().st_ino == before
    published(store, tmp_path, 6)
    assert fetch_newest(store, RUN, here) == 6
    # another training's are not its own
    assert fetch_newest(store, Run("train", "1e" * 16), here) == 0


def test_a_kill_while_fetching_leaves_nothing_that_counts(store: Store, tmp_path: Path) -> None:
    published(store, tmp_path, 4)
    here = tmp_path / "here"
    for left in (".incoming", "..incoming.0123.tmp", "checkpoint-4"):
        (here / left).mkdir(parents=True)
        (here / left / "optimizer.pt").write_bytes(b"half")
    assert fetch_newest(store, RUN, here) == 4
    assert sorted(path.name for path in here.iterdir()) == ["checkpoint-4", METRICS]
    assert latest_complete(here) == here / "checkpoint-4"


def test_a_store_that_is_away_at_the_start_stops_the_training(
    proxied: Store, proxy: Proxy, store: Store, tmp_path: Path
) -> None:
    """It must not start from the beginning only because nobody could be asked."""
    published(store, tmp_path, 4)
    here = tmp_path / "here"
    here.mkdir()
    for request in ("GET.*list-type", r"GET.*\.dir", "GET.*/files/md5/.{2}/.{30}$"):
        proxy.faults = [(request, "503")] * 200
        with pytest.raises(UserError, match="fails"):
            fetch_newest(proxied, RUN, here)
        assert latest_complete(here) is None


class Planted:
    """Runs a command when it is unpickled freely."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self._canary}",)


@pytest.mark.parametrize("as_torch", [True, False])
@pytest.mark.parametrize(
    "name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"]
)
def test_a_planted_pickle_is_never_run(
    name: str, as_torch: bool, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(store, tmp_path, 2)
    made, canary = checkpoint(tmp_path / "origin", 4), tmp_path / "canary"
    held = snapshot(made, made.parent / METRICS, tmp_path / "held/checkpoint-4")
    (held / name).unlink(missing_ok=True)
    if as_torch:
        torch.save({"state": Planted(canary)}, held / name)
    else:
        (held / name).write_bytes(pickle.dumps(Planted(canary)))
    publish_checkpoint(store, RUN, 4, held)
    here = tmp_path / "here"
    here.mkdir()
    assert fetch_newest(store, RUN, here) == 2
    assert name in capsys.readouterr().err
    assert not canary.exists()
    assert steps_here(here) == ["checkpoint-2"]
    (
        torch.load(held / name, weights_only=False)
        if as_torch
        else pickle.loads((held / name).read_bytes())
    )
    assert canary.exists(), "the test plants nothing that could be run"


def test_a_file_that_no_checkpoint_has_is_refused(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = checkpoint(tmp_path / "origin", 4)
    held = snapshot(made, made.parent / METRICS, tmp_path / "held/checkpoint-4")
    for name in ("sitecustomize.py", "below/optimizer.pt"):
        (held / name).parent.mkdir(exist_ok=True)
        (held / name).write_text("")
    publish_checkpoint(store, RUN, 4, held)
    here = tmp_path / "here"
    here.mkdir()
    assert fetch_newest(store, RUN, here) == 0
    assert "it holds below/optimizer.pt, sitecustomize.py, which" in capsys.readouterr().err
    assert list(here.iterdir()) == []


def test_resuming_itself_runs_no_pickle(
    tmp_path: Path, tiny_llm: AudioLLM, tiny_corpus: Corpus
) -> None:
    """The second line of defence: how transformers reads a checkpoint."""
    tiny_llm.save(tmp_path / "model")
    canary = tmp_path / "canary"
    llm = load(str(tmp_path / "model"), device="cpu")
    source = source_of(tiny_corpus, llm)

    def train_up_to(steps: int, folder: Path) -> None:
        train_student(
            llm, source, settings_of(method="sft", steps=steps), LIMIT, 1, folder, lambda *_: None
        )

    (tmp_path / "sound").mkdir()
    train_up_to(1, tmp_path / "sound")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        here = Path(shutil.copytree(tmp_path / "sound", tmp_path / name))
        torch.save({"state": Planted(canary)}, here / "checkpoint-1" / name)
        mark_complete(here / "checkpoint-1")  # whoever plants it can do that too
        with pytest.raises(pickle.UnpicklingError):
            train_up_to(2, here)
    assert not canary.exists()


def saved(callbacks: Any, made: Path) -> None:
    """What the trainer calls after a checkpoint."""
    step = int(made.name.rpartition("-")[2])
    for callback in callbacks:
        callback.on_save(
            SimpleNamespace(output_dir=str(made.parent)), SimpleNamespace(global_step=step), None
        )


def test_an_outage_is_one_warning_and_made_good_later(
    proxied: Store, proxy: Proxy, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    with uploaded_checkpoints(proxied.place, RUN, here) as callbacks:
        proxy.faults = [("(HEAD|PUT)", "503")] * 200
        for step in (2, 4):
            made = checkpoint(here, step)
            saved(callbacks, made)
            wait_for(lambda name=made.name: not (here / "outgoing" / name).exists())  # type: ignore[misc]
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "warning: the checkpoint of step 2 was not uploaded" in said
    proxy.faults = []
    assert published_checkpoints(store, RUN) == []
    # started again where the local ones are
    with uploaded_checkpoints(proxied.place, RUN, here):
        pass
    assert [one.step for one in published_checkpoints(store, RUN)] == [4]


def test_a_checkpoint_that_cannot_be_held_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uploader = CheckpointUploader(tmp_path, lambda _step, _held: None)
    (tmp_path / "outgoing").write_text("in the way")
    uploader.submit(checkpoint(tmp_path, 2))
    uploader.close(wait_s=30)
    assert "warning: the checkpoint of step 2 was not uploaded" in capsys.readouterr().err


def test_a_checkpoint_removed_while_it_is_sent_arrives_whole(
    proxied: Store, proxy: Proxy, store: Store, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    sending, removed = threading.Event(), threading.Event()

    def hook() -> None:
        sending.set()
        assert removed.wait(30)

    proxy.hooks = [("PUT", hook)]
    with uploaded_checkpoints(proxied.place, RUN, here) as callbacks:
        made = checkpoint(here, 2)
        saved(callbacks, made)
        assert sending.wait(30)
        shutil.rmtree(made)
        (here / METRICS).unlink()
        removed.set()
    (one,) = published_checkpoints(store, RUN)
    assert [*states_of(one).values()] == ["ok"] * 6


def test_training_never_waits_and_the_newest_wins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    let_go, sent = threading.Event(), []

    def send(step: int, held: Path) -> None:
        assert let_go.wait(30)
        sent.append((step, sorted(path.name for path in held.iterdir())))

    uploader, start = CheckpointUploader(tmp_path, send), time.monotonic()
    for step in (2, 4, 6, 8):
        uploader.submit(checkpoint(tmp_path, step))
        if step == 2:
            wait_for(lambda: uploader._pending is None)
    assert time.monotonic() - start < 5
    uploader.close(wait_s=0.1)
    assert "could not be uploaded in time" in capsys.readouterr().err
    let_go.set()
    uploader.close(wait_s=30)
    assert [step for step, _ in sent] == [2, 8]
    assert sent[0][1] == [
        METRICS,
        "optimizer.pt",
        "rng_state.pth",
        "scheduler.pt",
        "trainer_state.json",
        "weights.safetensors",
    ]
    assert not (tmp_path / "outgoing").exists()


@pytest.mark.parametrize("stage", [train, base])
def test_the_store_is_tried_before_any_work(
    stage: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECHODISTILL_S3", "s3://bucket/prefix")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setattr(
        "botocore.retries.standard.ExponentialBackoff.delay_amount", lambda self, context: 0.01
    )
    params: Any = params_of()
    nothing = [tmp_path / name for name in ("out", "corpus", "mixes", "base", "references")]
    with pytest.raises(UserError, match="cannot be reached"):
        stage(params, *nothing[: 5 if stage is train else 2])
