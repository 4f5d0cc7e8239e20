"""Tests of every model family: the answer depends on the audio, rows do not disturb each other,
generation and scoring agree.

They run for all families of the registry, and for one that the package does not know
(``tests.packed_family``).
"""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from echodistill.core.errors import UserError
from echodistill.data.store import Corpus
from echodistill.models.audio_llm import AudioLLM, encode, end_ids, wrap
from echodistill.models.base import Prompt, PromptBatch, pad_rows
from echodistill.models.families.registry import FAMILIES
from echodistill.models.generation import generate
from echodistill.models.identity import model_identity
from echodistill.models.loading import load
from echodistill.models.responses import choice_ids, respond
from echodistill.models.scoring import score
from tests import packed_family
from tests.conftest import tone

RESPONSE = [[7, 8, 9, 2]]
CLIPS = [tone("low", 1, 0.4), tone("high", 2, 0.6), tone("middle", 3, 0.2)]
CHANGES = ["whole", "moved", "repeated", "taken by mask", "taken by number", "repeated and taken"]


@pytest.fixture(scope="module")
def packed_llm(tiny_llm: AudioLLM) -> AudioLLM:
    """A model of the made-up family, with random weights."""
    return wrap(*packed_family.build(copy.deepcopy(tiny_llm.tokenizer)))


SMALL = {"qwen2_audio": "tiny_llm", "packed": "packed_llm"}
"""The fixture of a small model with random weights of each family."""


@pytest.fixture(params=sorted({*FAMILIES, "packed"}))
def llm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AudioLLM:
    """A model of each family; a family without a small model in ``SMALL`` fails here."""
    monkeypatch.setitem(FAMILIES, "packed", packed_family.PackedFamily)
    model: AudioLLM = request.getfixturevalue(SMALL[request.param])
    return model


def _prompt(waveform: np.ndarray, choices: tuple[str, ...] = ("low", "high")) -> Prompt:
    return Prompt(waveform, "Which tone?", choices)


def _log_probs(llm: AudioLLM, prompts: list[Prompt], responses: list[list[int]]) -> torch.Tensor:
    ids, mask = pad_rows(responses, llm.tokenizer.pad_token_id, left=False)
    with torch.inference_mode():
        return score(llm.model, encode(llm, prompts), ids, mask, llm.family).log_softmax(dim=-1)


def test_log_probs_change_when_the_audio_changes(llm: AudioLLM) -> None:
    low = _log_probs(llm, [_prompt(tone("low", 1))], RESPONSE)
    high = _log_probs(llm, [_prompt(tone("high", 1))], RESPONSE)
    assert (low.exp() - high.exp()).abs().max() > 1e-5


def test_log_probs_do_not_change_when_another_row_of_the_batch_does(llm: AudioLLM) -> None:
    prompt = _prompt(tone("low", 1, 0.4))
    alone = _log_probs(llm, [prompt], RESPONSE)[0, :4]
    other = _prompt(
        tone("high", 2, 0.6), ("a much longer choice than the others", "high", "middle")
    )
    beside = _log_probs(llm, [prompt, other], [RESPONSE[0], [5, 5, 5, 5, 5, 5, 2]])[0, :4]
    torch.testing.assert_close(alone, beside, atol=1e-4, rtol=1e-4)


def test_generation_and_scoring_receive_the_same_audio(llm: AudioLLM, tiny_corpus: Corpus) -> None:
    prompts = [
        _prompt(tiny_corpus.waveform(clip_id)) for clip_id in ("train-0", "train-1", "train-2")
    ]
    responses = generate(llm, encode(llm, prompts), max_new_tokens=6)
    log_probs = _log_probs(llm, prompts, responses)
    for row, response in enumerate(responses):
        assert log_probs[row, : len(response)].argmax(dim=-1).tolist() == response


def test_a_response_ends_with_its_first_end_token(llm: AudioLLM) -> None:
    for response in generate(
        llm,
        encode(llm, [_prompt(tone("low", 1)), _prompt(tone("high", 3))]),
        max_new_tokens=8,
    ):
        assert not set(response[:-1]) & set(end_ids(llm))


def test_an_audio_token_is_never_written(llm: AudioLLM) -> None:
    assert llm.family.audio_token_id in llm.never_sample
    prompts = [_prompt(tone("low", 1))]
    assert _log_probs(llm, prompts, RESPONSE)[..., llm.never_sample].exp().max() == 0.0


def test_without_a_clip_the_text_alone_is_asked(llm: AudioLLM) -> None:
    silent = Prompt(None, "Which tone?", ("low", "high"))
    batch = encode(llm, [silent, silent])
    assert not batch.features
    assert not llm.family.audio_inputs(batch)
    assert not (batch.input_ids == llm.family.audio_token_id).any()
    first, second = generate(llm, batch, 4)
    assert first == second
    with pytest.raises(ValueError, match="with and without a clip"):
        encode(llm, [silent, _prompt(tone("low", 1))])


