"""Where the CPU work of ``corpus`` and ``mixes`` is best computed: one item after another, in
threads, or on a local Dask cluster.

``python -m benchmarks.scale_out``: prints seconds, how many times as fast as one after another that
is, and CPU seconds of all processes; stops if any bytes differ. ``mixes`` runs on the corpus of the
last run, ``corpus`` on a folder of recordings made for it. Other programs on the machine lengthen
the seconds; CPU seconds over cores are what an idle machine could reach.
"""

import hashlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType

import soundfile

from echodistill.cluster import local_cluster
from echodistill.core.seeds import rng
from echodistill.params.corpus import CorpusParams
from echodistill.params.whole import Params, load_params
from echodistill.scale_out import Pool, Serial, Threads
from echodistill.stages import corpus as corpus_stage
from echodistill.stages import mixes as mixes_stage
from echodistill.workers import worker_count

ROUNDS = 2  # alternating, the better one counts
RECORDINGS = 1_000  # of 5 s, 44.1 kHz stereo: 880 kB each as wav


POOLS: dict[str, Callable[[], AbstractContextManager[Pool]]] = {
    "serial": lambda: nullcontext(Serial()),
    "threads": lambda: nullcontext(Threads()),
    "local cluster": local_cluster,
}


def write_recordings(folder: Path) -> Path:
    rows = []
    for number in range(RECORDINGS):
        samples = 0.1 * rng("scale out", number).standard_normal((5 * 44_100, 2))
        soundfile.write(folder / f"{number}.wav", samples, 44_100)
        rows.append(
            {
                "id": str(number),
                "audio_path": f"{number}.wav",
                "question": "Which?",
                "choices": ["a", "b"],
                "answer": "a",
            }
        )
    (folder / "manifest.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    return folder


def cpu_s() -> float:
    """CPU seconds of this process and of those that it started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def digest(folder: Path) -> str:
    """sha256 over the files of a folder."""
    return hashlib.sha256(
        b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    ).hexdigest()


def measure(name: str, stage: ModuleType, run: Callable[[Path], None], scratch: Path) -> None:
    """Run a stage with each pool in turn and print its line of the table."""
    seconds: dict[str, list[tuple[float, float]]] = {pool: [] for pool in POOLS}
    digests = set()
    for _ in range(ROUNDS):
        for pool, opened in POOLS.items():
            stage.open_pool = lambda *_, opened=opened: opened()  # type: ignore[attr-defined]
            started, used = time.monotonic(), cpu_s()
            run(scratch / "out")
            seconds[pool].append((time.monotonic() - started, cpu_s() - used))
            digests.add(digest(scratch / "out"))
    if len(digests) > 1:
        sys.exit(f"error: the results of {name} differ")
    best = {pool: min(found) for pool, found in seconds.items()}
    cells = [
        f"{wall:.1f} s (× {best['serial'][0] / wall:.2f}), CPU {cpu:.1f} s"
        for wall, cpu in best.values()
    ]
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    params = load_params(Path("params.yaml"))
    print(
        f"{worker_count()} cores\n\n| | " + " | ".join(POOLS) + " |\n|---|---|---|---|", flush=True
    )
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        (scratch / "raw").mkdir()
        changes = {
            "source": "folder",
            "path": str(write_recordings(scratch / "raw")),
            "max_duration_s": 6.0,
        }
        source = CorpusParams.model_validate(params.corpus.model_dump() | changes)
        recorded: Params = params.model_copy(update={"corpus": source})
        measure(
            f"corpus, {RECORDINGS} recordings of 5 s",
            corpus_stage,
            lambda out: corpus_stage.corpus(recorded, out),
            scratch,
        )
        measure(
            "mixes",
            mixes_stage,
            lambda out: mixes_stage.mixes(params, out, Path("data/corpus")),
            scratch,
        )


if __name__ == "__main__":
    main()
