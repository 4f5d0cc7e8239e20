"""The parts of source- and layer-wise distillation: the layer map, the comparison of distributions,
and the hidden states of real models.
"""

import copy
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import grad, gradcheck

from echodistill.core.errors import UserError
from echodistill.data.store import Corpus
from echodistill.methods.layer_map import layer_map, matched_layers
from echodistill.methods.logit_lens import common_jsd, token_mean
from echodistill.models.audio_llm import AudioLLM, encode, wrap
from echodistill.models.base import Prompt, PromptBatch
from echodistill.models.hidden_states import hidden_states
from echodistill.models.nano_text import build_text_teacher
from echodistill.models.scoring import score
from echodistill.models.text_llm import load_text_llm, text_llm
from tests import packed_family
from tests.test_objectives import logits, plain_divergence, tensor


@pytest.mark.parametrize(
    ("student", "teacher", "step", "wanted"),
    [
        (3, 3, 1, {1: 1, 2: 2, 3: 3}),
        (2, 4, 1, {1: 2, 2: 4}),
        (4, 2, 1, {1: 1, 2: 1, 3: 2, 4: 2}),  # 0.5, 1, 1.5, 2: halves upwards
        (3, 4, 1, {1: 1, 2: 3, 3: 4}),  # 1.33, 2.67, 4
        (6, 1, 1, dict.fromkeys(range(1, 7), 1)),  # 0.17 is at least layer 1
        (1, 5, 1, {1: 5}),
        (28, 28, 7, {7: 7, 14: 14, 21: 21, 28: 28}),
        (32, 28, 7, {4: 4, 11: 10, 18: 16, 25: 22, 32: 28}),  # 3.5, 9.625, 15.75, 21.875, 28
        (3, 4, 7, {3: 4}),
    ],
)
def test_maps_worked_by_hand(student: int, teacher: int, step: int, wanted: dict[int, int]) -> None:
    assert layer_map(student, teacher, step) == wanted


@given(st.integers(1, 80), st.integers(1, 80), st.integers(1, 9))
def test_a_map_is_proportional(student: int, teacher: int, step: int) -> None:
    found = layer_map(student, teacher, step)
    assert list(found) == matched_layers(student, step)
    assert found[student] == teacher
    assert sorted(found.values()) == list(found.values())
    assert all(1 <= layer <= teacher for layer in found.values())
    assert all(abs(f - s * teacher / student) <= 0.5 or f == 1 for s, f in found.items())


@pytest.mark.parametrize(("teacher_size", "student_size"), [(7, 7), (9, 7), (7, 9)])
def test_padded_vocabularies_are_cut_to_their_common_ids(
    teacher_size: int, student_size: int
) -> None:
    teacher, student = logits(2, 3, teacher_size), logits(2, 3, student_size, seed=1)
    teacher[..., 6] = student[..., 6] = -math.inf  # never sampled
    found = common_jsd(teacher, student)
    for row in range(2):
        for token in range(3):
            p, q = (each[row, token, :6].softmax(-1).tolist() for each in (teacher, student))
            assert found[row, token].item() == pytest.approx(
                plain_divergence("jsd", p, q), rel=1e-12
            )


def test_the_divergence_of_a_padded_vocabulary_has_the_gradient_of_finite_differences() -> None:
    teacher, free = logits(2, 9), logits(2, 6, seed=1).requires_grad_()

    def loss(given: torch.Tensor) -> torch.Tensor:
        never = torch.full((2, 1), -math.inf, dtype=torch.float64)
        return common_jsd(teacher, torch.cat([given, never], dim=-1)).sum()

    assert gradcheck(loss, free)


def test_means_over_tokens_worked_by_hand() -> None:
    mask = torch.tensor([[0, 1, 1], [1, 0, 0], [0, 0, 0]]).bool()
    values = tensor([1.0, 3.0, 5.0]).requires_grad_()
    found = token_mean(values, mask)
    assert found.tolist() == [2.0, 5.0, 0.0]
    (gradient,) = grad(found.sum(), values)
    assert gradient.tolist() == [0.5, 0.5, 1.0]