def _batches(llm: AudioLLM) -> dict[str, tuple[PromptBatch, list[int]]]:
    """Return changed batches of three clips of different lengths, and which clips are in them."""
    batch = encode(llm, [_prompt(clip) for clip in CLIPS])
    return {
        "whole": (batch, [0, 1, 2]),
        "moved": (batch.to(torch.device("cpu")), [0, 1, 2]),
        "repeated": (batch.repeat(2), [0, 0, 1, 1, 2, 2]),
        "taken by mask": (batch.take(torch.tensor([False, True, True])), [1, 2]),
        "taken by number": (batch.take(torch.tensor([2, 0, 0, 1])), [2, 0, 0, 1]),
        "repeated and taken": (batch.repeat(2).take(torch.tensor([5, 1, 2])), [2, 0, 1]),
    }


@pytest.mark.parametrize("name", CHANGES)
def test_each_row_of_a_changed_batch_keeps_its_clip(llm: AudioLLM, name: str) -> None:
    """Also where the encoder takes the clips in one axis, and where a clip is there twice."""
    batch, clips = _batches(llm)[name]
    ids, mask = pad_rows(RESPONSE * len(clips), llm.tokenizer.pad_token_id, left=False)
    with torch.inference_mode():
        found = score(llm.model, batch, ids, mask, llm.family).log_softmax(dim=-1)
    alone = torch.cat([_log_probs(llm, [_prompt(clip)], RESPONSE) for clip in CLIPS])
    torch.testing.assert_close(found, alone[clips], atol=1e-4, rtol=1e-4)
    assert generate(llm, batch, 4) == [
        generate(llm, encode(llm, [_prompt(CLIPS[clip])]), 4)[0] for clip in clips
    ]


def test_choices_behind_the_cache_are_scored_as_in_one_forward(llm: AudioLLM) -> None:
    prompts = [_prompt(CLIPS[0], ("low", "high")), _prompt(CLIPS[1], ("low", "a longer choice"))]
    for prompt, response in zip(prompts, respond(llm, prompts, 4), strict=True):
        rows = choice_ids(llm, prompt.choices)
        scored = _log_probs(llm, [prompt] * len(rows), rows)
        wanted = [
            float(scored[row, torch.arange(len(ids)), torch.tensor(ids)].sum())
            for row, ids in enumerate(rows)
        ]
        assert response.choice_log_probs == pytest.approx(wanted, abs=1e-3)


def test_an_encoder_whose_rows_are_no_clips_is_not_shared(packed_llm: AudioLLM) -> None:
    """Check the case for which the test's family is made: its clips are no rows of the encoder."""
    assert packed_llm.family.shared_encoder(packed_llm.model) is None
    batch = encode(packed_llm, [_prompt(clip) for clip in CLIPS])
    assert packed_llm.family.audio_inputs(batch)["frames"].shape == (packed_family.BINS, 30)
    assert not packed_llm.model.encoder._forward_pre_hooks


def test_features_that_are_packed_too_early_are_refused() -> None:
    ids = torch.ones(2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"\['frames'\] do not have 2 rows"):
        PromptBatch(ids, ids, {"frames": torch.zeros(30, 16)})


def test_a_clip_too_short_for_two_audio_tokens_is_refused_and_the_next_longer_one_answers(
    tiny_llm: AudioLLM,
) -> None:
    """transformers takes a single token for a placeholder that it has to expand, and fails."""
    noise = np.random.default_rng(1).normal(0, 0.1, 1_120).astype(np.float32)
    with pytest.raises(
        UserError, match=r"a clip of 0\.060 s is too short for the model: give 0\.07 s or more"
    ):
        encode(tiny_llm, [Prompt(noise[:960], "Which?", ("a", "b"))])
    generate(tiny_llm, encode(tiny_llm, [Prompt(noise, "Which?", ("a", "b"))]), 2)


def test_a_clip_longer_than_the_window_is_refused(llm: AudioLLM) -> None:
    with pytest.raises(UserError, match=r"0\.70 s does not fit the model's window of 0\.6 s"):
        encode(llm, [_prompt(tone("low", 1, 0.7))])


def test_saved_and_loaded_gives_the_same_log_probs(llm: AudioLLM, tmp_path: Path) -> None:
    llm.save(tmp_path / "model")
    assert sorted(
        path.suffix for path in (tmp_path / "model").iterdir() if "model" in path.name
    ) == [".safetensors"]
    loaded = load(str(tmp_path / "model"), device="cpu")
    prompt = [_prompt(tone("middle", 1))]
    torch.testing.assert_close(
        _log_probs(loaded, prompt, RESPONSE), _log_probs(llm, prompt, RESPONSE)
    )
    assert model_identity(loaded) == model_identity(llm)


def test_pickled_weights_are_refused(llm: AudioLLM, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    llm.save(folder)
    torch.save(llm.model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="safetensors"):
        load(str(folder), device="cpu")


@pytest.mark.parametrize("name", ["/nowhere/at/all", "no-such-owner/no-such-model"])
def test_a_model_that_is_not_there_is_one_clear_error(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="cannot be loaded"):
        load(name, device="cpu")


def test_any_text_can_be_encoded_and_comes_back(llm: AudioLLM) -> None:
    text = "Größe 東京 \U0001f600 red-dog's"
    assert llm.tokenizer.decode(llm.tokenizer(text)["input_ids"]) == text
