"""Rows with the same clip share its encoding: the rollouts of one prompt differ in their
tokens alone.
"""

from typing import Any

import torch

ROW = "_row_of_clip"
"""An encoder's attribute during a call: hooks are shared with its copies, such as the frozen
teacher, this is not.
"""

DROPPED_SHARES = ("dropout", "attention_dropout", "activation_dropout", "layerdrop")
"""Attributes of transformers' modules; where one is a module it is counted as such."""


def share_encodings(encoder: Any) -> None:
    """From now on ``encoder`` (a module called with one row a clip) computes rows that are equal
    once.

    The first tensor among the arguments has a row for each clip, (B, M, F); what the encoder gives,
    e.g. ``last_hidden_state`` (B, T, D), has a row for each of them again. Outputs and gradients
    stay what they were, up to rounding. Where training drops units at random every row is computed,
    since each draws its own.
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
    """A row's values, (B, N). Of an attention mask (B, 1, F, F) those of one query: all see the
    same frames.
    """
    return (values[:, :, 0] if values.dim() == 4 else values).flatten(1)


def _first_and_place(columns: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers of the rows to compute (U,), and for each row (B,) which of them it equals."""
    # equal rows have equal sums: in their order they are neighbours. Others there may be too, so
    # neighbours are compared in full
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
    """Return whether anything within drops units at random at present: a layer, or an adapter
    around one.
    """
    return any(module.training and _dropped_share(module) > 0.0 for module in encoder.modules())


def _dropped_share(module: Any) -> float:
    """Return the largest share that ``module`` itself drops in training."""
    if isinstance(module, torch.nn.Dropout):
        return module.p
    shares = (getattr(module, name, 0.0) for name in DROPPED_SHARES)
    return max((share for share in shares if isinstance(share, float)), default=0.0)
