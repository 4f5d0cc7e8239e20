"""Rows that hear the same clip share its encoding: the rollouts of one prompt stand side by side and differ in their tokens alone."""

from typing import Any

import torch


def share_encodings(encoder: Any) -> None:
    """From now on ``encoder`` (a module called with one row a clip) computes neighbouring rows that are equal once.

    Outputs and gradients stay what they were, up to rounding. Where training drops units at random every row is computed, since each
    draws its own.
    """
    state: dict[str, torch.Tensor] = {}

    def take_first(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        state.clear()
        features = args[0] if args else kwargs["input_features"]
        if features.shape[0] < 2 or (module.training and _drops(module)):
            return args, kwargs
        rows = features.shape[0]
        named = {**dict(enumerate(args)), **kwargs}
        by_row = {name: value for name, value in named.items() if isinstance(value, torch.Tensor) and value.shape[:1] == (rows,)}
        new = torch.ones(rows, dtype=torch.bool, device=features.device)
        new[1:] = torch.stack([_differ(value) for value in by_row.values()]).any(dim=0)
        if new.all():
            return args, kwargs
        state["row"] = new.cumsum(0) - 1
        chosen = named | {name: value[new] for name, value in by_row.items()}
        return tuple(chosen[index] for index in range(len(args))), {name: chosen[name] for name in kwargs}

    def give_all(_module: Any, _args: Any, output: Any) -> Any:
        if "row" not in state:
            return output
        row = state.pop("row")
        for name, value in list(output.items()):
            if isinstance(value, torch.Tensor):
                output[name] = value[row]
        return output

    encoder.register_forward_pre_hook(take_first, with_kwargs=True)
    encoder.register_forward_hook(give_all)


def _differ(values: torch.Tensor) -> torch.Tensor:
    """Whether a row is another than the one before, (B - 1,)."""
    if values.dim() == 4:  # an attention mask (B, 1, F, F): all its queries see the same frames
        values = values[:, :, 0]
    return (values[1:] != values[:-1]).flatten(1).any(dim=1)


def _drops(module: Any) -> bool:
    return any(getattr(module, name, 0.0) > 0.0 for name in ("dropout", "layerdrop"))
