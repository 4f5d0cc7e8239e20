"""Trainings that EffOPD accelerates: weights, logs, checkpoints and several processes."""

import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from echodistill.audio.mixing import draw
from echodistill.audio.recordings import NoiseLibrary
from echodistill.core.checksums import folder_fault
from echodistill.core.errors import UserError
from echodistill.data.store import Corpus
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.loading import load
from echodistill.params.accelerators import EffOpdParams
from echodistill.training.accelerators import effopd
from echodistill.training.accelerators.base import STATE
from echodistill.training.accelerators.scoring import Score, Scorer
from echodistill.training.accelerators.weights import FullWeights
from echodistill.training.checkpoint_files import is_needed
from echodistill.training.checkpoints import latest_complete
from echodistill.training.metrics_file import read_metrics
from echodistill.training.step_counts import CountedSteps
from echodistill.training.train import train_student, write_metrics
from echodistill.training.validation_rows import ValidationRows
from tests.test_resume import losses, wait_for
from tests.test_trainer import LIMIT, ROOT, settings_of, source_of

ON = {"candidates": 5, "accept": "strict", "items": 6, "parse_margin": 0.0}


def params(**changes: Any) -> EffOpdParams:
    return EffOpdParams.model_validate(ON | changes)


def validation_of(corpus: Corpus, splits: Sequence[str] = ("validation",)) -> ValidationRows:
    mixes = [
        draw(1, clip.clip_id, split, kind, snr, 0, ())
        for split in splits
        for clip in corpus.clips_of(split)
        for kind, snr in (("clean", None), ("gauss", -5.0), ("gauss", 5.0))
    ]
    return ValidationRows(corpus, mixes, NoiseLibrary(corpus.waveform))


# --- the search


# --- the items


# --- trainings


