"""Corpus and mixes are the same bytes in this process, on a cluster of this machine's cores and on
one at an address.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import psutil
import pytest
import soundfile

from echodistill import cluster as cluster_module
from echodistill.audio.files import write_wav
from echodistill.core.errors import UserError
from echodistill.core.records import Quarantined, read_rows
from echodistill.data.store import Corpus
from echodistill.import_graph import ROOT
from echodistill.scale_out import ClusterThreshold, Serial, Threads, open_pool
from echodistill.stages import corpus as corpus_stage
from echodistill.stages import mixes as mixes_stage
from echodistill.stages.entry import params_view
from tests.conftest import WORDS, tone
from tests.dask_cluster import DaskCluster, dask_cluster, worker_processes
from tests.test_stages import add_row, folder_of, params_of

Run = Callable[[Path, str | None], None]
KINDS = (
    "gauss",
    "crowd",
    "alarm",
    "animal",
    "laugh",
    "machine",
    "shower",
    "traffic",
    "water",
    "wind",
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with dask_cluster(tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster


@pytest.fixture
def cluster(running: DaskCluster) -> DaskCluster:
    """Two workers at an address."""
    if len(running.client.nthreads()) != 2:
        running.end_workers()
        running.start_workers(2)
    return running


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest, some of it bad; one like the Free Spoken Digit Dataset; noise
    recordings.
    """
    root = tmp_path_factory.mktemp("sources")
    raw = folder_of(root, good=40)
    (raw / "text.wav").write_text("no audio")
    soundfile.write(raw / "silent.wav", np.zeros(8_000), 16_000)
    soundfile.write(raw / "long.wav", np.full(64_000, 0.1), 16_000)
    soundfile.write(
        raw / "stereo.flac",
        np.stack([tone("low", "left", 1.5), tone("high", "right", 1.5)], axis=1),
        44_100,
    )
    for name in ("missing.wav", "text.wav", "silent.wav", "long.wav", "stereo.flac"):
        add_row(raw, id=name, audio_path=name)
    takes = root / "fsdd"
    takes.mkdir()
    for speaker in ("anna", "ben", "cleo", "dan"):
        for digit in range(4):
            for take in range(2):
                soundfile.write(
                    takes / f"{digit}_{speaker}_{take}.wav",
                    tone(WORDS[digit % 3], (speaker, digit, take), 0.15),
                    8_000,
                )
    for kind in ("rain", "wind"):
        for number in range(4):
            (root / "noise" / kind).mkdir(parents=True, exist_ok=True)
            write_wav(
                root / "noise" / kind / f"{number}.wav",
                tone("middle", (kind, number), 0.2 + 0.3 * number),
            )
    return root


def corpus_of(**changes: Any) -> Run:
    params = params_view(
        params_of(corpus={"max_quarantined_share": 0.5} | changes),
        ("seed", "corpus", "prompt.style"),
    )
    return lambda out, address: corpus_stage.corpus(params, out, address)


def mixes_of(corpus: Corpus, **changes: Any) -> Run:
    params = params_view(params_of(mixes=changes), ("seed", "mixes"))
    return lambda out, address: mixes_stage.mixes(params, out, corpus.folder, address)


@pytest.fixture(params=["folder", "fsdd", "builtin", "mixes", "recorded noise"])
def run(request: pytest.FixtureRequest, sources: Path, tiny_corpus: Corpus) -> Run:
    few = {"train": 10, "validation": 2, "decision": 2, "test": 3}
    cases = {
        "folder": corpus_of(source="folder", path=str(sources / "raw")),
        "fsdd": corpus_of(source="fsdd", path=str(sources / "fsdd"), clips=few),
        "builtin": corpus_of(clips=few),
        "mixes": mixes_of(
            tiny_corpus,
            kinds=list(KINDS),
            unseen=["laugh"],
            snrs_db=[-10, 0],
            train_clean_share=0.2,
        ),
        "recorded noise": mixes_of(
            tiny_corpus,
            kinds=["rain", "wind"],
            unseen=["wind"],
            noise="recordings",
            recordings=str(sources / "noise"),
        ),
    }
    return cases[request.param]


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "BATCH_ITEMS", 4)


@pytest.fixture
def always_a_local_cluster(monkeypatch: pytest.MonkeyPatch, small_batches: None) -> None:
    for stage in (corpus_stage, mixes_stage):
        monkeypatch.setattr(stage, "LOCAL_CLUSTER", ClusterThreshold(items=1, cores=1))
    nothing_here(monkeypatch)


