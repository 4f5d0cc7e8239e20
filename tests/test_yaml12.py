"""Parameters are read with YAML 1.2's scalars, as DVC reads them, and what is written reads back
the same in both.
"""

import datetime
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.serialize import loads_yaml
from hypothesis import given
from hypothesis import strategies as st

from echodistill.core.yaml12 import dump_yaml, load_yaml
from echodistill.lineage.publish import RUN_PARAMS, _params_of_the_run
from echodistill.overrides import applied, apply_overrides, overridden
from echodistill.params.whole import load_params

ROOT = Path(__file__).parents[1]
SCALARS = {
    "off": "off", "On": "On", "yes": "yes", "N": "N", "true": True, "FALSE": False, "~": None,
    "null": None,
    "1e-4": 1e-4, "-2E5": -2e5, "1.5e3": 1500.0, "1.": 1.0, "-.5": -0.5, ".inf": math.inf,
    "-.INF": -math.inf,
    "010": 10, "08": 8, "0o10": 8, "0x1F": 31, "-0b11": -3, "1_000": 1000, "1:30": "1:30",
    "1:30.5": "1:30.5",
    "1e": "1e", "0o": "0o", "+": "+", "_1": "_1", ".": ".", "1.2.3": "1.2.3",
    "2024-01-01": datetime.date(2024, 1, 1),
}  # fmt: skip
NUMBER_LIKE = st.text("0123456789abefox_:.+-TZ ", max_size=8)
WORDS = st.sampled_from(
    [
        "off",
        "On",
        "YES",
        "n",
        "y",
        "true",
        "Null",
        "~",
        "=",
        "<<",
        "1e-4",
        "08",
        "1:30",
        "2024-01-01",
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | NUMBER_LIKE
    | WORDS
    | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(WORDS | st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


def outcome(read: Any, text: str) -> object:
    """What reading gives, with types; ``None`` in place of a fault."""
    try:
        value = read(text)["a"]
    except Exception:
        return None
    return (type(value).__name__.removeprefix("TimeStamp"), str(value))


@pytest.mark.parametrize("text", SCALARS)
def test_scalars_are_those_of_version_1_2(text: str) -> None:
    found = load_yaml(f"a: {text}")["a"]
    assert (type(found), found) == (type(SCALARS[text]), SCALARS[text])
    assert outcome(load_yaml, f"a: {text}") == outcome(loads_yaml, f"a: {text}")


def test_numbers_that_are_none() -> None:
    assert math.isnan(load_yaml("a: .nan")["a"])
    for text in ("0x_", "+_", "!!float x", "!!int 1:30", "!!int x"):
        with pytest.raises(yaml.YAMLError):
            load_yaml(f"a: {text}")


@given(NUMBER_LIKE | WORDS)
def test_dvc_reads_every_scalar_alike(text: str) -> None:
    assert outcome(load_yaml, f"a: {text}") == outcome(loads_yaml, f"a: {text}")


@given(VALUES)
def test_what_is_written_reads_back_the_same_everywhere(value: object) -> None:
    written = dump_yaml({"a": value})
    assert repr(load_yaml(written)) == repr({"a": value})
    assert repr(loads_yaml(written)) == repr({"a": value})
    assert repr(yaml.safe_load(written)) == repr({"a": value})  # PyYAML alone: other tools


def test_keys_keep_their_order() -> None:
    assert dump_yaml({"b": 1, "a": [None, 1e-5]}) == "b: 1\na:\n- null\n- 1.0e-05\n"


@pytest.mark.parametrize(
    ("line", "key", "wanted"),
    [
        ("      shaping: off", "shaping", "off"),
        ("      clip: 2e-1", "clip", 0.2),
        ("      shaping_bonus: 010", "shaping_bonus", 10.0),
    ],
)
def test_parameters_as_documented_are_taken(
    tmp_path: Path, line: str, key: str, wanted: object
) -> None:
    lines = (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()
    (tmp_path / "params.yaml").write_text(
        "\n".join(line if row.strip().startswith(f"{key}:") else row for row in lines)
    )
    assert getattr(load_params(tmp_path / "params.yaml").train.methods.echodistill, key) == wanted


def test_overrides_as_documented_are_taken_and_dvc_reads_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = Path("params.yaml")
    params.write_bytes((ROOT / "params.yaml").read_bytes())
    given = [
        "train.methods.echodistill.shaping=off",
        "train.methods.sft.learning_rate=1e-5",
        "corpus.test.path=1:30",
        "seed=010",
    ]
    wanted = applied(params, given)
    assert (
        wanted.train.methods.echodistill.shaping,
        wanted.train.methods.sft.learning_rate,
        wanted.seed,
    ) == ("off", 1e-5, 10)
    with overridden(params, given):
        assert load_params(params) == wanted
        read = loads_yaml(params.read_text())
    assert read == apply_overrides(load_yaml(params.read_bytes()), given)
    shaping = read["train"]["methods"]["echodistill"]["shaping"]
    assert (shaping, read["corpus"]["test"]["path"]) == ("off", "1:30")


def test_the_parameters_of_a_run_are_those_dvc_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.utils.serialize import dumps_yaml

    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    locked = {"train.methods.echodistill.shaping": "off", "train.methods.sft.learning_rate": 1e-5}
    lock = {"schema": "2.0", "stages": {"train": {"cmd": "x", "params": {"params.yaml": locked}}}}
    Path("dvc.lock").write_text(dumps_yaml(lock))
    _params_of_the_run(Path("dvc.lock"))
    train = load_params(RUN_PARAMS).train
    assert (train.methods.echodistill.shaping, train.methods.sft.learning_rate) == ("off", 1e-5)
