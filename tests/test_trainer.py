"""Tests of the trainer: it uses the audio, skips only what has no gradient, and fits the TRL
version that it subclasses.
"""

import inspect
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import echodistill.models.torchaudio_guard  # noqa: F401

import pytest
import torch
import yaml
from trl import GRPOTrainer

from echodistill.audio.mixing import Mix, draw
from echodistill.audio.recordings import NoiseLibrary
from echodistill.core.errors import UserError
from echodistill.data.store import Corpus
from echodistill.methods.ratio import policy_term
from echodistill.methods.supervised import token_log_probs
from echodistill.models.audio_llm import AudioLLM, encode
from echodistill.models.base import Prompt, pad_rows
from echodistill.models.generation import generate
from echodistill.models.loading import load
from echodistill.models.scoring import score
from echodistill.params.methods import METHODS
from echodistill.params.train import TrainParams
from echodistill.params.whole import load_params
from echodistill.rewards.registry import REWARDS
from echodistill.teachers.references import generate_targets
from echodistill.teachers.views import VIEWS
from echodistill.training.metrics_file import read_metrics
from echodistill.training.train import train_student
from echodistill.training.trainer import AudioGRPOTrainer
from echodistill.training.training_rows import TrainingRows, sample_order

ROOT = Path(__file__).parents[1]
LIMIT = 4
"""Tokens of a rollout."""
UNTAUGHT = ("grpo", "opd", "rlsd", "srpo")
"""Methods that use no response but the student's samples."""
LOGGED = {
    "opd": {"kl", "entropy"},
    "rt_opd": {"cross_entropy", "gated_groups", "zero_variance_groups"},
    "rlsd": {"zero_variance_groups"},
    "srpo": {"routed_samples", "routed_groups", "kl", "zero_variance_groups"},
}
"""What a method logs of its own."""


@pytest.fixture(scope="module")
def model_folder(tiny_llm: AudioLLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "base"
    tiny_llm.save(folder)
    return folder


def settings_of(**changes: Any) -> TrainParams:
    """Return the section ``train`` of a small training; ``objective`` changes settings of
    EchoDistill, the name of a method those of that method.
    """
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())["train"]
    raw["methods"]["echodistill"] |= changes.pop("objective", {})
    for method in METHODS.keys() & changes.keys():
        raw["methods"][method] |= changes.pop(method)
    small = {"steps": 3, "prompts_per_step": 3, "rollouts": 2, "checkpoint_every": 1}
    return TrainParams.model_validate(raw | small | changes)


def source_of(corpus: Corpus, llm: AudioLLM) -> TrainingRows:
    mixes: list[Mix] = [
        draw(1, clip.clip_id, "train", "gauss", -20.0, 0, ()) for clip in corpus.clips_of("train")
    ]
    questions = corpus.questions_of("train")
    targets = generate_targets(
        llm,
        [Prompt(corpus.waveform(q.clip_id), q.question, q.choices) for q in questions],
        4,
        8,
        4096,
    )
    by_id = {
        question.question_id: target for question, target in zip(questions, targets, strict=True)
    }
    return TrainingRows(
        corpus,
        VIEWS["clean"](corpus, 1),
        mixes,
        NoiseLibrary(corpus.waveform),
        by_id,
        llm.tokenizer.pad_token_id,
    )


def run(
    folder: Path, model: Path, corpus: Corpus, **changes: Any
) -> tuple[AudioLLM, list[dict[str, float]]]:
    llm = load(str(model), device="cpu")
    folder.mkdir(exist_ok=True, parents=True)
    train_student(
        llm,
        source_of(corpus, llm),
        settings_of(**changes),
        LIMIT,
        1,
        folder,
        lambda _step, _metrics: None,
    )
    return llm, read_metrics(folder / "metrics.jsonl")


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("echodistill", {}),
        (
            "echodistill",
            {"objective": {"shaping": "candidate", "kl": "jsd", "ratio_reference": "old"}},
        ),
        ("echodistill", {"weights": "lora", "objective": {"shaping": "off", "kl": "reverse"}}),
        ("grpo", {}),
        ("distill", {}),
        ("sft", {}),
        ("opd", {}),
        ("opd", {"weights": "lora", "opd": {"form": "sampled"}}),
        ("rt_opd", {}),
        ("rt_opd", {"weights": "lora", "rt_opd": {"form": "sampled"}}),
        ("rlsd", {}),
        ("rlsd", {"weights": "lora"}),
        ("srpo", {}),
        ("srpo", {"weights": "lora"}),
    ],
)
def test_every_method_trains_and_logs(
    method: str, changes: dict[str, Any], tmp_path: Path, model_folder: Path, tiny_corpus: Corpus
) -> None:
    llm, rows = run(tmp_path, model_folder, tiny_corpus, method=method, **changes)
    assert [row["step"] for row in rows] == [1, 2, 3]
    wanted = {"loss", "grad_norm", "tokens_per_s", "clips_per_s", "sampled_tokens", "target_tokens"}
    if method not in ("distill", "sft"):
        wanted |= {"reward", "frac_reward_zero_std", "completions/mean_length", "truncated_share"}
    if method == "echodistill":
        wanted |= {"shaped_reward", "groups_without_effect", "zero_variance_groups", "kl"}
    wanted |= LOGGED.get(method, set())
    assert all(wanted <= row.keys() for row in rows)
    rollouts = settings_of(**{"method": method} | changes)
    for row in rows:  # the budget: what the student sampled, and what it was given to learn from
        samples = rollouts.prompts_per_step * rollouts.rollouts
        assert row["sampled_tokens"] == pytest.approx(
            samples * row.get("completions/mean_length", 0.0)
        )
        assert (row["target_tokens"] >= rollouts.prompts_per_step) == (method not in UNTAUGHT)
    moved = [name for name, value in llm.model.named_parameters() if value.requires_grad]
    assert all(("lora_" in name) == (changes.get("weights") == "lora") for name in moved)