@pytest.fixture(scope="module", params=["qwen2_audio", "packed"])
def llm(request: pytest.FixtureRequest, tiny_llm: AudioLLM) -> AudioLLM:
    if request.param == "qwen2_audio":
        return tiny_llm
    return wrap(*packed_family.build(copy.deepcopy(tiny_llm.tokenizer)))


def inputs_of(llm: AudioLLM, corpus: Corpus) -> tuple[PromptBatch, torch.Tensor, torch.Tensor]:
    """Prompts of different lengths, with responses of different lengths, one of them empty."""
    prompts = [
        Prompt(corpus.waveform(f"train-{number}"), "Which tone?" * (number + 1), ("low", "high"))
        for number in range(3)
    ]
    ids = torch.tensor([[13, 15, 17], [18, 0, 0], [0, 0, 0]])
    return encode(llm, prompts), ids, torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0]])


def test_the_lens_of_the_last_layer_gives_the_models_logits(
    llm: AudioLLM, tiny_corpus: Corpus
) -> None:
    batch, ids, mask = inputs_of(llm, tiny_corpus)
    with torch.no_grad():
        states = hidden_states(llm.model, batch, ids, mask, llm.family)
        wanted = score(llm.model, batch, ids, mask, llm.family)
        torch.testing.assert_close(states.lens(states.response[-1]), wanted)
    assert torch.equal(states.audio_mask, batch.input_ids == llm.family.audio_token_id)
    assert (states.audio_mask.sum(dim=1) > 0).all()
    layers = len(states.response)
    assert layers == len(states.prompt) == llm.model.config.get_text_config().num_hidden_layers


def test_states_are_those_that_transformers_gives(tiny_llm: AudioLLM, tiny_corpus: Corpus) -> None:
    batch, ids, mask = inputs_of(tiny_llm, tiny_corpus)
    teacher = build_text_teacher(tiny_llm, 96, 3, seed=1)
    text = teacher.encode(["Which tone?", "Which tone is it?", "?"])
    with torch.no_grad():
        states = hidden_states(teacher.model, text, ids, mask, teacher)
        inputs = teacher.forward_inputs(text, ids, mask)
        wanted = teacher.model(**inputs, output_hidden_states=True).hidden_states
    for layer in (1, 2):  # the last of transformers' is behind the norm
        torch.testing.assert_close(states.response[layer - 1], wanted[layer][:, -4:-1])
        torch.testing.assert_close(
            states.prompt[layer - 1], wanted[layer][:, : text.input_ids.shape[1]]
        )
    assert not states.audio_mask.any()
    with torch.no_grad():
        states = hidden_states(tiny_llm.model, batch, ids, mask, tiny_llm.family)
    before = states.lens(states.response[0])
    assert before.shape == (3, 3, len(tiny_llm.tokenizer))
    assert (before[..., tiny_llm.never_sample] == -math.inf).all()


def test_a_row_has_the_states_that_it_has_alone(llm: AudioLLM, tiny_corpus: Corpus) -> None:
    """Left padding of prompts and right padding of responses change nothing."""
    batch, ids, mask = inputs_of(llm, tiny_corpus)
    prompts = [Prompt(tiny_corpus.waveform("train-1"), "Which tone?" * 2, ("low", "high"))]
    with torch.no_grad():
        both = hidden_states(llm.model, batch, ids, mask, llm.family)
        alone = hidden_states(
            llm.model, encode(llm, prompts), ids[1:2, :1], mask[1:2, :1], llm.family
        )
    for together, single in zip(both.response, alone.response, strict=True):
        torch.testing.assert_close(together[1:2, :1], single, atol=1e-5, rtol=1e-4)
    for together, single in zip(both.prompt, alone.prompt, strict=True):
        torch.testing.assert_close(
            together[1][both.audio_mask[1]], single[0][alone.audio_mask[0]], atol=1e-5, rtol=1e-4
        )


