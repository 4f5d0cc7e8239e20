"""Samples from the clean and the noisy clip in one group: where they are drawn from, what scores
them, and that nothing changes without them.
"""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from echodistill.audio.mixing import draw
from echodistill.audio.recordings import NoiseLibrary
from echodistill.core.errors import UserError
from echodistill.data.store import Corpus
from echodistill.methods.base import Batch, Context, Forward, LossTerms, require
from echodistill.methods.grpo import Grpo
from echodistill.models.audio_llm import AudioLLM, encode
from echodistill.models.base import PromptBatch
from echodistill.models.loading import load
from echodistill.params.methods import GrpoSettings
from echodistill.params.whole import validate_params
from echodistill.rewards.registry import REWARDS
from echodistill.teachers.views import VIEWS
from echodistill.training import trainer
from echodistill.training.train import train_student
from echodistill.training.training_rows import TrainingRows
from tests.test_trainer import LIMIT, ROOT, settings_of, source_of

K, CLEAN = 4, 3


@pytest.fixture
def llm(tiny_llm: AudioLLM, tmp_path: Path) -> AudioLLM:
    tiny_llm.save(tmp_path / "base")
    return load(str(tmp_path / "base"), device="cpu")


def rows_of(corpus: Corpus, llm: AudioLLM, kind: str, snr_db: float | None) -> TrainingRows:
    mixes = [
        draw(1, clip.clip_id, "train", kind, snr_db, 0, ()) for clip in corpus.clips_of("train")
    ]
    noise, view = NoiseLibrary(corpus.waveform), VIEWS["clean"](corpus, 1)
    return TrainingRows(corpus, view, mixes, noise, {}, llm.tokenizer.pad_token_id)


class Recording(Grpo):
    """GRPO that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__(GrpoSettings(learning_rate=1e-3, kl_weight=0.1, clip=0.2))
        self.rows: list[int] = []
        self.prompts: list[PromptBatch] = []
        self.advantages: list[list[float]] = []
        self.in_loss: list[PromptBatch] = []

    def annotate(self, batch: Batch, context: Context) -> None:
        super().annotate(batch, context)
        self.rows += context.rows
        self.prompts.append(batch.prompts)
        self.advantages.append(require(batch.advantages).tolist())

    def loss(self, batch: Batch, student: Forward) -> LossTerms | None:
        self.in_loss.append(batch.prompts)
        return super().loss(batch, student)


def features(batch: PromptBatch) -> torch.Tensor:
    return batch.features["input_features"]


def train(llm: AudioLLM, rows: TrainingRows, folder: Path, steps: int, clean: int) -> Recording:
    folder.mkdir()
    settings = settings_of(
        method="grpo", steps=steps, prompts_per_step=2, rollouts=K, clean_rollouts=clean
    )
    method = Recording()
    train_student(llm, rows, settings, LIMIT, 1, folder, lambda *_: None, method=method)
    return method


def test_the_first_samples_of_each_group_come_from_the_clean_clip_and_all_are_scored_on_the_noisy(
    llm: AudioLLM, tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[torch.Tensor] = []
    scored: list[torch.Tensor] = []
    generate, score = llm.model.generate, trainer.score

    def recorded_generate(**inputs: Any) -> Any:
        heard.append(inputs["input_features"].clone())
        return generate(**inputs)

    def recorded_score(model: Any, batch: PromptBatch, *given: Any) -> torch.Tensor:
        scored.append(features(batch))
        return score(model, batch, *given)

    monkeypatch.setattr(llm.model, "generate", recorded_generate)
    monkeypatch.setattr(trainer, "score", recorded_score)
    rewards = [1.0, -1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0]
    monkeypatch.setitem(REWARDS, "answer", lambda completions, **_: rewards)
    rows = rows_of(tiny_corpus, llm, "gauss", -10.0)
    method = train(llm, rows, tmp_path / "run", steps=1, clean=CLEAN)
    given = rows.prompts(method.rows)
    noisy, clean = (features(encode(llm, each)) for each in (given.noisy, given.clean))
    assert not torch.equal(noisy, clean)
    wanted = [clean[n] if k < CLEAN else noisy[n] for n in range(2) for k in range(K)]
    assert torch.equal(torch.cat(heard), torch.stack(wanted))
    every = noisy.repeat_interleave(K, dim=0)
    assert torch.equal(features(method.prompts[0]), every)
    assert torch.equal(
        features(method.in_loss[0]).flatten(1).sort(0)[0], every.flatten(1).sort(0)[0]
    )
    assert len(scored) == 2  # the reference model of the KL penalty, and the loss
    for one in scored:
        assert torch.equal(one.flatten(1).sort(0)[0], every.flatten(1).sort(0)[0])
    # One baseline for both kinds of samples: means -0.5 and 0, standard deviations √0.75 and 1.
    high, low = 3**0.5, -(3**-0.5)
    assert method.advantages == [pytest.approx([high, low, low, low, 1.0, 1.0, -1.0, -1.0])]


@pytest.mark.parametrize("clean", [0, CLEAN])
def test_where_the_mixes_are_clean_it_changes_no_bit(
    clean: int, llm: AudioLLM, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    """Without such samples, a training is the one without the setting."""
    weights: list[dict[str, torch.Tensor]] = []
    for count in (0, clean):
        model = load(str(tmp_path / "base"), device="cpu")
        rows = rows_of(tiny_corpus, model, "clean", None)
        train(model, rows, tmp_path / f"run{len(weights)}", steps=20, clean=count)
        weights.append(model.model.state_dict())
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
    first = llm.model.state_dict()
    assert any(not torch.equal(first[name], value) for name, value in weights[1].items())


def test_without_them_the_loss_and_the_samples_have_the_same_prompts(
    llm: AudioLLM, tiny_corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no clean clip is encoded."""
    same: list[bool] = []
    original = trainer.AudioGRPOTrainer._sampled

    def spy(self: Any, prompts: PromptBatch, sampled_from: PromptBatch, inputs: Any) -> Any:
        same.append(prompts is sampled_from)
        return original(self, prompts, sampled_from, inputs)

    monkeypatch.setattr(trainer.AudioGRPOTrainer, "_sampled", spy)
    train(llm, rows_of(tiny_corpus, llm, "gauss", -10.0), tmp_path / "run", steps=2, clean=0)
    assert same == [True, True]


@pytest.mark.parametrize("method", ["echodistill", "opd", "rlsd"])
def test_every_method_that_samples_takes_them(
    method: str, llm: AudioLLM, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    settings = settings_of(method=method, steps=2, rollouts=2, clean_rollouts=1)
    logged: list[int] = []
    train_student(
        llm,
        source_of(tiny_corpus, llm),
        settings,
        LIMIT,
        1,
        tmp_path,
        lambda s, _: logged.append(s),
    )
    assert logged == [1, 2]


@pytest.mark.parametrize("count", [4, 5, -1, 1.5, True])
def test_a_group_keeps_a_sample_of_the_noisy_clip(count: Any) -> None:
    raw = copy.deepcopy(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")))
    raw["train"] |= {"rollouts": 4, "clean_rollouts": 3}
    validate_params(raw, "params.yaml")
    raw["train"]["clean_rollouts"] = count
    with pytest.raises(UserError, match=r"train\.clean_rollouts: "):
        validate_params(raw, "params.yaml")