@pytest.mark.parametrize("method", ["opd", "rt_opd", "rlsd", "srpo"])
def test_samples_with_different_rewards_and_teachers_that_are_right_teach(
    method: str,
    tmp_path: Path,
    model_folder: Path,
    tiny_corpus: Corpus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A random model names no choice: here every second response of a call is right, of samples as
    of the teacher's responses. Groups stand on the device one by one.
    """
    monkeypatch.setenv("ECHODISTILL_DEVICE_BATCH", "2")
    monkeypatch.setitem(
        REWARDS,
        "answer",
        lambda completions, **_columns: [1.0 - 2.0 * (n % 2) for n in range(len(completions))],
    )
    _, rows = run(tmp_path, model_folder, tiny_corpus, method=method, steps=2)
    for row in rows:
        assert row["kl"] != 0
        assert row["grad_norm"] > 0
        assert row.get("zero_variance_groups", 0.0) == 0.0
        assert row.get("routed_samples", 0.5) == 0.5
        assert row.get("gated_groups", 1.0) == 1.0
    if method == "rlsd":
        assert [row["weight_share"] for row in rows] == [1.0, 0.5]


@pytest.mark.parametrize("schedule", ["distill_first", "crossfade"])
def test_the_terms_follow_the_schedule(
    schedule: str,
    tmp_path: Path,
    model_folder: Path,
    tiny_corpus: Corpus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(
        REWARDS, "answer", lambda completions, **_: [float(n % 2) for n in range(len(completions))]
    )
    objective = {"schedule": schedule, "distill_share": 0.5, "policy_weight": 0.3}
    _, rows = run(tmp_path, model_folder, tiny_corpus, objective=objective, steps=2)
    found = [(row["policy_weight"], row["distill_weight"]) for row in rows]
    wanted = {"distill_first": [(0.0, 1.0), (0.3, 0.0)], "crossfade": [(0.0, 1.0), (0.15, 0.5)]}
    assert found == [pytest.approx(one) for one in wanted[schedule]]
    assert ["policy_loss" in row for row in rows] == [False, True]
    assert ["kl" in row for row in rows] == [True, schedule == "crossfade"]


def test_distillation_pulls_the_student_to_the_teacher(
    tmp_path: Path, model_folder: Path, tiny_corpus: Corpus
) -> None:
    teacher, student = load(str(model_folder), device="cpu"), load(str(model_folder), device="cpu")
    with torch.no_grad():  # a teacher that thinks otherwise
        teacher.model.lm_head.weight[:] = teacher.model.lm_head.weight.roll(5, dims=0)
    settings = settings_of(method="distill", steps=15, prompts_per_step=6)
    train_student(
        student,
        source_of(tiny_corpus, teacher),
        settings,
        LIMIT,
        1,
        tmp_path,
        lambda _step, _metrics: None,
    )
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert rows[0]["kl"] > 0.1
    assert rows[-1]["kl"] < 0.8 * rows[0]["kl"]


@pytest.mark.parametrize(
    "weights", [{"distill_weight": 0.0}, {"distill_weight": 0.0, "policy_weight": 0.0}, {}]
)
def test_rows_that_teach_nothing_do_not_stop_training(
    weights: dict[str, float],
    tmp_path: Path,
    model_folder: Path,
    tiny_corpus: Corpus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Check groups of equal rewards, which have no policy loss; on a small device a whole step may
    consist of them.
    """
    monkeypatch.setenv("ECHODISTILL_DEVICE_BATCH", "2")
    monkeypatch.setitem(REWARDS, "answer", lambda completions, **_columns: [1.0] * len(completions))
    _, rows = run(tmp_path, model_folder, tiny_corpus, method="echodistill", objective=weights)
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert all(row["zero_variance_groups"] == 1.0 for row in rows)


def test_a_loss_that_is_no_number_is_logged_as_such(
    tmp_path: Path, model_folder: Path, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "echodistill.methods.sft.cross_entropy",
        lambda logits, *_: logits.sum(dim=(1, 2)) * float("nan"),
    )
    _, rows = run(tmp_path, model_folder, tiny_corpus, method="sft")
    assert all(math.isnan(row["loss"]) for row in rows)


def test_what_is_trained_is_in_the_log(
    tmp_path: Path, model_folder: Path, tiny_corpus: Corpus
) -> None:
    llm, rows = run(tmp_path, model_folder, tiny_corpus, method="sft")
    logged = {name: value for name, value in rows[0].items() if name.startswith("trainable/")}
    assert sum(logged.values()) == sum(parameter.numel() for parameter in llm.model.parameters())
    assert not any(name.startswith("trainable/") for row in rows[1:] for name in row)


def test_few_rows_are_visited_again_and_none_is_left_out() -> None:
    order = sample_order(5, 12, seed=1)
    assert sorted(order[:5]) == sorted(order[5:10]) == list(range(5))
    assert order[:5] != order[5:10]
    assert len(order) == 12
    assert sample_order(5, 7, seed=1) == order[:7]
    with pytest.raises(UserError, match="nothing to train on"):
        sample_order(0, 3, seed=1)


def test_gradient_accumulation_changes_nothing(
    tmp_path: Path, model_folder: Path, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = run(tmp_path / "a", model_folder, tiny_corpus, method="distill", prompts_per_step=6)
    monkeypatch.setenv("ECHODISTILL_DEVICE_BATCH", "4")
    _, split = run(tmp_path / "b", model_folder, tiny_corpus, method="distill", prompts_per_step=6)
    assert [row["loss"] for row in split] == pytest.approx(
        [row["loss"] for row in whole], rel=1e-4, abs=1e-7
    )
    assert [row["grad_norm"] for row in split] == pytest.approx(
        [row["grad_norm"] for row in whole], rel=1e-3
    )


def test_rows_without_advantage_can_be_left_out(tiny_llm: AudioLLM, tiny_corpus: Corpus) -> None:
    """The trainer does not run rows whose advantage is zero: the loss and its gradient are the same
    as with them.
    """
    waveforms = [tiny_corpus.waveform(f"train-{number}") for number in range(4)]
    batch = encode(
        tiny_llm, [Prompt(waveform, "Which tone?", ("low", "high")) for waveform in waveforms]
    )
    ids, mask = pad_rows(generate(tiny_llm, batch, 3), 0, left=False)
    advantages = torch.tensor([1.0, 0.0, -1.0, 0.0])
    active = advantages != 0
    weight = tiny_llm.model.lm_head.weight

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        logits = score(tiny_llm.model, batch.take(rows), ids[rows], mask[rows], tiny_llm.family)
        log_prob = (token_log_probs(logits, ids[rows]) * mask[rows]).sum(dim=1) / mask[rows].sum(
            dim=1
        )
        return (
            policy_term(log_prob, log_prob.detach() - 0.1, advantages[rows], 0.2, 2.0).loss
            * rows.float().mean()
        )

    full, part = loss_of(torch.ones(4, dtype=torch.bool)), loss_of(active)
    torch.testing.assert_close(full, part)
    (of_full,), (of_part,) = torch.autograd.grad(full, weight), torch.autograd.grad(part, weight)
    torch.testing.assert_close(of_full, of_part, atol=1e-6, rtol=1e-4)


def test_trl_loss_depends_on_the_audio(
    tmp_path: Path, model_folder: Path, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stock TRL would score without the clip; ours gives other log-probabilities when the clip is
    another.
    """
    seen: list[torch.Tensor] = []
    original = AudioGRPOTrainer._get_per_token_logps_and_entropies

    def spy(self: AudioGRPOTrainer, *args: Any, **kwargs: Any) -> Any:
        logits = original(self, *args, **kwargs)
        features = {
            name: torch.randn_like(f) if name == "input_features" else f
            for name, f in self._prompts.features.items()
        }
        self._prompts = replace(self._prompts, features=features)
        seen.append((logits[0] - original(self, *args, **kwargs)[0]).abs().max())
        return logits

    monkeypatch.setattr(AudioGRPOTrainer, "_get_per_token_logps_and_entropies", spy)
    run(tmp_path, model_folder, tiny_corpus, method="grpo", steps=1)
    assert seen
    assert all(difference > 1e-3 for difference in seen)


SIGNATURES = {
    "_set_signature_columns_if_needed": ["self"],
    "_tokenize_prompts": ["self", "prompts"],
    "_generate_and_score_completions": ["self", "inputs"],
    "_calculate_rewards": ["self", "inputs", "prompts", "completions", "completion_ids_list"],
    "_compute_loss": ["self", "model", "inputs"],
    "log": ["self", "logs", "start_time"],
}


@pytest.mark.parametrize("method", SIGNATURES)
def test_trl_still_has_what_we_override(method: str) -> None:
    assert list(inspect.signature(getattr(GRPOTrainer, method)).parameters) == SIGNATURES[method]


def test_trl_scores_the_way_we_override() -> None:
    names = list(inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters)
    assert names[:5] == ["self", "model", "input_ids", "attention_mask", "logits_to_keep"]


def test_params_file_has_the_settings_tests_build_on() -> None:
    assert load_params(ROOT / "params.yaml").train.method == "echodistill"
