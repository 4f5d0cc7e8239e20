"""Small real things that many tests need: a corpus of synthetic clips and a nano with random
weights.
"""

import gc
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    # Searching for garbage makes loading everything slower.
    gc.disable()
    # Threads that fight over a core make torch ten times slower. It reads this when it is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch

from echodistill.audio.levels import Waveform, dbfs
from echodistill.audio.stored import encode_flac
from echodistill.core.records import Clip, Question, write_rows
from echodistill.core.seeds import rng
from echodistill.data.store import Corpus, ShardWriter
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.prompts import question_text
from echodistill.services.loopback import bypass_proxies
from tests.browser import NO_CHROMIUM
from tests.storage_fixtures import place as place
from tests.storage_fixtures import proxied as proxied
from tests.storage_fixtures import proxy as proxy
from tests.storage_fixtures import store as store
from tests.storage_fixtures import weed as weed

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["DVC_NO_ANALYTICS"] = "1"  # DVC would start a process of its own at every command
os.environ.update(bypass_proxies(os.environ))  # tests talk to servers of their own
LONGEST_FIRST = (
    "test_platform.py",
    "test_e2e.py",
    "test_services.py",
    "test_remote_checkpoints.py",
)
LESS_URGENT = 5
WORDS = ("low", "middle", "high")
PITCH_HZ = {"low": 200.0, "middle": 700.0, "high": 2000.0}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take minutes go first: side by side with the others they cost little."""
    items.sort(
        key=lambda item: (
            LONGEST_FIRST.index(item.path.name)
            if item.path.name in LONGEST_FIRST
            else len(LONGEST_FIRST)
        )
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let the two longest files have the processor first; the others fill what these leave.
    A process can only be made less urgent, so a worker stays so.
    """
    if "PYTEST_XDIST_WORKER" in os.environ and item.path.name not in LONGEST_FIRST[:2]:
        os.nice(max(0, LESS_URGENT - os.nice(0)))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in the last lines what a green run does not show: pages that no browser opened."""
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if NO_CHROMIUM in str(report.longrepr)
    ]
    if skipped:
        cure = "install it (`apt-get install chromium`), or name it in CHROMIUM"
        terminalreporter.write_line(
            f"WARNING: {len(skipped)} browser tests were skipped, so the pages are not tested:"
            f" {NO_CHROMIUM}; {cure}"
        )


def tone(word: str, seed: object, duration_s: float = 0.5) -> Waveform:
    """Return a clip that encodes a word by its pitch."""
    stream = rng("tone", word, seed)
    time_s = np.arange(int(duration_s * 16_000)) / 16_000
    wave = 0.3 * np.sin(2 * np.pi * PITCH_HZ[word] * stream.uniform(0.95, 1.05) * time_s)
    return (wave + 0.001 * stream.standard_normal(wave.size)).astype(np.float32)


def write_corpus(folder: Path, clips_by_split: dict[str, int]) -> Corpus:
    """A corpus folder of tones with one question each; two groups a split."""
    folder.mkdir(parents=True)
    clips, questions = [], []
    with ShardWriter(folder) as shards:
        for split, count in clips_by_split.items():
            for number in range(count):
                clip_id, word = f"{split}-{number}", WORDS[number % 3]
                waveform = tone(word, clip_id, 0.4 + 0.05 * (number % 3))
                content = encode_flac(waveform)
                shard, offset = shards.add(f"{clip_id}.flac", content)
                digest = hashlib.sha256(content).hexdigest()
                clips.append(
                    Clip(
                        clip_id=clip_id,
                        group=f"{split}-speaker-{number % 2}",
                        split=split,
                        transcript=word,
                        source="tone",
                        source_sha256=digest,
                        sha256=digest,
                        source_rate=16_000,
                        duration_s=len(waveform) / 16_000,
                        level_dbfs=dbfs(waveform),
                        shard=shard,
                        offset=offset,
                        size=len(content),
                    )
                )
                position = number // 3 % 3  # the right answer is at each place equally often
                choices = WORDS[position:] + WORDS[:position]
                index = choices.index(word)
                questions.append(
                    Question(f"{clip_id}-q", clip_id, split, "Which tone?", choices, word, index)
                )
    write_rows(folder / "clips.parquet", Clip, clips)
    write_rows(folder / "questions.parquet", Question, questions)
    return Corpus(folder)


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(
        tmp_path_factory.mktemp("corpus") / "corpus", {"train": 18, "validation": 6, "test": 9}
    )


@pytest.fixture(scope="session")
def tiny_llm(tiny_corpus: Corpus) -> AudioLLM:
    """A nano of some ten thousand parameters, random weights."""
    from echodistill.models import nano

    texts = [
        question_text(question.question, question.choices)
        for question in tiny_corpus.questions.values()
    ]
    llm = nano.build(texts, 0.6, width=48, encoder_layers=1, decoder_layers=1, seed=0)
    # random weights hardly depend on the audio: make it matter and the answers decided
    with torch.no_grad():
        llm.model.model.multi_modal_projector.linear.weight *= 20
        llm.model.lm_head.weight *= 10
    llm.model.eval()
    return llm


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database. Making one takes seconds, copying it none."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="module")
def mlflow_store(mlflow_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A module's own MLflow store, which is the working folder too. The path of its database."""
    import mlflow

    folder = tmp_path_factory.mktemp("store")
    shutil.copy(mlflow_database, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.chdir(folder)
        yield folder / "mlflow.db"
    mlflow.set_tracking_uri(None)  # entering a model sets it for the whole process
