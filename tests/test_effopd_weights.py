"""EffOPD's arithmetic against float64: full weights, and an adapter against merged weights."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from echodistill.core.errors import UserError
from echodistill.models.audio_llm import AudioLLM, encode
from echodistill.models.base import Prompt
from echodistill.training.accelerators.adapter import AdapterWeights
from echodistill.training.accelerators.weights import (
    FullWeights,
    extrapolated,
    in_block,
    moved_parameters,
)
from tests import packed_family
from tests.conftest import tone

RANK, ALPHA = 4, 6.0
ACCEPTED = (2, 0, 1, 1, 5, 0)
"""The candidate that is accepted at each event: none, one, and the same twice in a row."""


# --- full weights


@pytest.mark.parametrize("candidate", [1, 2, 5])
def test_a_candidate_is_the_equation_in_float64(candidate: int) -> None:
    stream = torch.Generator().manual_seed(candidate)
    now, kept = torch.randn(2, 50, 40, generator=stream)
    expected = now.double() + 2 * candidate * (now.double() - kept.double())
    found = extrapolated(now, kept, candidate)
    assert found.dtype is torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-5)


def test_the_arithmetic_is_float32_whatever_the_weights_are() -> None:
    now, kept = torch.tensor([1.0, 2.0]).bfloat16(), torch.tensor([0.9, 2.1]).bfloat16()
    assert extrapolated(now, kept, 1).dtype is torch.float32


def test_candidate_0_is_the_weights_bit_for_bit() -> None:
    strange = torch.tensor([1.0, -0.0, float("inf"), float("nan"), 1e-42])
    assert extrapolated(strange, torch.zeros(5), 0) is strange


def test_by_hand() -> None:
    """W = 3, W at the last event 2: Δ = 1 and the candidates are 5, 7, 9."""
    now, kept = torch.tensor([3.0]), torch.tensor([2.0])
    assert [extrapolated(now, kept, k).item() for k in (0, 1, 2, 3)] == [3.0, 5.0, 7.0, 9.0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.layers.3.mlp.up_proj", True),
        ("0.up_proj", True),
        ("audio_tower.layers.0.fc1", True),
        ("projector.0", False),  # a module of a sequence, not within one
        ("lm_head", False),
        ("layer3.up_proj", False),
    ],
)
def test_a_block_has_a_number_and_modules_within(name: str, expected: bool) -> None:
    assert in_block(name) == expected


def test_attention_and_mlp_are_moved_and_nothing_else(tiny_llm: AudioLLM) -> None:
    model = copy.deepcopy(tiny_llm.model)
    attention = {f"self_attn.{part}_proj" for part in "qkvo"} | {"self_attn.out_proj"}
    mlp = {f"mlp.{part}_proj" for part in ("gate", "up", "down")} | {"fc1", "fc2"}
    found = {name.split("layers.0.")[1].rpartition(".")[0] for name in moved_parameters(model)}
    assert found == attention | mlp
    others = {name for name, _ in model.named_parameters()} - moved_parameters(model).keys()
    for part in ("embed", "norm", "lm_head", "multi_modal_projector", "conv1"):
        assert any(part in name for name in others), part
    for name, parameter in model.named_parameters():
        parameter.requires_grad = "audio_tower" not in name  # what is not trained does not move
    assert not any("audio_tower" in name for name in moved_parameters(model))
    with pytest.raises(UserError, match=r"^train\.accelerator: .* to move: write none$"):
        moved_parameters(model.requires_grad_(False))


def test_another_family_is_moved_by_the_same_rule(tiny_llm: AudioLLM) -> None:
    model, _ = packed_family.build(copy.deepcopy(tiny_llm.tokenizer))
    names = moved_parameters(model)
    assert names
    assert all("decoder.model.layers." in name for name in names)
    assert not any("norm" in name for name in names)


def drift(model: torch.nn.Module, seed: int) -> None:
    """Change all trained weights, as an optimizer does."""
    stream = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=stream))


def test_full_weights_follow_the_equation_over_events(tiny_llm: AudioLLM) -> None:
    model = copy.deepcopy(tiny_llm.model).requires_grad_(True)
    weights = FullWeights(model)
    names = moved_parameters(model).keys()
    kept = {name: model.get_parameter(name).detach().double() for name in names}
    for event, accepted in enumerate(ACCEPTED):
        drift(model, event)
        before = {name: value.detach().clone() for name, value in model.named_parameters()}
        weights.begin()
        for candidate in range(accepted + 2):
            weights.put(candidate)
        weights.end(accepted)
        for name, value in model.named_parameters():
            if name not in names or accepted == 0:
                assert torch.equal(value, before[name]), name  # bit for bit
                continue
            wide = before[name].double()
            torch.testing.assert_close(
                value.detach().double(),
                wide + 2 * accepted * (wide - kept[name]),
                rtol=1e-6,
                atol=1e-6,
            )
        kept = {name: model.get_parameter(name).detach().double() for name in names}


# --- an adapter


@pytest.fixture
def adapted(tiny_llm: AudioLLM) -> PeftModel:
    config = LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        target_modules="all-linear",
        exclude_modules=["lm_head"],
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(0)
    return get_peft_model(copy.deepcopy(tiny_llm.model), config)


def layers(model: PeftModel) -> Iterator[tuple[str, Any]]:
    return ((name, each) for name, each in model.named_modules() if hasattr(each, "lora_A"))


def product(layer: Any) -> torch.Tensor:
    """The adapter's part of the merged weights, in float64."""
    b, a = layer.lora_B["default"].weight, layer.lora_A["default"].weight
    found: torch.Tensor = layer.scaling["default"] * b.detach().double() @ a.detach().double()
    return found


