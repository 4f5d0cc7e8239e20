"""Two processes train together: the same global batch as one, and one of them writes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from echodistill.audio.mixing import Mix, draw
from echodistill.core.checksums import write_checksums
from echodistill.core.errors import UserError
from echodistill.core.records import Reference, write_rows
from echodistill.data.store import Corpus
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.base import Prompt
from echodistill.models.checkpoint import open_model
from echodistill.models.loading import load
from echodistill.stages.base import base
from echodistill.teachers.references import generate_targets, save_targets
from echodistill.training import distributed
from echodistill.training.metrics_file import read_metrics
from echodistill.training.train import train_student
from tests.noise_cases import write_procedural
from tests.test_trainer import LIMIT, ROOT, settings_of, source_of

SMALL = {"steps": 2, "prompts_per_step": 6, "rollouts": 2, "checkpoint_every": 1}
# the stage as a launcher starts it; before it a training in which the processes have different
# work: only process 0 has rows with an advantage, and nothing but those is trained on
SCRIPT = """
import os, runpy, sys
from pathlib import Path
import tests.test_trainer as t
import echodistill.training.trainer as trainer
from echodistill.data.store import Corpus
from echodistill.models.loading import load
from echodistill.rewards.registry import REWARDS
from echodistill.training.distributed import all_gather_object, init
from echodistill.training.train import train_student
init()
folder, small, *paths = sys.argv[1:]
rewards, REWARDS["answer"] = REWARDS["answer"], lambda completions, **_: [
    float(os.environ["RANK"] == "0" and number % 2) for number in range(len(completions))
]
llm = load(paths[3], device="cpu")
settings = t.settings_of(method="echodistill", objective={"distill_weight": 0.0}, **eval(small))
rows = t.source_of(Corpus(Path(paths[1])), llm)
uneven = train_student(llm, rows, settings, t.LIMIT, 1, Path(folder), lambda *_: None)
weights = [float(value.double().sum()) for value in uneven.model.parameters()]
together = all(other == weights for other in all_gather_object(weights))
assert together, "the processes' models went apart"
logged = []
log_advantages = trainer.AudioGRPOTrainer._log_advantages
trainer.AudioGRPOTrainer._log_advantages = lambda self, own: (
    log_advantages(self, own), logged.append((own.tolist(), list(self._logs["advantages"])))
)
llm = load(paths[3], device="cpu")
os.makedirs(folder + "/grpo", exist_ok=True)
settings = t.settings_of(method="grpo", **eval(small))
rows = t.source_of(Corpus(Path(paths[1])), llm)
t.train_student(llm, rows, settings, t.LIMIT, 1, Path(folder) / "grpo", lambda *_: None)
Path(f"advantages-{os.environ['RANK']}").write_text(repr(logged[0]))
REWARDS["answer"] = rewards
sys.argv[1:] = paths
runpy.run_module("echodistill.stages.train", run_name="__main__")
"""


def inputs(folder: Path, corpus: Corpus, llm: AudioLLM) -> list[str]:
    """What the stage ``train`` is made from, as the paths of its command line."""
    llm.save(folder / "base")
    questions = corpus.questions_of("train")
    targets = generate_targets(
        llm,
        [Prompt(corpus.waveform(row.clip_id), row.question, row.choices) for row in questions],
        4,
        8,
        4096,
    )
    for name in ("mixes", "references"):
        (folder / name).mkdir()
    mixes = [
        draw(1, clip.clip_id, "train", "gauss", -20.0, 0, ()) for clip in corpus.clips_of("train")
    ]
    write_rows(folder / "mixes/mixes.parquet", Mix, mixes)
    write_procedural(folder / "mixes")
    rows = [
        Reference(row.question_id, row.question_id, "low", (1,), False, "low", True)
        for row in questions
    ]
    write_rows(folder / "references/references.parquet", Reference, rows)
    by_key = {row.question_id: target for row, target in zip(questions, targets, strict=True)}
    save_targets(folder / "references/distributions.safetensors", by_key)
    write_checksums(folder / "references")
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw["train"] |= SMALL | {"method": "sft"}
    raw["generation"] = {"max_new_tokens": LIMIT}
    (folder / "params.yaml").write_text(yaml.safe_dump(raw))
    return ["student", str(corpus.folder), "mixes", "base", "references"]


def test_two_processes_train_like_one_and_one_of_them_writes(
    tmp_path: Path, tiny_llm: AudioLLM, tiny_corpus: Corpus, mlflow_database: Path
) -> None:
    paths = inputs(tmp_path, tiny_corpus, tiny_llm)
    shutil.copy(mlflow_database, tmp_path / "mlflow.db")
    for name in ("uneven", "alone"):
        (tmp_path / name).mkdir()
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "script.py",
    ]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
    }
    environment |= {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, "uneven", repr(SMALL), *paths],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # each process has its own share of the rows; half of them had an advantage
    assert [
        row["reward"] for row in read_metrics(tmp_path / "uneven/metrics.jsonl")
    ] == pytest.approx([0.25, 0.25])

    # GRPO: each process has the advantages of its own groups, and each logs those of both
    everyone = [-1.0, 1.0] * 3 + [0.0] * 6
    for rank in (0, 1):
        own = everyone[6 * rank : 6 * rank + 6]
        assert (tmp_path / f"advantages-{rank}").read_text() == repr((own, everyone))

    llm = load(str(tmp_path / "base"), device="cpu")
    train_student(
        llm,
        source_of(tiny_corpus, llm),
        settings_of(method="sft", **SMALL),
        LIMIT,
        1,
        tmp_path / "alone",
        lambda *_: None,
    )
    alone, together = (
        read_metrics(tmp_path / name / "metrics.jsonl") for name in ("alone", "student")
    )
    assert [row["step"] for row in together] == [1, 2]
    for name in ("loss", "grad_norm"):
        assert [row[name] for row in together] == pytest.approx(
            [row[name] for row in alone], rel=1e-4
        )

    assert done.stdout.count("training 105,648 of") == 3  # once for each of the trainings
    assert sorted(path.name for path in tmp_path.glob("*student*")) == ["student"]
    assert json.loads((tmp_path / "student/run.json").read_text())["steps"] == 2
    open_model(tmp_path / "student", None, device="cpu")
    (run_folder,) = (tmp_path / ".echodistill/runs").iterdir()
    assert (run_folder / "metrics.jsonl").is_file()
    assert not list(run_folder.glob("checkpoint-*"))

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs(
        [experiment.experiment_id for experiment in client.search_experiments()]
    )
    assert run.info.status == "FINISHED"
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 2


def test_prompts_that_cannot_be_shared_out_are_refused(
    tmp_path: Path, tiny_llm: AudioLLM, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echodistill.training.train.processes", lambda: 4)
    with pytest.raises(
        UserError, match=r"train\.prompts_per_step: 6 prompts cannot be shared by 4 processes"
    ):
        train_student(
            tiny_llm,
            source_of(tiny_corpus, tiny_llm),
            settings_of(**SMALL),
            LIMIT,
            1,
            tmp_path,
            lambda *_: None,
        )


def test_where_several_processes_cannot_work_they_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(UserError, match="on one machine"):
        distributed.init()
    params: Any = SimpleNamespace()
    with pytest.raises(UserError, match="runs in one process, not in 4"):
        base(params, tmp_path / "base", tmp_path / "corpus")