def test_every_layer_has_a_gradient_through_its_states(
    tiny_llm: AudioLLM, tiny_corpus: Corpus
) -> None:
    batch, ids, mask = inputs_of(tiny_llm, tiny_corpus)
    states = hidden_states(tiny_llm.model, batch, ids, mask, tiny_llm.family)
    decoder = tiny_llm.model.get_decoder()
    wanted = [decoder.layers[0].mlp.up_proj.weight, decoder.norm.weight]
    for gradient in grad(states.lens(states.prompt[0])[..., 0].sum(), wanted):
        assert gradient.abs().sum() > 0
    assert not any(layer._forward_hooks for layer in decoder.layers)


def test_a_model_without_layers_is_refused(tiny_llm: AudioLLM) -> None:
    class Strange(torch.nn.Module):
        def get_output_embeddings(self) -> None:
            return None

        def get_decoder(self) -> "Strange":
            return self

    empty = torch.zeros(1, 1, dtype=torch.int64)
    with pytest.raises(UserError, match=r"head of Strange cannot be found"):
        hidden_states(Strange(), PromptBatch(empty, empty, {}), empty, empty, tiny_llm.family)


def test_a_text_teacher_is_read_again_as_it_was(tiny_llm: AudioLLM, tmp_path: Path) -> None:
    made = build_text_teacher(tiny_llm, 96, 3, seed=1)
    made.save(tmp_path / "text")
    read = load_text_llm(tmp_path / "text", tiny_llm)
    assert made.model.config.vocab_size % 64 == 0
    assert made.model.config.vocab_size > len(tiny_llm.tokenizer)
    before, after = made.model.state_dict(), read.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(value.requires_grad for value in read.model.parameters())
    one, other = (each.encode(["Which tone is it?", "?"]) for each in (made, read))
    assert torch.equal(one.input_ids, other.input_ids)
    assert one.attention_mask[1, 0] == 0  # padded on the left
    assert read.never_sample == tiny_llm.never_sample
    answers = read.answers(["Which tone is it?", "?"], 4)
    assert answers == made.answers(["Which tone is it?", "?"], 4)
    assert list((tmp_path / "text").glob("*.safetensors"))


def test_a_text_model_with_other_tokens_is_refused(tiny_llm: AudioLLM, tmp_path: Path) -> None:
    made = build_text_teacher(tiny_llm, 48, 1, seed=1)
    other = copy.deepcopy(made.tokenizer)
    other.chat_template = None
    with pytest.raises(
        UserError, match=r"text_teacher: x has other .* \(its tokenizer has no chat"
    ):
        text_llm(made.model, other, tiny_llm, "x")
    other = copy.deepcopy(made.tokenizer)
    vocabulary = other.get_vocab()
    other.get_vocab = lambda: vocabulary | {"e": 1 + vocabulary["e"]}
    with pytest.raises(UserError, match=r"x has other tokens than the base \(1 token, 'e' for one"):
        text_llm(made.model, other, tiny_llm, "x")
    other.get_vocab = lambda: vocabulary | {"<|AUDIO|>": 10_000}  # no response has it
    text_llm(made.model, other, tiny_llm, "x")
    made.model.resize_token_embeddings(len(tiny_llm.tokenizer) - 2)
    with pytest.raises(UserError, match=r"its head lacks 2 tokens"):
        text_llm(made.model, made.tokenizer, tiny_llm, "x")
    with pytest.raises(UserError, match=r"text_teacher: .* is no folder"):
        load_text_llm(tmp_path / "absent", tiny_llm)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"text_teacher: the model in .*empty cannot be loaded"):
        load_text_llm(tmp_path / "empty", tiny_llm)
