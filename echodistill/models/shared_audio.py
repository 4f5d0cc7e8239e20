"""Encode each clip of a batch once: the rollouts of one prompt differ only in their tokens."""

from typing import Any

import torch

ROW = "_row_of_clip"
"""Attribute of an encoder during a call; unlike the hooks, copies of the encoder such as the frozen
teacher do not share it.
"""

DROPPED_SHARES = ("dropout", "attention_dropout", "activation_dropout", "layerdrop")
"""Attributes of transformers' modules that hold a drop probability; an attribute that is a module
is counted as such instead.
"""


def share_encodings(encoder: Any) -> None:
    """Make ``encoder`` (a module called with one row per clip) compute equal rows only once, from
    now on.

    The first tensor among the arguments has a row for each clip, (B, M, F); the tensors of the
    output, e.g. ``last_hidden_state`` (B, T, D), again have a row for each of them. Outputs and
    gradients stay the same up to rounding. While training drops units at random every row is
    computed, since each row has its own random draws.
    """

    def take_first(
        module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        module.__dict__.pop(ROW, None)
        named: dict[Any, Any] = dict(enumerate(args)) | kwargs
        rows = len(next(value for value in named.values() if isinstance(value, torch.Tensor)))
        if rows < 2 or _drops(module):
            return args, kwargs
        by_row = {
            name: value
            for name, value in named.items()
            if isinstance(value, torch.Tensor) and value.shape[:1] == (rows,)
        }
        first, place = _first_and_place([_comparable(value) for value in by_row.values()])
        if len(first) == rows:
            return args, kwargs
        module.__dict__[ROW] = place
        chosen = named | {name: value[first] for name, value in by_row.items()}
        return tuple(chosen[index] for index in range(len(args))), {
            name: chosen[name] for name in kwargs
        }

    def give_all(module: Any, _args: Any, output: Any) -> Any:
        row = module.__dict__.pop(ROW, None)
        if row is None:
            return output
        for name, value in list(output.items()):
            if isinstance(value, torch.Tensor):
                output[name] = value[row]
        return output

    encoder.register_forward_pre_hook(take_first, with_kwargs=True)
    encoder.register_forward_hook(give_all)


def _comparable(values: torch.Tensor) -> torch.Tensor:
    """Return each row's values, (B, N). Of an attention mask (B, 1, F, F) only one query's are
    returned, since all queries attend to the same frames.
    """
    return (values[:, :, 0] if values.dim() == 4 else values).flatten(1)


def _first_and_place(columns: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the numbers of the rows to compute, (U,) int64, and for each row which of them it
    equals, (B,) int64.
    """
    # equal rows have equal sums, so they are neighbours when sorted by sum; different rows may have
    # equal sums too, so neighbours are compared in full
    order = columns[0].double().sum(dim=1).argsort(stable=True)
    new = torch.zeros(len(order), dtype=torch.bool, device=order.device)
    new[0] = True
    for values in columns:
        ordered = values[order]
        new[1:] |= (ordered[1:] != ordered[:-1]).any(dim=1)
    place = torch.empty_like(order)
    place[order] = new.cumsum(0) - 1
    return order[new], place


def _drops(encoder: Any) -> bool:
    """Return whether any module of the encoder, such as a layer or an adapter, currently drops
    units at random.
    """
    return any(module.training and _dropped_share(module) > 0.0 for module in encoder.modules())


def _dropped_share(module: Any) -> float:
    """Return the largest share of units that ``module`` itself drops in training."""
    if isinstance(module, torch.nn.Dropout):
        return module.p
    shares = (getattr(module, name, 0.0) for name in DROPPED_SHARES)
    return max((share for share in shares if isinstance(share, float)), default=0.0)
