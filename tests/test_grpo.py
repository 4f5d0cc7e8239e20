"""GRPO's reference and advantages, and sampling and scoring without dropout, against independent
computations.
"""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from echodistill.data.store import Corpus
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.loading import load
from echodistill.models.scoring import score
from echodistill.rewards.registry import REWARDS
from echodistill.training import forward, train, trainer
from echodistill.training.batch_tensors import FEATURE
from echodistill.training.frozen import without_dropout
from echodistill.training.metrics_file import read_metrics
from echodistill.training.train import train_student
from echodistill.training.trainer import AudioGRPOTrainer
from tests.test_trainer import LIMIT, settings_of, source_of

Inputs = dict[str, Any]


@pytest.fixture(scope="module")
def model_folder(tiny_llm: AudioLLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "base"
    tiny_llm.save(folder)
    return folder


@pytest.fixture(scope="module")
def other_folder(tiny_llm: AudioLLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same architecture with other weights."""
    folder = tmp_path_factory.mktemp("model") / "other"
    model = copy.deepcopy(tiny_llm.model)
    model.lm_head.weight.data = model.lm_head.weight.data.roll(7, dims=0)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def varied_rewards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewards that differ within groups: a random model names no choice, and so would get the same
    for all it writes.
    """
    monkeypatch.setitem(
        REWARDS,
        "answer",
        lambda completions, **_columns: [float(len(text) % 2) for text in completions],
    )


def settings_with(learning_rate: float, kl_weight: float, **changes: Any) -> Any:
    methods = settings_of().methods.model_dump()
    methods["grpo"] |= {"learning_rate": learning_rate, "kl_weight": kl_weight}
    return settings_of(**{"method": "grpo", "methods": methods} | changes)


def watch_loss(
    monkeypatch: pytest.MonkeyPatch, seen: Callable[[AudioGRPOTrainer, Inputs], None]
) -> None:
    """Call ``seen`` with the inputs of each loss, before it is computed."""
    original = AudioGRPOTrainer._compute_loss

    def watched(self: AudioGRPOTrainer, model: Any, inputs: Inputs) -> torch.Tensor:
        seen(self, inputs)
        return original(self, model, inputs)

    monkeypatch.setattr(AudioGRPOTrainer, "_compute_loss", watched)


def sample_log_probs(model: Any, inputs: Inputs, never_sample: list[int]) -> torch.Tensor:
    """Return the log-probability of each sampled token (B, T), in float64, through no code of the
    trainer.
    """
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    features = {
        name.removeprefix(FEATURE): value
        for name, value in inputs.items()
        if name.startswith(FEATURE)
    }
    features["input_features"] = features["input_features"].double()
    with torch.no_grad():
        logits = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            **features,
        ).logits
    logits[..., never_sample] = -torch.inf
    wanted = inputs["completion_ids"]
    return (
        logits[:, -wanted.shape[1] - 1 : -1]
        .double()
        .log_softmax(-1)
        .gather(-1, wanted[..., None])[..., 0]
    )


@pytest.mark.parametrize("place", ["nowhere", "other weights"])
@pytest.mark.usefixtures("varied_rewards")
def test_the_kl_is_measured_against_the_very_weights_training_starts_from(
    place: str,
    model_folder: Path,
    other_folder: Path,
    tiny_corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    llm = load(str(model_folder), device="cpu")
    llm.model.config._name_or_path = (
        str(other_folder) if place == "other weights" else "/nowhere/at/all"
    )
    initial = load(str(model_folder), device="cpu").model.double().eval()
    expected: list[float] = []

    def measure(_trainer: AudioGRPOTrainer, inputs: Inputs) -> None:
        now = copy.deepcopy(initial)
        now.load_state_dict(
            {name: value.double() for name, value in llm.model.state_dict().items()}
        )
        difference = sample_log_probs(initial, inputs, llm.never_sample) - sample_log_probs(
            now, inputs, llm.never_sample
        )
        per_token, mask = difference.exp() - difference - 1, inputs["completion_mask"]
        expected.append(float((per_token.nan_to_num() * mask).sum() / mask.sum()))

    watch_loss(monkeypatch, measure)
    settings = settings_with(learning_rate=1e-3, kl_weight=0.5, steps=4)
    train_student(llm, source_of(tiny_corpus, llm), settings, LIMIT, 1, tmp_path, lambda *_: None)
    found = [row["kl"] for row in read_metrics(tmp_path / "metrics.jsonl")]
    assert len(found) == len(expected) == 4
    assert abs(found[0]) < 1e-6
    assert max(found[1:]) > 1e-4
    assert found == pytest.approx(expected, rel=1e-2, abs=1e-6)


@pytest.mark.usefixtures("varied_rewards")
def test_a_resumed_training_keeps_the_reference_it_started_with(
    model_folder: Path, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    settings = settings_with(learning_rate=1e-3, kl_weight=0.5, steps=4)

    def trained(folder: Path, stops_at: int = 0) -> list[float]:
        def sink(step: int, _metrics: dict[str, float]) -> None:
            if step == stops_at:
                raise KeyboardInterrupt

        llm = load(str(model_folder), device="cpu")
        folder.mkdir(exist_ok=True)
        train_student(llm, source_of(tiny_corpus, llm), settings, LIMIT, 1, folder, sink)
        return [row["kl"] for row in read_metrics(folder / "metrics.jsonl")]

    whole = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "stopped", stops_at=3)
    assert trained(tmp_path / "stopped") == whole
    assert whole[2] > 1e-4


def test_without_a_penalty_no_reference_is_kept(
    model_folder: Path, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    llm = load(str(model_folder), device="cpu")
    train_student(
        llm,
        source_of(tiny_corpus, llm),
        settings_with(1e-4, kl_weight=0.0, steps=1),
        LIMIT,
        1,
        tmp_path,
        lambda *_: None,
    )
    assert "kl" not in read_metrics(tmp_path / "metrics.jsonl")[0]


@pytest.mark.parametrize(
    ("method", "objective"), [("grpo", {}), ("echodistill", {"shaping": "off"})]
)
def test_advantages_divide_by_the_groups_population_deviation(
    method: str,
    objective: dict[str, str],
    model_folder: Path,
    tiny_corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rewards 1, 0, 0, 0 have mean 1/4 and deviation √3/4: advantages √3 and three times -1/√3.
    Equal rewards have none.
    """
    groups = [[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.5, 0.5], [1.0, 1.0, 0.0, 0.0]]
    worked = [math.sqrt(3), *[-1 / math.sqrt(3)] * 3, *[0.0] * 4, 1.0, 1.0, -1.0, -1.0]
    monkeypatch.setitem(
        REWARDS,
        "answer",
        lambda *_given, **_columns: [one for group in groups for one in group],
    )
    seen: list[list[float]] = []

    def keep(trainer: AudioGRPOTrainer, inputs: Inputs) -> None:
        seen.append(sorted(inputs["advantages"].tolist()))  # the rows of a step are shuffled
        seen.append(list(trainer._logs["advantages"]))

    watch_loss(monkeypatch, keep)
    llm = load(str(model_folder), device="cpu")
    settings = settings_of(method=method, objective=objective, steps=1, rollouts=4)
    train_student(llm, source_of(tiny_corpus, llm), settings, LIMIT, 1, tmp_path, lambda *_: None)
    assert seen[0] == pytest.approx(sorted(worked), abs=1e-6)
    assert seen[1] == pytest.approx(worked, abs=1e-6)
    (row,) = read_metrics(tmp_path / "metrics.jsonl")
    assert row["reward"] == pytest.approx(5 / 12)
    assert row["frac_reward_zero_std"] == pytest.approx(1 / 3)


@pytest.fixture
def live_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adapters that act from the first step: as they usually begin, they add nothing, and their
    dropout would not show.
    """
    original = train._adapter

    def adapter(settings: Any) -> Any:
        config = original(settings)
        config.init_lora_weights = False
        return config

    monkeypatch.setattr(train, "_adapter", adapter)


def dropout_settings(method: str, dropout: float, **changes: Any) -> Any:
    return settings_of(
        method=method, weights="lora", lora={"rank": 4, "alpha": 8, "dropout": dropout}, **changes
    )


@pytest.mark.parametrize("method", ["grpo", "echodistill"])
@pytest.mark.usefixtures("live_adapters")
def test_samples_of_the_first_step_are_those_without_dropout(
    method: str,
    model_folder: Path,
    tiny_corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samples: list[torch.Tensor] = []
    watch_loss(monkeypatch, lambda _trainer, inputs: samples.append(inputs["completion_ids"]))
    for dropout in (0.0, 0.5):
        llm, folder = load(str(model_folder), device="cpu"), tmp_path / str(dropout)
        folder.mkdir()
        settings = dropout_settings(method, dropout, steps=1, rollouts=4)
        train_student(llm, source_of(tiny_corpus, llm), settings, LIMIT, 1, folder, lambda *_: None)
    assert torch.equal(*samples)
    assert samples[0].unique().numel() > 4


@pytest.mark.parametrize(
    ("method", "objective"),
    [("grpo", {}), ("echodistill", {}), ("echodistill", {"shaping": "candidate"})],
)
@pytest.mark.usefixtures("live_adapters")
def test_scoring_is_without_dropout_and_the_loss_is_with_it(
    method: str,
    objective: dict[str, str],
    model_folder: Path,
    tiny_corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    differences: dict[str, list[float]] = {"scoring": [], "loss": []}

    def spy(model: Any, *given: Any) -> torch.Tensor:
        found = score(model, *given)
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        with torch.no_grad():
            apart = (found.detach() - score(model, *given)).nan_to_num().abs().max()
        for module, training in modes:
            module.training = training
        differences["loss" if torch.is_grad_enabled() else "scoring"].append(float(apart))
        if torch.is_grad_enabled():
            assert all(training for _, training in modes)
        return found

    for module in (forward, trainer):
        monkeypatch.setattr(module, "score", spy)
    llm = load(str(model_folder), device="cpu")
    settings = dropout_settings(method, 0.5, steps=2, objective=objective)
    train_student(llm, source_of(tiny_corpus, llm), settings, LIMIT, 1, tmp_path, lambda *_: None)
    assert differences["scoring"]
    assert max(differences["scoring"]) < 1e-5
    assert min(differences["loss"]) > 1e-2


def test_dropout_is_back_after_an_error() -> None:
    model = torch.nn.Sequential(
        torch.nn.Linear(2, 2), torch.nn.Dropout(0.5), torch.nn.Identity().eval()
    )
    with pytest.raises(RuntimeError, match="inside"), without_dropout(model):
        assert model.training
        assert not any(module.training for module in model)
        raise RuntimeError("inside")
    assert [module.training for module in model] == [True, True, False]
