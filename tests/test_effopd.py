"""EffOPD: the search along a training's direction, and the trainings that it accelerates."""

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

from echodistill.audio.mixing import Mix, draw
from echodistill.audio.recordings import NoiseLibrary
from echodistill.core.checksums import folder_fault
from echodistill.core.errors import UserError
from echodistill.data.store import Corpus
from echodistill.evaluation.choices import parse_choice
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.loading import load
from echodistill.models.responses import respond
from echodistill.params.accelerators import EffOpdParams
from echodistill.training.accelerators import effopd
from echodistill.training.accelerators.base import STATE
from echodistill.training.accelerators.effopd import is_event, search
from echodistill.training.accelerators.scoring import Score, Scorer
from echodistill.training.accelerators.weights import FullWeights
from echodistill.training.checkpoint_files import is_needed
from echodistill.training.checkpoints import latest_complete
from echodistill.training.metrics_file import read_metrics
from echodistill.training.step_counts import CountedSteps
from echodistill.training.train import train_student, write_metrics
from echodistill.training.validation_rows import ValidationRows
from tests.conftest import WORDS
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


def test_events_are_the_powers_of_two() -> None:
    assert [step for step in range(40) if is_event(step)] == [1, 2, 4, 8, 16, 32]


def searched(
    right: Sequence[int], parsed: Sequence[int] = (10,) * 9, **changes: Any
) -> tuple[int, int]:
    """Return the candidate that is accepted and the number of scorings."""
    scores = [Score(*pair, 10) for pair in zip(right, parsed, strict=False)]
    accepted, seen = search(scores.__getitem__, params(**changes))
    assert seen == scores[: len(seen)]
    return accepted, len(seen)


@pytest.mark.parametrize(
    ("right", "rule", "expected"),
    [
        ((5, 5, 9), "strict", (0, 2)),  # a candidate behind one that fails is not tried
        ((5, 5, 9, 9, 8), "equal", (3, 5)),
        ((5, 6, 7, 6, 9), "strict", (2, 4)),
        ((1, 2, 3, 4, 5, 6, 7), "strict", (5, 6)),  # no more than five
        ((5, 4, 9), "equal", (0, 2)),
    ],
)
def test_candidates_are_accepted_in_order_while_the_score_improves(
    right: tuple[int, ...], rule: str, expected: tuple[int, int]
) -> None:
    assert searched(right, accept=rule) == expected


def test_one_candidate_may_be_all() -> None:
    assert searched((1, 2, 3), candidates=1) == (1, 2)


def test_a_candidate_that_names_fewer_choices_is_refused_however_good() -> None:
    assert searched((3, 9), (10, 9)) == (0, 2)
    assert searched((3, 9, 8), (9, 10, 10)) == (1, 3)
    assert searched((3, 8, 9), (8, 9, 8)) == (1, 3)  # the share fell below that of a candidate
    assert searched((3, 9, 8), (10, 9, 9), parse_margin=0.1) == (1, 3)
    # the margin is of the highest share of the event, so that it is not used up again and again
    assert searched((3, 4, 5), (10, 9, 8), parse_margin=0.1) == (1, 3)


# --- the items


def test_items_are_noisy_ones_of_the_validation_split_alone(tiny_corpus: Corpus) -> None:
    rows = validation_of(tiny_corpus, ("train", "validation", "test"))
    items = rows.chosen(1000, 1)
    assert len(items) == 12  # six clips, each with two noisy mixes
    assert {item.question.split for item in items} == {item.mix.split for item in items}
    assert {item.question.split for item in items} == {"validation"}
    assert all(item.mix.snr_db is not None for item in items)
    of_others = {clip.clip_id for clip in tiny_corpus.clips.values() if clip.split != "validation"}
    groups = {tiny_corpus.clips[name].group for name in of_others}
    for item in items:
        assert item.mix.clip_id == item.question.clip_id
        assert tiny_corpus.clips[item.mix.clip_id].group not in groups


def test_the_choice_of_items_is_fixed_by_the_seed(tiny_corpus: Corpus) -> None:
    rows, again = validation_of(tiny_corpus), validation_of(tiny_corpus)
    items = rows.chosen(12, 1)
    assert again.chosen(12, 1) == items != rows.chosen(12, 2)
    assert all(rows.chosen(count, 1) == items[:count] for count in range(12))
    for half in (items[:6], items[6:]):
        assert len({item.question.question_id for item in half}) == 6
    assert len({item.mix.mix_id for item in items}) == 12


def test_a_score_counts_greedy_answers_as_the_evaluation_does(
    tiny_llm: AudioLLM, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_word(llm: AudioLLM, ids: Sequence[int]) -> str:
        return (*WORDS, "none of them")[sum(ids) % 4]  # the answers of random weights name none

    monkeypatch.setattr("echodistill.training.accelerators.scoring.decode", as_word)
    rows = validation_of(tiny_corpus)
    items = rows.chosen(12, 1)
    names = [
        parse_choice(as_word(tiny_llm, response.token_ids), item.question.choices)
        for item, response in zip(
            items, respond(tiny_llm, [rows.prompt(item) for item in items], LIMIT), strict=True
        )
    ]
    right = sum(name == item.question.answer_index for name, item in zip(names, items, strict=True))
    expected = Score(right, sum(name is not None for name in names), 12)
    monkeypatch.setenv("ECHODISTILL_DEVICE_BATCH", "5")
    assert Scorer(tiny_llm, rows, items, LIMIT)() == expected
    assert expected.accuracy == right / 12
    assert 0 < expected.right < expected.parsed


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


def test_mixes_are_rendered_as_for_training(tiny_corpus: Corpus) -> None:
    rows = validation_of(tiny_corpus)
    item = rows.chosen(1, 1)[0]
    mix: Mix = item.mix
    clean = tiny_corpus.waveform(mix.clip_id)
    noisy = NoiseLibrary(tiny_corpus.waveform).render(mix, clean).noisy
    prompt = rows.prompt(item)
    assert prompt.waveform is not None
    assert (prompt.waveform == noisy).all()
    assert (prompt.question, prompt.choices) == (item.question.question, item.question.choices)
