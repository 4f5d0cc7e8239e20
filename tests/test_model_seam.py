"""The seam to transformers: the model hears, rows do not disturb each other, generation and scoring
agree.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from echodistill.datasets.store import Corpus
from echodistill.errors import UserError
from echodistill.models.audio_llm import AudioLLM, encode, end_ids
from echodistill.models.base import Prompt, pad_rows
from echodistill.models.generation import generate
from echodistill.models.loading import load
from echodistill.models.scoring import score
from tests.conftest import tone

RESPONSE = [[7, 8, 9, 2]]


def _prompt(waveform: np.ndarray, choices: tuple[str, ...] = ("low", "high")) -> Prompt:
    return Prompt(waveform, "Which tone?", choices)


def _log_probs(llm: AudioLLM, prompts: list[Prompt], responses: list[list[int]]) -> torch.Tensor:
    ids, mask = pad_rows(responses, llm.tokenizer.pad_token_id, left=False)
    with torch.inference_mode():
        return score(llm.model, encode(llm, prompts), ids, mask, llm.never_sample).log_softmax(
            dim=-1
        )


def test_log_probs_change_when_the_audio_changes(tiny_llm: AudioLLM) -> None:
    low = _log_probs(tiny_llm, [_prompt(tone("low", 1))], RESPONSE)
    high = _log_probs(tiny_llm, [_prompt(tone("high", 1))], RESPONSE)
    assert (low.exp() - high.exp()).abs().max() > 1e-5


def test_log_probs_do_not_change_when_another_row_of_the_batch_does(tiny_llm: AudioLLM) -> None:
    mine = _prompt(tone("low", 1, 0.4))
    alone = _log_probs(tiny_llm, [mine], RESPONSE)[0, :4]
    other = _prompt(
        tone("high", 2, 0.6), ("a much longer choice than the others", "high", "middle")
    )
    beside = _log_probs(tiny_llm, [mine, other], [RESPONSE[0], [5, 5, 5, 5, 5, 5, 2]])[0, :4]
    torch.testing.assert_close(alone, beside, atol=1e-4, rtol=1e-4)


def test_generation_and_scoring_hear_the_same_audio(
    tiny_llm: AudioLLM, tiny_corpus: Corpus
) -> None:
    prompts = [
        _prompt(tiny_corpus.waveform(clip_id)) for clip_id in ("train-0", "train-1", "train-2")
    ]
    responses = generate(tiny_llm, encode(tiny_llm, prompts), max_new_tokens=6)
    log_probs = _log_probs(tiny_llm, prompts, responses)
    for row, response in enumerate(responses):
        assert log_probs[row, : len(response)].argmax(dim=-1).tolist() == response


def test_a_response_ends_with_its_first_end_token(tiny_llm: AudioLLM) -> None:
    for response in generate(
        tiny_llm,
        encode(tiny_llm, [_prompt(tone("low", 1)), _prompt(tone("high", 3))]),
        max_new_tokens=8,
    ):
        assert not set(response[:-1]) & set(end_ids(tiny_llm))


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


def test_a_clip_longer_than_the_window_is_refused(tiny_llm: AudioLLM) -> None:
    with pytest.raises(UserError, match=r"0\.70 s does not fit the model's window of 0\.6 s"):
        encode(tiny_llm, [_prompt(tone("low", 1, 0.7))])


def test_saved_and_loaded_gives_the_same_log_probs(tiny_llm: AudioLLM, tmp_path: Path) -> None:
    tiny_llm.save(tmp_path / "model")
    assert sorted(
        path.suffix for path in (tmp_path / "model").iterdir() if "model" in path.name
    ) == [".safetensors"]
    loaded = load(str(tmp_path / "model"), device="cpu")
    prompt = [_prompt(tone("middle", 1))]
    torch.testing.assert_close(
        _log_probs(loaded, prompt, RESPONSE), _log_probs(tiny_llm, prompt, RESPONSE)
    )


def test_pickled_weights_are_refused(tiny_llm: AudioLLM, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tiny_llm.save(folder)
    torch.save(tiny_llm.model.state_dict(), folder / "pytorch_model.bin")
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


def test_any_text_can_be_encoded_and_comes_back(tiny_llm: AudioLLM) -> None:
    text = "Größe 東京 \U0001f600 red-dog's"
    assert tiny_llm.tokenizer.decode(tiny_llm.tokenizer(text)["input_ids"]) == text