def nothing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for pool in (Serial, Threads):
        monkeypatch.setattr(
            pool, "map", lambda *_arguments: pytest.fail("computed in this process")
        )


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_cluster_at_an_address_gives_the_same_bytes(
    run: Run,
    cluster: DaskCluster,
    small_batches: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(tmp_path / "here", None)
    nothing_here(monkeypatch)
    run(tmp_path / "there", cluster.address)
    assert content(tmp_path / "there") == content(tmp_path / "here")


@pytest.mark.parametrize("run", ["folder", "fsdd", "mixes", "recorded noise"], indirect=True)
def test_a_local_cluster_gives_the_same_bytes_and_leaves_nothing(
    run: Run, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "here", None)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    request.getfixturevalue("always_a_local_cluster")
    run(tmp_path / "cluster", None)
    assert content(tmp_path / "cluster") == content(tmp_path / "here")
    assert not worker_processes()
    assert not list(scratch.iterdir())
    assert not list(ROOT.glob("dask-*"))


@pytest.mark.parametrize(
    ("items", "cores", "here"), [(100, 4, False), (99, 4, True), (100, 3, True)]
)
def test_small_work_and_few_cores_stay_in_this_process(
    items: int, cores: int, here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echodistill.scale_out.worker_count", lambda: cores)
    monkeypatch.setattr(cluster_module, "local_cluster", nullcontext)
    with open_pool(None, Serial(), items, ClusterThreshold(items=100, cores=4), str) as pool:
        assert isinstance(pool, Serial) == here


def test_bad_clips_are_quarantined_for_the_same_reasons(
    cluster: DaskCluster, sources: Path, tmp_path: Path
) -> None:
    corpus_of(source="folder", path=str(sources / "raw"))(tmp_path / "out", cluster.address)
    rows = read_rows(tmp_path / "out/quarantine.parquet", Quarantined)
    reasons = {
        Path(row.row.partition(" (id")[0]).stem: row.reason
        for row in rows
        if not row.row.startswith("manifest")
    }
    assert reasons.keys() == {"text", "silent", "long"}
    assert reasons["text"].startswith("not an audio file")
    assert reasons["silent"].startswith("silent")


class Killer:
    """Takes the place of a stage's progress bar: kills a worker when the first result is there."""

    def __init__(self, kill: Callable[[], None]) -> None:
        self._kill = kill

    def __call__(self, items: Any, *_says: Any) -> Iterator[Any]:
        for number, item in enumerate(items):
            if number == 1:
                self._kill()
            yield item


def test_a_killed_workers_batches_are_computed_again(
    cluster: DaskCluster,
    tiny_corpus: Corpus,
    small_batches: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = mixes_of(tiny_corpus)
    run(tmp_path / "here", None)
    (third,) = cluster.start_workers(1)
    monkeypatch.setattr(mixes_stage, "track", Killer(lambda: third.send_signal(signal.SIGKILL)))
    run(tmp_path / "there", cluster.address)
    assert third.wait(10) == -signal.SIGKILL
    assert content(tmp_path / "there") == content(tmp_path / "here")


def test_a_killed_local_worker_is_replaced(
    tiny_corpus: Corpus,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = mixes_of(tiny_corpus)
    run(tmp_path / "here", None)
    request.getfixturevalue("always_a_local_cluster")
    killed = []

    def kill() -> None:
        killed.append(worker_processes()[0])
        killed[0].kill()

    monkeypatch.setattr(mixes_stage, "track", Killer(kill))
    run(tmp_path / "cluster", None)
    assert len(killed) == 1
    assert content(tmp_path / "cluster") == content(tmp_path / "here")


def test_nobody_at_the_address_is_one_error(
    tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "CONNECT_S", 1)
    with pytest.raises(
        UserError,
        match=(
            r"workers\.address tcp://127\.0\.0\.1:9: no Dask scheduler answers: start `dask"
            r" scheduler`"
        ),
    ):
        mixes_of(tiny_corpus)(tmp_path / "out", "tcp://127.0.0.1:9")
    assert not (tmp_path / "out").exists()


def test_a_scheduler_without_workers_is_one_error(
    running: DaskCluster, tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.end_workers()
    monkeypatch.setattr(cluster_module, "WORKERS_S", 0.5)
    with pytest.raises(
        UserError, match=r"the scheduler has no workers: start some with `dask worker tcp://127"
    ):
        mixes_of(tiny_corpus)(tmp_path / "out", running.address)


def test_workers_that_all_go_away_are_one_error(
    cluster: DaskCluster,
    tiny_corpus: Corpus,
    small_batches: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster_module, "POLL_S", 0.2)
    monkeypatch.setattr(cluster_module, "WITHOUT_WORKERS_S", 0.5)
    monkeypatch.setattr(mixes_stage, "track", Killer(cluster.end_workers))
    with pytest.raises(UserError, match=r"workers\.address tcp://.*: no worker is left"):
        mixes_of(tiny_corpus)(tmp_path / "out", cluster.address)


def test_a_scheduler_that_goes_away_is_one_error(
    tiny_corpus: Corpus, small_batches: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dask").mkdir()
    with dask_cluster(tmp_path / "dask") as lost:
        lost.start_workers(1)
        monkeypatch.setattr(mixes_stage, "track", Killer(lambda: lost._processes[0].kill()))
        with pytest.raises(UserError, match=r"the connection to the scheduler was lost: start it"):
            mixes_of(tiny_corpus)(tmp_path / "out", lost.address)


def test_workers_with_another_package_are_refused(
    cluster: DaskCluster, tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = distributed.versions._version_cached
    monkeypatch.setattr(
        distributed.versions,
        "_version_cached",
        lambda name: "0.1" if name == "soxr" else here(name),
    )
    with pytest.raises(
        UserError,
        match=r"worker tcp://.* has soxr [\d.]+, this machine 0\.1: .*Install requirements\.lock",
    ):
        mixes_of(tiny_corpus)(tmp_path / "out", cluster.address)


def test_workers_with_other_code_are_refused(
    running: DaskCluster, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    running.end_workers()
    shutil.copytree(ROOT / "echodistill", tmp_path / "code/echodistill")
    with (tmp_path / "code/echodistill/audio/noises.py").open("a") as file:
        file.write("MORE = 1\n")
    running.start_workers(1, tmp_path / "code")
    try:
        with pytest.raises(
            UserError,
            match=(
                r"worker tcp://.* has other code of echodistill than this machine: install this"
                r" version"
            ),
        ):
            mixes_of(tiny_corpus)(tmp_path / "out", running.address)
    finally:
        running.end_workers()


def test_workers_without_this_echodistill_are_refused(
    running: DaskCluster, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    running.end_workers()
    (tmp_path / "code/echodistill").mkdir(parents=True)
    # not an empty package: an editable installation would fill its gaps
    (tmp_path / "code/echodistill/__init__.py").write_text(
        "raise ModuleNotFoundError('echodistill')"
    )
    running.start_workers(1, tmp_path / "code")
    try:
        with pytest.raises(
            UserError,
            match=r"a worker cannot load echodistill\.cluster: install this version",
        ):
            mixes_of(tiny_corpus)(tmp_path / "out", running.address)
    finally:
        running.end_workers()


def test_workers_that_compute_other_bytes_are_refused(
    cluster: DaskCluster, tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = cluster_module._fingerprint
    monkeypatch.setattr(
        cluster_module,
        "_fingerprint",
        lambda *given: (original(*given)[0], "what another processor gives"),
    )
    with pytest.raises(
        UserError, match=r"worker tcp://.* does not compute the same bytes as this machine"
    ):
        mixes_of(tiny_corpus)(tmp_path / "out", cluster.address)


IDLE_CLUSTER = """
import time
from echodistill.cluster import local_cluster

if __name__ == "__main__":
    with local_cluster() as pool:
        pool.client.submit(sum, [1]).result()
        print("up", flush=True)
        pool.client.submit(time.sleep, 60).result()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_the_process_that_started_it(
    number: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "idle.py").write_text(IDLE_CLUSTER)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "scratch")}
    with subprocess.Popen(
        [sys.executable, "idle.py"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a background job starts with it ignored
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        workers = psutil.Process(process.pid).children(recursive=True)
        assert len(workers) >= 2
        if number == signal.SIGINT:  # the terminal sends it to all of them
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        assert process.wait(30) != 0
    assert not psutil.wait_procs(workers, timeout=30)[1]
    if number != signal.SIGKILL:
        assert not list((tmp_path / "scratch").iterdir())
