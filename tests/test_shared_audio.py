"""Rows with the same clip are encoded once: same outputs, same gradients, fewer rows
computed.
"""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from echodistill.models.audio_llm import AudioLLM, encode
from echodistill.models.base import Prompt, PromptBatch
from echodistill.models.generation import generate
from echodistill.models.scoring import score
from echodistill.models.shared_audio import _first_and_place
from tests.conftest import tone

CLIPS = [tone("low", "a", 0.4), tone("high", "b", 0.5), tone("low", "c", 0.3)]


def batch_of(llm: AudioLLM, copies: int) -> PromptBatch:
    prompts = [
        Prompt(np.asarray(clip, np.float32), "Which tone?", ("low", "middle", "high"))
        for clip in CLIPS
    ]
    return encode(llm, prompts).repeat(copies)


def without_sharing(llm: AudioLLM) -> Any:
    model = copy.deepcopy(llm.model)
    model.model.audio_tower._forward_pre_hooks.clear()
    model.model.audio_tower._forward_hooks.clear()
    return model


def rows_computed(model: Any) -> list[int]:
    counted: list[int] = []
    model.model.audio_tower.conv1.register_forward_hook(
        lambda _module, _args, output: counted.append(output.shape[0])
    )
    return counted


def test_outputs_and_gradients_are_those_of_every_row_computed(tiny_llm: AudioLLM) -> None:
    batch = batch_of(tiny_llm, 4)
    ids = torch.randint(5, 40, (12, 3), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    shared, plain = copy.deepcopy(tiny_llm.model).double(), without_sharing(tiny_llm).double()
    counted = rows_computed(shared), rows_computed(plain)
    weights = torch.rand(12, 3, 1, generator=torch.Generator().manual_seed(2)).double()
    found = []
    for model in (shared, plain):
        model.train()
        logits = score(model, batch, ids, mask, tiny_llm.family)
        (logits.double() * weights).sum().backward()
        found.append(
            (
                logits,
                {
                    name: value.grad
                    for name, value in model.named_parameters()
                    if value.grad is not None
                },
            )
        )
    assert counted == ([3], [12])
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-5, atol=1e-5)
    assert found[0][1].keys() == found[1][1].keys()
    assert any("audio_tower" in name for name in found[0][1])
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(gradient, found[1][1][name], rtol=1e-5, atol=1e-7, msg=name)


def test_a_copy_that_is_asked_meanwhile_disturbs_nothing(tiny_llm: AudioLLM) -> None:
    """The frozen teacher is a copy of the student, hooks and all."""
    student, teacher = copy.deepcopy(tiny_llm.model), copy.deepcopy(tiny_llm.model)
    batch, other = batch_of(tiny_llm, 4), batch_of(tiny_llm, 2)
    ids = torch.full((12, 3), 7)
    expected = score(student, batch, ids, torch.ones_like(ids), tiny_llm.family)

    def ask(*_given: object) -> None:
        score(teacher, other, ids[:6], torch.ones_like(ids[:6]), tiny_llm.family)

    student.model.audio_tower.conv1.register_forward_hook(ask)
    assert torch.equal(score(student, batch, ids, torch.ones_like(ids), tiny_llm.family), expected)


def test_equal_rows_may_stand_apart(tiny_llm: AudioLLM) -> None:
    """The trainer shuffles the rows of a step."""
    model, plain = copy.deepcopy(tiny_llm.model), without_sharing(tiny_llm)
    counted = rows_computed(model)
    batch = batch_of(tiny_llm, 2)
    order = torch.tensor([0, 2, 4, 5, 1, 3])
    apart = PromptBatch(
        batch.input_ids[order],
        batch.attention_mask[order],
        {name: value[order] for name, value in batch.features.items()},
    )
    ids = torch.full((6, 1), 7)
    found, wanted = (
        score(one, apart, ids, torch.ones_like(ids), tiny_llm.family) for one in (model, plain)
    )
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert counted == [3]


def test_rows_of_one_sum_are_distinguished() -> None:
    columns = [
        torch.tensor([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0], [0.0, 3.0]]),
        torch.tensor([[1], [1], [1], [1]]),
    ]
    first, place = _first_and_place(columns)
    for row in range(4):
        assert torch.equal(columns[0][first[place[row]]], columns[0][row])
    _, other = _first_and_place([columns[0][[0, 2]], torch.tensor([[1], [0]])])
    assert other[0] != other[1]  # the same sound, but not the same mask


def test_a_clip_that_continues_in_silence_is_another(tiny_llm: AudioLLM) -> None:
    """Check a clip whose features equal the shorter one's padding; it has more frames."""
    longer = np.concatenate([CLIPS[0], np.zeros(1_600, np.float32)])
    prompts = [Prompt(clip, "Which tone?", ("low", "high")) for clip in (CLIPS[0], longer)]
    both, alone = encode(tiny_llm, prompts), [encode(tiny_llm, [prompt]) for prompt in prompts]
    assert generate(tiny_llm, both, 3) == [generate(tiny_llm, one, 3)[0] for one in alone]


@pytest.mark.parametrize("where", ["encoder", "attention", "adapter"])
def test_where_training_drops_units_every_row_is_computed(tiny_llm: AudioLLM, where: str) -> None:
    model = copy.deepcopy(tiny_llm.model)
    tower = model.model.audio_tower
    if where == "encoder":
        tower.dropout = 0.1
    elif where == "attention":
        tower.layers[0].self_attn.dropout = 0.1
    else:  # a LoRA adapter around a layer has a dropout of its own
        tower.layers[0].fc1 = torch.nn.Sequential(torch.nn.Dropout(0.1), tower.layers[0].fc1)
    counted = rows_computed(model)
    ids = torch.full((6, 1), 7)
    batch = batch_of(tiny_llm, 2)
    score(model.train(), batch, ids, torch.ones_like(ids), tiny_llm.family)
    score(model.eval(), batch, ids, torch.ones_like(ids), tiny_llm.family)
    assert counted == [6, 3]
