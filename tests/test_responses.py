"""Greedy responses and forced choice: nothing of a checkpoint's generation config leaks in, and
choices are scored exactly.
"""

from pathlib import Path

import pytest
import torch
from transformers import GenerationConfig

from echodistill.data.store import Corpus
from echodistill.models.audio_llm import AudioLLM, encode
from echodistill.models.base import Prompt, pad_rows
from echodistill.models.generation import generate
from echodistill.models.loading import load
from echodistill.models.responses import choice_ids, respond
from echodistill.models.scoring import score

CHOICES = [("low", "high"), ("a much longer choice than the others", "high", "middle"), ()]
TRAPS = {
    "repetition_penalty": 5.0,
    "no_repeat_ngram_size": 1,
    "top_k": 2,
    "top_p": 0.1,
    "temperature": 9.0,
    "min_length": 100,
    "min_new_tokens": 6,
    "begin_suppress_tokens": list(range(300)),
    "suppress_tokens": list(range(10, 300)),
    "bad_words_ids": [[7], [8]],
    "sequence_bias": [[[9], -100.0]],
    "exponential_decay_length_penalty": [1, 1.5],
    "forced_eos_token_id": 5,
    "forced_bos_token_id": 6,
    "num_beams": 3,
    "length_penalty": 4.0,
    "guidance_scale": 3.0,
}


def prompts_of(corpus: Corpus) -> list[Prompt]:
    clips = ("train-0", "train-1", "train-2")
    return [
        Prompt(corpus.waveform(clip), "Which tone?", choices)
        for clip, choices in zip(clips, CHOICES, strict=True)
    ]


def test_choices_are_scored_as_each_would_be_alone(tiny_llm: AudioLLM, tiny_corpus: Corpus) -> None:
    prompts = prompts_of(tiny_corpus)
    for prompt, response in zip(prompts, respond(tiny_llm, prompts, 6), strict=True):
        assert len(response.choice_log_probs) == len(response.choice_tokens) == len(prompt.choices)
        for ids, found, tokens in zip(
            choice_ids(tiny_llm, prompt.choices),
            response.choice_log_probs,
            response.choice_tokens,
            strict=True,
        ):
            rows, mask = pad_rows([ids], 0, left=False)
            with torch.inference_mode():
                logits = score(
                    tiny_llm.model, encode(tiny_llm, [prompt]), rows, mask, tiny_llm.family
                )
            alone = logits[0].double().log_softmax(dim=-1)[torch.arange(len(ids)), ids].sum()
            assert found == pytest.approx(float(alone), abs=1e-3)
            assert tokens == len(ids)


def test_a_cache_that_cannot_be_cropped_gives_the_same_scores(
    tiny_llm: AudioLLM, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import DynamicCache

    prompts = prompts_of(tiny_corpus)
    expected = respond(tiny_llm, prompts, 6)
    monkeypatch.setattr(DynamicCache, "is_croppable", False)
    for one, other in zip(respond(tiny_llm, prompts, 6), expected, strict=True):
        assert one.choice_log_probs == pytest.approx(other.choice_log_probs, abs=1e-4)


def test_responses_are_those_of_generate_and_a_cut_one_is_marked(
    tiny_llm: AudioLLM, tiny_corpus: Corpus
) -> None:
    prompts = prompts_of(tiny_corpus)
    responses = respond(tiny_llm, prompts, 6)
    assert [one.token_ids for one in responses] == generate(tiny_llm, encode(tiny_llm, prompts), 6)
    assert [one.truncated for one in responses] == [
        one.token_ids[-1] != tiny_llm.tokenizer.eos_token_id for one in responses
    ]
    ended = [one for one in respond(tiny_llm, prompts, 60) if not one.truncated]
    for one in ended:
        assert one.token_ids[-1] == tiny_llm.tokenizer.eos_token_id


def test_a_checkpoint_full_of_generation_settings_answers_alike(
    tiny_llm: AudioLLM, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    tiny_llm.save(tmp_path / "model")
    trap = GenerationConfig(**TRAPS, eos_token_id=tiny_llm.tokenizer.eos_token_id)
    (tmp_path / "model/generation_config.json").write_text(trap.to_json_string(), encoding="utf-8")
    trapped = load(str(tmp_path / "model"), device="cpu")
    prompts = prompts_of(tiny_corpus)
    assert respond(trapped, prompts, 6) == respond(tiny_llm, prompts, 6)
    assert generate(trapped, encode(trapped, prompts), 6) == generate(
        tiny_llm, encode(tiny_llm, prompts), 6
    )


def test_the_checkpoint_keeps_its_own_generation_config(tiny_llm: AudioLLM, tmp_path: Path) -> None:
    tiny_llm.save(tmp_path / "model")
    GenerationConfig(repetition_penalty=1.1, eos_token_id=2).save_pretrained(tmp_path / "model")
    load(str(tmp_path / "model"), device="cpu").save(tmp_path / "again")
    assert GenerationConfig.from_pretrained(tmp_path / "again").repetition_penalty == 1.1


def test_no_audio_token_is_ever_generated_or_given_probability(
    tiny_llm: AudioLLM, tiny_corpus: Corpus
) -> None:
    never = [
        tiny_llm.tokenizer.convert_tokens_to_ids(token)
        for token in ("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
    ]
    assert sorted(tiny_llm.never_sample) == sorted(never)
    wanted = torch.zeros(tiny_llm.model.lm_head.out_features)
    wanted[never] = 1e4
    hook = tiny_llm.model.lm_head.register_forward_hook(
        lambda _module, _inputs, logits: logits + wanted
    )
    prompts = prompts_of(tiny_corpus)
    responses = respond(tiny_llm, prompts, 5)
    ids, mask = pad_rows([one.token_ids for one in responses], 0, left=False)
    with torch.inference_mode():
        probs = score(
            tiny_llm.model, encode(tiny_llm, prompts), ids, mask, tiny_llm.family
        ).softmax(dim=-1)
    hook.remove()
    assert not {token for one in responses for token in one.token_ids} & set(never)
    assert float(probs[..., never].max()) == 0.0
    torch.testing.assert_close(probs.sum(dim=-1), torch.ones(probs.shape[:2]))
