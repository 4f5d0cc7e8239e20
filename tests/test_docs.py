"""Tests of the documentation: quotations equal the code, worked examples run, generated pages are
up to date.
"""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from docs.generate_parameters import PAGE, page, sections
from echodistill.audio.files import write_wav
from echodistill.models.audio_llm import AudioLLM
from echodistill.params.faults import keys_of
from echodistill.params.methods import MethodSettings
from echodistill.params.whole import Params
from tests.conftest import tone

ROOT = Path(__file__).parents[1]
EXTENDING = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
API = (ROOT / "docs/api.md").read_text(encoding="utf-8")
PICTURE = ROOT / "docs/pictures/pipeline.svg"
FENCE = re.compile(
    r"(?:^ *`(?P<file>[^`\n]+)`\n\n)?"
    r"^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    file: str
    """The file that the line above names; empty where it names none."""
    language: str
    text: str

    @property
    def before(self) -> str:
        """What a ``diff`` finds in its file."""
        return self._lines(" -")

    @property
    def after(self) -> str:
        """What a ``diff`` puts there."""
        return self._lines(" +")

    def _lines(self, marks: str) -> str:
        lines = [line or " " for line in self.text.splitlines()]
        return "".join(f"{line[1:]}\n" for line in lines if line[0] in marks)


def blocks(text: str, *languages: str) -> list[Block]:
    """Return the fenced blocks of a page in some languages, without the indent of a list."""
    found = []
    for match in FENCE.finditer(text):
        code = "".join(
            line.removeprefix(match["indent"]) for line in match["text"].splitlines(keepends=True)
        )
        found.append(Block(match["file"] or "", match["language"], code))
    return [block for block in found if block.language in languages]


def section(title: str) -> str:
    """Return the text below a heading of the page about extending."""
    return EXTENDING.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


QUOTED = [block for block in blocks(EXTENDING + API, "python") if block.file]


@pytest.mark.parametrize("block", QUOTED, ids=lambda block: block.file)
def test_python_is_quoted_from_its_file(block: Block) -> None:
    assert block.text in (ROOT / block.file).read_text(encoding="utf-8")


def test_no_block_of_the_page_is_left_out() -> None:
    """Each is Python or a diff, of a file that is named above it."""
    found = blocks(EXTENDING, "python", "diff")
    assert len(found) == EXTENDING.count("```") / 2
    assert all(block.file for block in found)


CHECK = """
from pathlib import Path
from echodistill.audio.kinds import KINDS
from echodistill.audio.noises import PROCEDURAL
from echodistill.code_hash import code_hash
from echodistill.method_facts import details, overview
from echodistill.methods.registry import module_of, open_method
from echodistill.models.families.registry import FAMILIES
from echodistill.params.whole import load_params
from echodistill.rewards.registry import REWARDS
from echodistill.systems import check_distinct
from echodistill.teachers.views import VIEWS
import echodistill
params = load_params(Path("params.yaml"))
assert Path(echodistill.__file__).is_relative_to(Path.cwd())
train = params.train.model_copy(update={"method": "on_policy"})
assert type(open_method(train)).__name__ == "OnPolicy"
assert open_method(train).settings.last_weight == 3.0
check_distinct(params)
assert "samples; teacher given the clean clip; right answers" in "\\n".join(overview())
assert "last_weight: 3.0" in "\\n".join(details("on_policy", train.methods.on_policy.model_dump(),
    Path("presets"), Path()))
assert "question" in params.compare.controls and "question" in VIEWS
assert REWARDS["brief"](["a dog"]) == [0.5]
assert FAMILIES["packed"].max_seconds == 0.6
assert "rain" in params.mixes.seen and set(KINDS) == {*PROCEDURAL, "crowd"}
"""


def test_the_examples_of_the_page_are_whole(tmp_path: Path) -> None:
    """All of them are written into a copy of the package, which then knows what they add."""
    shutil.copytree(ROOT / "echodistill", tmp_path / "echodistill")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    methods, views, rewards, noises = (
        [block.text for block in blocks(section(f"Add a {name}"), "python")]
        for name in ("method", "view", "reward", "noise")
    )
    package = tmp_path / "echodistill"
    settings = "from echodistill.params.methods import OnPolicySettings"
    (package / "methods/on_policy.py").write_text(
        "\n".join(["import torch", settings, *methods, "METHOD = OnPolicy"])
    )
    (package / "rewards/brief.py").write_text(f"from collections.abc import Sequence\n{rewards[0]}")
    shutil.copy(ROOT / "tests/packed_family.py", package / "models/families/packed.py")
    insert(package / "teachers/views.py", "VIEWS: ", views[0])
    insert(package / "audio/noises.py", "PROCEDURAL: ", noises[0])
    for block in blocks(EXTENDING, "diff"):
        path = tmp_path / block.file
        text = path.read_text(encoding="utf-8")
        assert text.count(block.before) == 1, block
        path.write_text(text.replace(block.before, block.after), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", CHECK],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def insert(path: Path, before: str, code: str) -> None:
    """Put ``code`` in front of the statement of a file that begins with ``before``."""
    text = path.read_text(encoding="utf-8")
    assert text.count(f"\n{before}") == 1
    path.write_text(text.replace(f"\n{before}", f"\n{code}\n\n{before}"), encoding="utf-8")


def test_the_reference_of_the_parameters_is_what_the_schema_states() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m docs.generate_parameters`"


def test_a_key_without_a_meaning_is_refused() -> None:
    class Silent(MethodSettings):
        steps: int

    with pytest.raises(ValueError, match=r"^steps has no docstring"):
        list(sections(Silent, {}, ""))


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks/README.md"])
KEYS = set(keys_of(Params))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_key_that_a_page_names_is_there(path: Path) -> None:
    """But in the changes, which name what was there before."""
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)`", text))
    keys = {name for name in named if name.partition(".")[0] in Params.model_fields}
    overridden = set(re.findall(r'-S "?([a-z_.]+)=', text))
    unknown = {name for name in keys | overridden if name not in KEYS}
    assert path.name == "CHANGELOG.md" or {*unknown} <= {"train.py"}


def test_the_overview_names_the_stages() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"].keys()
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs/index.md").read_text(), re.MULTILINE)
    assert {*re.findall(r"`(\w+)`", " ".join(rows)), "gate"} == stages
    shown = re.findall(r'font-weight="bold">(.*?)</g>', PICTURE.read_text(), re.DOTALL)[0]
    named = set(re.findall(r"(\w+)</text>", shown.replace("card, register", "card")))
    assert named <= stages


def test_the_systems_of_the_example_are_those_of_the_parameters() -> None:
    text = (ROOT / "docs/comparison.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("    - {name: ")]
    assert rows
    assert set(rows) <= set((ROOT / "params.yaml").read_text(encoding="utf-8").splitlines())


def test_the_example_in_python_runs(
    tiny_llm: AudioLLM,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (example,) = (block for block in blocks(API, "python") if not block.file)
    tiny_llm.save(tmp_path / "models/student")
    (tmp_path / "wavs").mkdir()
    write_wav(tmp_path / "wavs/a.noisy.wav", tone("low", 1))
    monkeypatch.chdir(tmp_path)
    exec(example.text, {})
    assert capsys.readouterr().out.strip()


def test_the_first_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 100
