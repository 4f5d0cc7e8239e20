"""requirements.lock: fully pinned, no host, everything the project imports."""

import re
import tomllib
from itertools import chain

from tests.test_pipeline import ROOT

LINES = [
    line
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if line.strip() and not line.startswith("#")
]


def test_every_line_is_one_pinned_package() -> None:
    assert [
        line for line in LINES if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+( ; .+)?", line)
    ] == []


def test_the_lock_holds_what_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    locked = {
        name.replace("-", "_").lower(): version
        for name, _, version in (line.partition("==") for line in LINES)
    }
    for requirement in wanted:
        name, _, version = requirement.replace("-", "_").lower().partition("==")
        assert name in locked, f"{name} is not in requirements.lock"
        assert not version or locked[name] == version


def test_nothing_that_breaks_audio_models_is_locked() -> None:
    assert not {line.split("==")[0] for line in LINES} & {"torchvision", "torchcodec"}