def added(weights: AdapterWeights, name: str) -> torch.Tensor | float:
    """What the hook of a layer adds to the merged weights, in float64."""
    part = weights._parts.get(name)
    if part is None or part.factors is None:
        return 0.0
    b, a = part.factors
    found: torch.Tensor = part.layer.scaling["default"] * b.double() @ a.double()
    return found


def after_events(model: PeftModel, events: int = len(ACCEPTED)) -> tuple[AdapterWeights, Any]:
    """Drift and accept; return the weights, and what the merged updates should be in float64."""
    weights = AdapterWeights(model)
    moved = {name for name, _ in layers(model) if in_block(name)}
    kept = {name: product(layer) for name, layer in layers(model)}
    offset = {name: torch.zeros_like(value) for name, value in kept.items()}
    for event, accepted in enumerate(ACCEPTED[:events]):
        drift(model, event)
        weights.begin()
        for candidate in range(accepted + 2):
            weights.put(candidate)
        weights.end(accepted)
        for name, layer in layers(model):
            if name in moved:
                now = product(layer) + offset[name]
                after = now + 2 * accepted * (now - kept[name])
                offset[name], kept[name] = after - product(layer), after
    return weights, {name: product(layer) + offset[name] for name, layer in layers(model)}


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal but for the rounding of float32 factors: 2^-24 of the size of what is added up."""
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("events", range(1, len(ACCEPTED) + 1))
def test_the_product_is_moved_as_the_merged_weights_are(events: int, adapted: PeftModel) -> None:
    factors = {}
    weights, expected = after_events(adapted, events)
    for name, layer in layers(adapted):
        close(product(layer) + added(weights, name), expected[name])
        factors[name] = layer.lora_B["default"].weight.detach().clone()
    products = [each for each in weights._products if each.is_added]
    assert len(products) <= events  # the bound: rank r for each event
    weights.finish()
    for name, layer in layers(adapted):
        assert torch.equal(layer.lora_B["default"].weight[:, :RANK], factors[name])
        close(layer.get_delta_weight("default").detach().double(), expected[name])
        rank = RANK * (1 + len(products))
        assert layer.lora_A["default"].weight.shape[0] == layer.r["default"] == rank
        assert torch.linalg.matrix_rank(expected[name]) <= rank


def test_moving_the_factors_apart_would_be_another_product(adapted: PeftModel) -> None:
    """The test above would notice: the difference is far beyond its tolerance."""
    drift(adapted, 0)
    name, layer = next(each for each in layers(adapted) if in_block(each[0]))
    b0, a0 = layer.lora_B["default"].weight.double(), layer.lora_A["default"].weight.double()
    drift(adapted, 1)
    b1, a1 = layer.lora_B["default"].weight.double(), layer.lora_A["default"].weight.double()
    exact = b1 @ a1 + 2 * (b1 @ a1 - b0 @ a0)
    apart = (b1 + 2 * (b1 - b0)) @ (a1 + 2 * (a1 - a0))
    assert (apart - exact).abs().max() > 0.05 * exact.abs().max(), name
    u, s, v = torch.linalg.svd(exact)
    best = u[:, :RANK] * s[:RANK] @ v[:RANK]
    assert (best - exact).abs().max() > 0.05 * exact.abs().max(), name


def test_a_rejected_event_leaves_the_factors_and_the_frozen_part(adapted: PeftModel) -> None:
    weights, _ = after_events(adapted, 1)
    drift(adapted, 9)
    before = {name: value.detach().clone() for name, value in adapted.named_parameters()}
    frozen = {name: part.factors for name, part in weights._parts.items()}
    weights.begin()
    for candidate in (1, 2, 0):
        weights.put(candidate)
    weights.end(0)
    assert all(torch.equal(value, before[name]) for name, value in adapted.named_parameters())
    for name, part in weights._parts.items():
        assert part.factors is not None
        for one, other in zip(part.factors, frozen[name] or (), strict=True):
            assert torch.equal(one, other)


def logits(model: PeftModel, llm: AudioLLM) -> torch.Tensor:
    prompt = Prompt(tone("low", 1), "Which tone?", ("low", "high"))
    batch = encode(llm, [prompt])
    inputs = llm.family.forward_inputs(
        batch, torch.tensor([[1]]), torch.ones(1, 1, dtype=torch.int64)
    )
    with torch.no_grad():
        found: torch.Tensor = model(**inputs).logits
    return found


def test_the_student_computes_with_it_and_the_teacher_does_not(
    adapted: PeftModel, tiny_llm: AudioLLM
) -> None:
    """With the adapter off it is the base; with it on it is what is saved in the end."""
    base = logits(adapted, tiny_llm)
    weights, expected = after_events(adapted)
    own = logits(adapted, tiny_llm)
    assert (own - base).abs().max() > 0.1
    with adapted.disable_adapter():
        assert torch.equal(logits(adapted, tiny_llm), base)
    merged = copy.deepcopy(tiny_llm.model).double()
    for name, layer in layers(adapted):
        linear = merged.get_submodule(name.removeprefix("base_model.model."))
        linear.weight.data = layer.base_layer.weight.detach().double() + expected[name]
    weights.finish()
    torch.testing.assert_close(logits(adapted, tiny_llm), own, rtol=1e-4, atol=1e-4)
    assert not any(layer._forward_hooks for _, layer in layers(adapted))
    torch.testing.assert_close(logits(merged.float(), tiny_llm), own, rtol=1e-3, atol=1e-3)


def test_the_gradient_passes_through_the_frozen_part_and_does_not_reach_it(
    adapted: PeftModel,
) -> None:
    weights, _ = after_events(adapted)
    _, layer = next(each for each in layers(adapted) if in_block(each[0]))
    given = torch.randn(3, layer.in_features, requires_grad=True)
    layer(given).sum().backward()
    name = next(name for name, each in layers(adapted) if each is layer)
    whole = layer.base_layer.weight.double() + product(layer) + added(weights, name)
    torch.testing.assert_close(
        given.grad, whole.sum(dim=0).float().expand_as(given), rtol=1e-4, atol=1e-4
    )
    assert all(not factor.requires_grad for factor in weights._parts[name].factors or ())


def test_nothing_is_changed_where_nothing_was_accepted(adapted: PeftModel) -> None:
    weights = AdapterWeights(adapted)
    for event in range(3):
        drift(adapted, event)
        weights.begin()
        weights.put(1)
        weights.end(0)
    before = {name: value.detach().clone() for name, value in adapted.state_dict().items()}
    weights.finish()
    after = adapted.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (adapted.peft_config["default"].r, len(weights._products)) == (RANK, 1)


def test_the_saved_adapter_is_an_ordinary_one(
    adapted: PeftModel, tiny_llm: AudioLLM, tmp_path: Path
) -> None:
    weights, _ = after_events(adapted)
    weights.finish()
    adapted.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    times = config["r"] / RANK
    assert config["lora_alpha"] / config["r"] == ALPHA / RANK
    again = PeftModel.from_pretrained(copy.deepcopy(tiny_llm.model), str(tmp_path))
    assert torch.equal(logits(again, tiny_llm), logits(adapted, tiny_llm))
    assert times == 1 + sum(each.is_added for each in weights._products)
    merged = again.merge_and_unload()
    torch.testing.assert_close(
        logits(merged, tiny_llm), logits(adapted, tiny_llm), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("kind", ["full", "adapter"])
def test_the_state_is_restored_bit_for_bit(
    kind: str, adapted: PeftModel, tiny_llm: AudioLLM, tmp_path: Path
) -> None:
    model: Any = adapted if kind == "adapter" else copy.deepcopy(tiny_llm.model)
    model = model if kind == "adapter" else model.requires_grad_(True)
    initial = copy.deepcopy(model)
    opened: Any = AdapterWeights if kind == "adapter" else FullWeights
    weights = opened(model)
    for event, accepted in enumerate(ACCEPTED[:4]):
        drift(model, event)
        weights.begin()
        weights.end(accepted)
    tensors, values = weights.state()
    save_file(tensors, tmp_path / "state")
    again = opened(initial)  # as in a resume: before the checkpoint's weights are loaded
    again.load(load_file(tmp_path / "state"), json.loads(json.dumps(values)))
    initial.load_state_dict(model.state_dict())
    for one, other in ((weights, model), (again, initial)):
        drift(other, 7)
        one.begin()
        one.end(2)
    found, other = weights.state(), again.state()
    assert found[1] == other[1]
    assert all(torch.equal(found[0][name], other[0][name]) for name in found[0])
    weights.finish()
    again.finish()
    one, two = model.state_dict(), initial.state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
