"""The rotation over held-out kinds of noise: each kind is held out once, and a fold that cannot be
made is refused.
"""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echodistill.audio.kinds import KINDS
from echodistill.audio.mixing import Mix
from echodistill.core.errors import UserError
from echodistill.core.records import read_rows
from echodistill.data.mixes.folds import check_folds, held_out_kinds, with_held_out
from echodistill.params.mixes import MixesParams
from echodistill.params.whole import load_params
from echodistill.stages.entry import params_view
from echodistill.stages.fold_mixes import fold_mixes
from tests.conftest import write_corpus

PARAMS = load_params(Path(__file__).parents[1] / "params.yaml")


def mixes_with(unseen: tuple[str, ...]) -> MixesParams:
    return with_held_out(PARAMS.mixes, unseen)


@given(st.sets(st.sampled_from(KINDS), max_size=8), st.integers(2, 4))
def test_over_all_folds_each_kind_is_held_out_once(unseen: set[str], folds: int) -> None:
    settings = mixes_with(tuple(sorted(unseen)))
    if len(settings.seen) < folds - 1 or (not unseen and folds == 2):
        with pytest.raises(UserError, match=r"compare\.folds"):
            [held_out_kinds(settings, fold, folds) for fold in range(1, folds + 1)]
        return
    held_out = [held_out_kinds(settings, fold, folds) for fold in range(1, folds + 1)]
    assert sorted(kind for kinds in held_out for kind in kinds) == sorted(settings.kinds)
    assert all(with_held_out(settings, kinds).seen for kinds in held_out)


def test_a_folds_mixes_have_none_of_its_kinds_and_all_else_is_as_in_the_pipeline(
    tmp_path: Path,
) -> None:
    write_corpus(tmp_path / "corpus", {"train": 200, "validation": 40, "test": 3})
    params = params_view(PARAMS, ("seed", "mixes", "compare.folds"))
    fold_mixes(params, 2, tmp_path / "fold", tmp_path / "corpus")
    found = read_rows(tmp_path / "fold/mixes.parquet", Mix)
    kinds = {mix.noise_kind for mix in found} - {"clean"}
    assert {mix.split for mix in found} == {"train", "validation"}
    assert kinds == set(PARAMS.mixes.kinds) - set(
        held_out_kinds(PARAMS.mixes, 2, len(PARAMS.compare.folds) + 1)
    )
    again = tmp_path / "again"
    fold_mixes(params, 2, again, tmp_path / "corpus")
    assert (again / "mixes.parquet").read_bytes() == (tmp_path / "fold/mixes.parquet").read_bytes()


def test_folds_that_cannot_be_made_are_refused_before_anything_is_trained() -> None:
    check_folds(PARAMS.mixes, PARAMS.compare.folds)
    check_folds(mixes_with(("gauss",)), ())
    one_seen = mixes_with(tuple(kind for kind in PARAMS.mixes.kinds if kind != "gauss"))
    check_folds(one_seen, (2,))
    with pytest.raises(
        UserError,
        match=(
            r"compare\.folds: 3 folds cannot be made of 10 kinds of noise, 9 of them in"
            r" mixes\.unseen"
        ),
    ):
        check_folds(one_seen, (2, 3))