@pytest.fixture(scope="module")
def model_folder(tiny_llm: AudioLLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "base"
    tiny_llm.save(folder)
    return folder


def script(right: Sequence[int]) -> Callable[[Any], Score]:
    """Return a scorer whose scorings count as these numbers of right answers, in turn."""
    turns = iter(right)
    return lambda _self: Score(next(turns), 100, 100)


def by_weights(scorer: Any) -> Score:
    """A score that depends on every bit of the weights that are scored, for tests of a resume."""
    state = scorer._llm.model.state_dict()
    crc = 0
    for name in sorted(state):
        crc = zlib.crc32(state[name].numpy().tobytes(), crc)
    for module in scorer._llm.model.modules():  # what is added to an adapter is no parameter
        for hook in module._forward_hooks.values():
            part = getattr(hook, "__self__", None)
            for factor in getattr(part, "factors", None) or ():
                crc = zlib.crc32(factor.numpy().tobytes(), crc)
    return Score(crc % 97, 100, 100)


def trained(
    folder: Path,
    model: Path,
    corpus: Corpus,
    after_step: Callable[[int, Any], None] = lambda *_: None,
    **changes: Any,
) -> dict[str, torch.Tensor]:
    """Train, and return the state of the student that is saved."""
    llm = load(str(model), device="cpu")
    folder.mkdir(exist_ok=True, parents=True)
    settings = settings_of(**{"method": "sft", "steps": 4, "effopd": ON} | changes)
    done = train_student(
        llm,
        source_of(corpus, llm),
        settings,
        LIMIT,
        1,
        folder,
        after_step,
        validation=validation_of(corpus),
    )
    done.model.save_pretrained(folder / "final")
    write_metrics(folder / "metrics.jsonl", folder / "final/metrics.jsonl")
    return {name: value.clone() for name, value in done.model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def saved(folder: Path) -> bytes:
    return next((folder / "final").glob("*.safetensors")).read_bytes()


@pytest.mark.parametrize("method", ["sft", "echodistill"])
@pytest.mark.parametrize("weights", ["full", "lora"])
def test_a_training_whose_candidates_are_rejected_is_a_plain_one_bit_for_bit(
    method: str,
    weights: str,
    tmp_path: Path,
    model_folder: Path,
    tiny_corpus: Corpus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes: dict[str, Any] = {"method": method, "weights": weights}
    plain = trained(tmp_path / "plain", model_folder, tiny_corpus, **changes)
    score = Scorer.__call__
    seen: list[Score] = []

    def worse(self: Scorer) -> Score:
        real = score(self)  # the answers are generated, which must leave nothing behind
        seen.append(replace(real, right=real.right if len(seen) % 2 == 0 else -1))
        return seen[-1]

    monkeypatch.setattr(Scorer, "__call__", worse)
    changes["accelerator"] = "effopd"
    tried = trained(tmp_path / "tried", model_folder, tiny_corpus, **changes)
    assert len(seen) == 4  # events at 2 and 4; at 1 the learning rate was still 0
    assert same(plain, tried)
    assert saved(tmp_path / "plain") == saved(tmp_path / "tried")
    assert losses(tmp_path / "plain") == losses(tmp_path / "tried")


def moved_names(state: dict[str, torch.Tensor]) -> set[str]:
    """Names of attention and MLP weights of the nano, by its own names."""
    parts = ("_proj.", ".fc1.", ".fc2.")
    return {name for name in state if ".layers." in name and any(part in name for part in parts)}


def test_an_accepted_candidate_moves_attention_and_mlp_by_the_equation(
    tmp_path: Path, model_folder: Path, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {
        name: value.clone()
        for name, value in load(str(model_folder), device="cpu").model.state_dict().items()
    }
    monkeypatch.setattr(Scorer, "__call__", script([1, 2, 3, 3, 5, 5, 5, 6, 7, 8, 9, 10]))
    seen: list[dict[str, torch.Tensor]] = []
    end = FullWeights.end

    def noted(self: Any, candidate: int) -> None:
        self.put(0)
        now = {name: value.detach().clone() for name, value in self._parameters.items()}
        end(self, candidate)
        after = {name: value.detach().clone() for name, value in self._parameters.items()}
        seen.extend([now, after])

    monkeypatch.setattr(FullWeights, "end", noted)
    trained(tmp_path, model_folder, tiny_corpus, accelerator="effopd", steps=8)
    kept = before
    assert set(seen[0]) == moved_names(before)
    for now, after, accepted in zip(seen[::2], seen[1::2], (2, 0, 5), strict=True):
        for name in now:
            wide, start = now[name].double(), kept[name].double()
            expected = wide + 2 * accepted * (wide - start)
            torch.testing.assert_close(after[name].double(), expected, rtol=1e-6, atol=1e-7)
            if accepted == 0:
                assert torch.equal(after[name], now[name])
        kept = after
    rows = read_metrics(tmp_path / "metrics.jsonl")
    of_events = {
        row["step"]: (row["effopd/accepted"], row["effopd/scorings"])
        for row in rows
        if "effopd/accepted" in row
    }
    assert of_events == {1: (0, 0), 2: (2, 4), 4: (0, 2), 8: (5, 6)}
    assert [rows[1][f"effopd/accuracy_{k}"] for k in range(4)] == [0.01, 0.02, 0.03, 0.03]
    assert rows[7]["effopd/parse_rate_5"] == 1.0
    assert all(row["effopd/seconds"] > 0 for row in rows if row["step"] in of_events)
    # the student's own log is the same bytes each time
    (final,) = {tuple(row) for row in read_metrics(tmp_path / "final/metrics.jsonl")[:1]}
    assert "effopd/scorings" in final
    assert "effopd/seconds" not in final


def test_embeddings_norms_and_head_are_those_of_a_plain_step(
    tmp_path: Path, model_folder: Path, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = trained(tmp_path / "plain", model_folder, tiny_corpus, steps=2)
    monkeypatch.setattr(Scorer, "__call__", script([1, 2, 0]))
    moved = trained(tmp_path / "on", model_folder, tiny_corpus, steps=2, accelerator="effopd")
    differ = {name for name in plain if not torch.equal(plain[name], moved[name])}
    assert differ
    assert differ <= moved_names(plain)


def test_the_speed_of_a_step_is_without_the_event(
    tmp_path: Path, model_folder: Path, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = CountedSteps.__new__(CountedSteps)
    counted._reset_counts()
    since = counted._counts["since"]
    counted.leave_out(2.5)
    assert counted._counts["since"] == since + 2.5
    left_out: list[float] = []
    monkeypatch.setattr(CountedSteps, "leave_out", lambda _self, seconds: left_out.append(seconds))
    trained(tmp_path, model_folder, tiny_corpus, steps=2, accelerator="effopd")
    assert left_out == [row["effopd/seconds"] for row in read_metrics(tmp_path / "metrics.jsonl")]


# --- a kill and a resume

SCRIPT = """
import sys, time
from pathlib import Path
from echodistill.data.store import Corpus
from echodistill.training.accelerators.scoring import Scorer
from tests import test_effopd as t
folder, model, corpus, weights = sys.argv[1:]
Scorer.__call__ = t.by_weights
t.eight_steps(Path(folder), Path(model), Corpus(Path(corpus)), weights, lambda *_: time.sleep(0.5))
"""


def eight_steps(
    folder: Path,
    model: Path,
    corpus: Corpus,
    weights: str,
    after_step: Callable[[int, Any], None] = lambda *_: None,
) -> dict[str, torch.Tensor]:
    changes = {"steps": 8, "checkpoint_every": 3, "weights": weights, "accelerator": "effopd"}
    return trained(folder, model, corpus, after_step, **changes)


@pytest.mark.parametrize("weights", ["full", "lora"])
def test_a_killed_training_resumes_exactly(
    weights: str,
    tmp_path: Path,
    model_folder: Path,
    tiny_corpus: Corpus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The events at 1, 2 and 4 are before the checkpoint of step 6, that at 8 is after it."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    monkeypatch.setattr(Scorer, "__call__", by_weights)
    expected = eight_steps(whole, model_folder, tiny_corpus, weights)
    accepted = [
        row["effopd/accepted"]
        for row in read_metrics(whole / "metrics.jsonl")
        if "effopd/accepted" in row
    ]
    assert any(accepted[:3])
    killed.mkdir()
    folders = [str(killed), str(model_folder), str(tiny_corpus.folder)]
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *folders, weights],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    wait_for(lambda: len(losses(killed)) >= 7)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert latest_complete(killed) == killed / "checkpoint-6"
    kept = (killed / "checkpoint-6" / STATE).read_bytes()
    assert kept == (whole / "checkpoint-6" / STATE).read_bytes()
    assert same(eight_steps(killed, model_folder, tiny_corpus, weights), expected)
    assert saved(killed) == saved(whole)
    names = [folder / "final/metrics.jsonl" for folder in (killed, whole)]
    assert names[0].read_bytes() == names[1].read_bytes()


@pytest.mark.parametrize("weights", ["full", "lora"])
def test_a_training_killed_after_its_last_step_is_complete(
    weights: str,
    tmp_path: Path,
    model_folder: Path,
    tiny_corpus: Corpus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Scorer, "__call__", script([1, 2, 1] * 2))
    changes: dict[str, Any] = {"steps": 2, "weights": weights, "accelerator": "effopd"}
    first = trained(tmp_path, model_folder, tiny_corpus, **changes)
    assert same(trained(tmp_path, model_folder, tiny_corpus, **changes), first)


def test_the_state_is_covered_by_the_marker_and_is_uploaded(
    tmp_path: Path, model_folder: Path, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scorer, "__call__", script([1, 2, 1]))
    trained(tmp_path, model_folder, tiny_corpus, steps=1, accelerator="effopd")
    path = tmp_path / "checkpoint-1" / STATE
    assert is_needed(path.name)
    assert not folder_fault(path.parent)
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert STATE in str(folder_fault(path.parent))


# --- several processes

TOGETHER = """
import json, os, sys
from pathlib import Path
from echodistill.data.store import Corpus
from echodistill.training.accelerators.scoring import Scorer
from echodistill.training.distributed import all_gather_object, init
from tests import test_effopd as t
init()
folder, model, corpus = sys.argv[1:]
# alone, process 0 would accept at step 2 and reject at step 4, and process 1 the other way round
right = iter([[1, 2, 5, 0, 0], [5, 0, 0, 9, 0]][int(os.environ["RANK"])])
sizes = []
Scorer._counted = lambda self, items: (sizes.append(len(items)), (next(right), len(items)))[1]
state = t.trained(
    Path(folder), Path(model), Corpus(Path(corpus)), prompts_per_step=4, accelerator="effopd"
)
sums = [float(value.double().sum()) for value in state.values()]
assert all(other == sums for other in all_gather_object(sums)), "the models went apart"
assert set(sizes) == {3}
"""


def test_two_processes_divide_the_items_and_take_one_decision(
    tmp_path: Path, model_folder: Path, tiny_corpus: Corpus
) -> None:
    (tmp_path / "script.py").write_text(TOGETHER)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    folders = [str(tmp_path / "run"), str(model_folder), str(tiny_corpus.folder)]
    done = subprocess.run(
        [*launcher, "--nproc_per_node", "2", str(tmp_path / "script.py"), *folders],
        cwd=tmp_path,
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = read_metrics(tmp_path / "run/metrics.jsonl")
    assert [row.get("effopd/accepted") for row in rows] == [0, 0, None, 1]
    assert [rows[3][f"effopd/accuracy_{k}"] for k in range(3)] == [5 / 6, 9 / 6, 0.0]
    assert done.stdout.count("effopd: step 4: W + 2Δ is kept") == 1


# --- refusals


def refusal(folder: Path, model: Path, corpus: Corpus, **given: Any) -> str:
    llm = load(str(model), device="cpu")
    settings = settings_of(method="sft", steps=2, effopd=ON, accelerator="effopd")
    with pytest.raises(UserError) as caught:
        train_student(
            llm, source_of(corpus, llm), settings, LIMIT, 1, folder, lambda *_: None, **given
        )
    return str(caught.value)


def test_without_validation_items_it_is_refused_before_any_work(
    tmp_path: Path, model_folder: Path, tiny_corpus: Corpus
) -> None:
    empty = validation_of(tiny_corpus, ("train", "test"))
    cases: list[dict[str, Any]] = [{}, {"validation": empty}]
    for given in cases:
        found = refusal(tmp_path, model_folder, tiny_corpus, **given)
        assert found.startswith("train.accelerator: effopd scores its candidates on noisy clips")
        assert found.endswith("raise corpus.validation_share, or write none")
    assert not list(tmp_path.iterdir())


def test_a_sharded_model_is_refused(
    tmp_path: Path, model_folder: Path, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effopd, "is_sharded", lambda _trainer: True)
    found = refusal(tmp_path, model_folder, tiny_corpus, validation=validation_of(tiny_corpus))
    assert found == (
        "train.accelerator: effopd needs all weights in each process: train without FSDP and"
        " DeepSpeed, or write none"
    )


def test_a_checkpoint_without_its_state_is_refused(
    tmp_path: Path, model_folder: Path, tiny_corpus: Corpus
) -> None:
    trained(tmp_path, model_folder, tiny_corpus, steps=1)
    found = refusal(tmp_path, model_folder, tiny_corpus, validation=validation_of(tiny_corpus))
    assert found.startswith(f"{tmp_path / 'checkpoint-1' / STATE} is missing: ")
