"""Move the product of a LoRA adapter's factors along the direction that training took, exactly.

The effective weights are ``W0 + s·B·A``. Moving ``A`` and ``B`` apart would not move their product
to where it belongs, since the product is bilinear. The moved product

    B₁A₁ + 2k·(B₁A₁ - B₀A₀)

has a rank of up to 2r, so that no factors of rank r hold it in general, and the best ones of rank r
(a truncated singular value decomposition) are another product. Therefore [ours] the trained factors
stay as they are, with the state of the optimizer that belongs to them, and what is added becomes a
frozen part beside them. Over the events ``j``, at which the trained factors were ``BⱼAⱼ`` and
candidate ``kⱼ`` was accepted, that part is

    C = Σⱼ 2kⱼ·(BⱼAⱼ - Bⱼ₋₁Aⱼ₋₁) = Σⱼ cⱼ·BⱼAⱼ      with cⱼ = 2kⱼ - 2kⱼ₊₁ and c of the last = 2k

The factors are those of the events, bit for bit, and the coefficients are whole numbers. A product
of an event adds rank r, so that ``C`` has at most rank r times the number of events, which is
``floor(log2(steps)) + 1``. A product whose coefficient is 0 is dropped, as is the initial one,
which is 0. ``finish`` writes ``C`` and the trained factors side by side into one ordinary adapter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from echodistill.core.errors import UserError
from echodistill.training.accelerators.weights import in_block

ADAPTER = "default"
Factors = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""``B`` (out, r) and ``A`` (r, in) by the name of the layer."""


@dataclass(frozen=True)
class Product:
    """The adapter's product at an event, as a part of what is added."""

    coefficient: int
    factors: Factors

    @property
    def is_added(self) -> bool:
        """Return whether the part is not 0; the product is 0 before training, as ``B`` is."""
        return self.coefficient != 0 and any(bool(b.any()) for b, _ in self.factors.values())


class FrozenPart:
    """A hook of one LoRA layer that adds ``s·C·x`` to the layer's output while the adapter is
    active.
    """

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.factors: tuple[torch.Tensor, torch.Tensor] | None = None
        self.handle = layer.register_forward_hook(self._add)

    def _add(self, layer: Any, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> Any:
        if self.factors is None or layer.disable_adapters:
            return None
        b, a = (factor.to(given[0].device) for factor in self.factors)
        self.factors = b, a
        inner = torch.nn.functional.linear(given[0].to(a.dtype), a)
        added = torch.nn.functional.linear(inner, b) * layer.scaling[ADAPTER]
        return (output + added).to(output.dtype)


def side_by_side(products: Sequence[Product], name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return factors of ``Σ c·B·A`` of a layer: ``[c₁B₁ c₂B₂ …]`` and ``[A₁; A₂; …]``."""
    pairs = [(product.coefficient, *product.factors[name]) for product in products]
    b = torch.cat([coefficient * b for coefficient, b, _ in pairs], dim=1)
    return b, torch.cat([a for _, _, a in pairs], dim=0)


class AdapterWeights:
    """The weights of a student that is trained by an adapter; see ``weights.Weights``."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._layers = _linear_lora_layers(model)
        self._moved = {name: layer for name, layer in self._layers.items() if in_block(name)}
        if not self._moved:
            raise UserError(
                "train.accelerator: the adapter has no linear layers in numbered blocks to move:"
                " write none"
            )
        self._parts = {name: FrozenPart(layer) for name, layer in self._moved.items()}
        self._products = [Product(0, self._copies())]
        """The last one is that of the last event, or the initial one, even where it is not added.
        """
        self._now = self._products[-1].factors

    def _copies(self) -> Factors:
        return {
            name: (_b(layer).detach().clone(), _a(layer).detach().clone())
            for name, layer in self._moved.items()
        }

    def begin(self) -> bool:
        self._now = self._copies()
        kept = self._products[-1].factors
        return any(
            not torch.equal(one.to(other.device), other)
            for name, now in self._now.items()
            for one, other in zip(kept[name], now, strict=True)
        )

    def put(self, candidate: int) -> None:
        self._show(self._with(candidate))

    def end(self, candidate: int) -> None:
        *earlier, now = self._with(candidate)
        self._products = [*(product for product in earlier if product.is_added), now]
        self._show(self._products)

    def _with(self, candidate: int) -> list[Product]:
        """Return the products with ``2kΔ`` added, Δ being the difference to the last of them."""
        *earlier, last = self._products
        last = replace(last, coefficient=last.coefficient - 2 * candidate)
        return [*earlier, last, Product(2 * candidate, self._now)]

    def _show(self, products: Sequence[Product]) -> None:
        added = [product for product in products if product.is_added]
        for name, part in self._parts.items():
            part.factors = side_by_side(added, name) if added else None

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        tensors: dict[str, torch.Tensor] = {}
        for number, product in enumerate(self._products):
            for name, (b, a) in product.factors.items():
                tensors |= {f"{number}/{name}/B": b.cpu(), f"{number}/{name}/A": a.cpu()}
        return tensors, {"coefficients": [product.coefficient for product in self._products]}

    def load(self, tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> None:
        self._products = [
            Product(
                coefficient,
                {
                    name: (tensors[f"{number}/{name}/B"], tensors[f"{number}/{name}/A"])
                    for name in self._moved
                },
            )
            for number, coefficient in enumerate(values["coefficients"])
        ]
        self._show(self._products)

    @torch.no_grad()
    def finish(self) -> None:
        """Replace the adapter by one that has the frozen part within, and remove the hooks.

        Where nothing was added the adapter stays as it is. Else its rank is r for each product and
        for the trained factors; layers that were not moved are filled up with zeros.
        """
        added = [product for product in self._products if product.is_added]
        for part in self._parts.values():
            part.handle.remove()
        if not added:
            return
        times = 1 + len(added)
        for name, layer in self._layers.items():
            b, a = _b(layer), _a(layer)
            if name in self._moved:
                more_b, more_a = (more.to(b.device) for more in side_by_side(added, name))
            else:
                more_b = b.new_zeros(b.shape[0], b.shape[1] * len(added))
                more_a = a.new_zeros(a.shape[0] * len(added), a.shape[1])
            _widen(layer, torch.cat([b, more_b], dim=1), torch.cat([a, more_a], dim=0), times)
        config = self._model.peft_config[ADAPTER]
        config.r, config.lora_alpha = config.r * times, config.lora_alpha * times


def _linear_lora_layers(model: torch.nn.Module) -> dict[str, Any]:
    from peft.tuners.lora import Linear

    return {name: module for name, module in model.named_modules() if isinstance(module, Linear)}


def _a(layer: Any) -> torch.nn.Parameter:
    weight: torch.nn.Parameter = layer.lora_A[ADAPTER].weight
    return weight


def _b(layer: Any) -> torch.nn.Parameter:
    weight: torch.nn.Parameter = layer.lora_B[ADAPTER].weight
    return weight


def _widen(layer: Any, b: torch.Tensor, a: torch.Tensor, times: int) -> None:
    """Give a layer the factors ``b`` and ``a``, whose rank is ``times`` as high, at the same
    scaling.
    """
    for linear, weight in ((layer.lora_A[ADAPTER], a), (layer.lora_B[ADAPTER], b)):
        linear.weight = torch.nn.Parameter(weight, requires_grad=linear.weight.requires_grad)
        linear.out_features, linear.in_features = weight.shape
    layer.r[ADAPTER] *= times
    layer.lora_alpha[ADAPTER] *= times
