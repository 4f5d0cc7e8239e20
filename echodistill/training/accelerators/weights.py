"""Move a student's attention and MLP weights along the direction that training took.

Source: arXiv 2605.11739 [paper]. Which weights these are is found by their place [ours]: they are
the linear layers within numbered blocks. Embeddings, norms, convolutions, the projector and the
head are not among them.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch

from echodistill.core.errors import UserError

_IN_BLOCK = re.compile(r"\.\d+\.")


class Weights(Protocol):
    """The weights W of a student, with those that were kept at the last event.

    At an event, Δ is the difference between the present weights and the kept ones, and candidate k
    is W + 2kΔ; candidate 0 is W itself, bit for bit.
    """

    def begin(self) -> bool:
        """Begin an event with the student's present weights as W. Return whether Δ is not 0."""
        ...

    def put(self, candidate: int) -> None:
        """Give the student the weights of ``candidate``."""
        ...

    def end(self, candidate: int) -> None:
        """Give the student the weights of ``candidate``, and keep them until the next event."""
        ...

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Return what a resumed training needs between events: tensors on the CPU, and values that
        JSON can hold.
        """
        ...

    def load(self, tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned."""
        ...

    def finish(self) -> None:
        """Complete the student after the last event, so that it can be saved."""
        ...


def in_block(name: str) -> bool:
    """Return whether the module of this name is within a numbered block, such as
    ``layers.3.mlp.up_proj``.
    """
    return _IN_BLOCK.search(f".{name}") is not None


def moved_parameters(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Return the trained weights and biases of the linear layers within blocks, by name.

    Raise ``UserError`` where there are none.
    """
    found = dict(_moved(model))
    if not found:
        raise UserError(
            "train.accelerator: the model has no trained linear layers in numbered blocks to move:"
            " write none"
        )
    return found


def _moved(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and in_block(name):
            for of_module, parameter in module.named_parameters(recurse=False):
                if parameter.requires_grad:
                    yield f"{name}.{of_module}", parameter


def extrapolated(now: torch.Tensor, kept: torch.Tensor, candidate: int) -> torch.Tensor:
    """Return ``W + 2kΔ`` with ``Δ = now - kept``, in float32; ``W`` itself for candidate 0."""
    if candidate == 0:
        return now
    return now.float() + 2.0 * candidate * (now.float() - kept.float())


class FullWeights:
    """The weights of a student that is trained as a whole; see ``Weights``.

    The kept weights, and W during an event, are in the memory of the CPU: 4 bytes a parameter each.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._parameters = moved_parameters(model)
        self._kept = self._copies()
        self._now = self._kept

    def _copies(self) -> dict[str, torch.Tensor]:
        return {
            name: value.detach().to("cpu", copy=True) for name, value in self._parameters.items()
        }

    def begin(self) -> bool:
        self._now = self._copies()
        return any(not torch.equal(now, self._kept[name]) for name, now in self._now.items())

    @torch.no_grad()
    def put(self, candidate: int) -> None:
        for name, parameter in self._parameters.items():
            now, kept = (of[name].to(parameter.device) for of in (self._now, self._kept))
            parameter.copy_(extrapolated(now, kept, candidate))

    def end(self, candidate: int) -> None:
        self.put(candidate)
        self._kept = self._now = self._copies()

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        return self._kept, {}

    def load(self, tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> None:
        self._kept = self._now = dict(tensors)

    def finish(self) -> None:
        """Do nothing: the weights are in their places."""
