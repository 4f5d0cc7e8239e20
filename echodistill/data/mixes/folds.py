"""Hold kinds of noise out of a training in rotation: over all folds, each kind is held out once.

One set of held-out kinds alone is weak evidence about unseen noise: the set may be easier or harder
than the others. In rotation each kind is judged twice, with a student that was trained with it and
with one that was not. This module has no side effects.
"""

from collections.abc import Sequence

from echodistill.core.errors import UserError
from echodistill.params.mixes import MixesParams

FIRST = 1
"""Number of the fold that holds out ``mixes.unseen``, as the pipeline's own training mixes do."""


def held_out_kinds(settings: MixesParams, fold: int, folds: int) -> tuple[str, ...]:
    """Return the kinds held out in ``fold`` (from 1) of ``folds``.

    The first fold holds out ``mixes.unseen``; the other kinds are dealt to the further folds in the
    order of ``mixes.kinds``. Raise ``UserError`` where a fold would hold out nothing, or
    everything.
    """
    if fold == FIRST:
        return settings.unseen
    held_out = settings.seen[fold - FIRST - 1 :: folds - FIRST]
    if not held_out or len(held_out) == len(settings.kinds):
        kinds, unseen = len(settings.kinds), len(settings.unseen)
        raise UserError(
            f"compare.folds: {folds} folds cannot be made of {kinds} kinds of noise, {unseen} of"
            " them in mixes.unseen: each further fold needs a kind to hold out and one to train"
            " with. Give fewer folds, or []"
        )
    return held_out


def check_folds(settings: MixesParams, further: Sequence[int]) -> None:
    """Raise ``UserError`` where one of the ``further`` folds (``compare.folds``) cannot be made
    from the kinds of noise.
    """
    for fold in further:
        held_out_kinds(settings, fold, FIRST + len(further))


def with_held_out(settings: MixesParams, kinds: tuple[str, ...]) -> MixesParams:
    """Return the section ``mixes`` with ``kinds`` as the unseen ones."""
    return MixesParams.model_validate(settings.model_dump() | {"unseen": kinds})
