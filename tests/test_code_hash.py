"""Code is tracked by its hash: what cannot change a result changes no hash, and an edit runs again
what it can change.
"""

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

from echodistill.accelerator_settings import accelerator_json
from echodistill.code_hash import (
    FOLDER,
    NO_EFFECT,
    STAGES,
    check_fresh,
    code_hash,
    file_hash,
    files_with_effect,
    normalised,
    sections_of,
    stage_modules,
)
from echodistill.core.errors import UserError
from echodistill.import_graph import ROOT, closure, imports_of
from echodistill.params.accelerators import ACCELERATORS
from echodistill.params.methods import METHODS
from echodistill.params.whole import load_params

CODE = '''"""What it is."""
import os
LIMIT = 1.0
"""In seconds."""
def area(side: float) -> float:
    """Return it."""
    return side * side
class Box:
    """A box."""
    name: str = "box"
    """How it is called."""
    def fill(self):
        """Nothing."""
'''
SAME = {
    "comment": lambda text: text.replace("LIMIT", "# of it\nLIMIT"),
    "comment behind": lambda text: text.replace("1.0", "1.0  # of it"),
    "docstring of the module": lambda text: text.replace("What it is", "What it was"),
    "docstring of a name": lambda text: text.replace("In seconds", "Seconds"),
    "docstring of a function": lambda text: text.replace("Return it", "Return the area"),
    "docstring away": lambda text: text.replace('    """A box."""\n', ""),
    "docstring more": lambda text: text.replace("import os\n", 'import os\n"""A module."""\n'),
    "line breaks": lambda text: text.replace(
        "side * side", "(\n        side\n        * side\n    )"
    ),
    "quotation marks": lambda text: text.replace('"box"', "'box'"),
    "blank lines": lambda text: text.replace("def area", "\n\n\ndef area"),
}
OTHER = {
    "number": lambda text: text.replace("1.0", "1.5"),
    "type of a number": lambda text: text.replace("1.0", "1"),
    "text": lambda text: text.replace('"box"', '"bag"'),
    "text and bytes": lambda text: text.replace('"box"', 'b"box"'),
    "operator": lambda text: text.replace("side * side", "side + side"),
    "name": lambda text: text.replace("LIMIT", "BOUND"),
    "order": lambda text: text.replace("import os\n", "").replace("class", "import os\nclass"),
    "annotation": lambda text: text.replace("-> float", "-> int"),
    "more": lambda text: text + "MORE = 1\n",
}


@pytest.mark.parametrize("change", SAME)
def test_what_is_no_code_changes_nothing(change: str) -> None:
    changed = SAME[change](CODE)
    assert changed != CODE
    assert normalised(ast.parse(changed)) == normalised(ast.parse(CODE))


@pytest.mark.parametrize("change", OTHER)
def test_any_code_changes_the_hash(change: str) -> None:
    assert normalised(ast.parse(OTHER[change](CODE))) != normalised(ast.parse(CODE))


def test_the_hash_of_a_sample_is_the_same_on_every_machine() -> None:
    """In every version of Python too: fields that only some of them have are left out."""
    sample = "def f(a, /, *b: int, c='é', **d) -> str: return f'{a!r:>{c}} ü' 'b'\n"
    text = normalised(ast.parse(sample))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "167bd4165e586443"


def test_a_file_with_nothing_but_a_docstring_is_no_code() -> None:
    assert normalised(ast.parse('"""About the package."""\n# more\n')) == ""
    assert normalised(ast.parse("")) == ""


@pytest.mark.parametrize("name", NO_EFFECT)
def test_what_has_no_effect_is_there_states_why_and_computes_nothing(name: str) -> None:
    """Neither does it look at audio, models or answers."""
    assert len(NO_EFFECT[name]) > 10
    paths = sorted((ROOT / name).rglob("*.py")) if name.endswith("/") else [ROOT / name]
    assert paths
    heavy = {"numpy", "torch", "scipy", "pandas", "pyarrow", "soundfile", "soxr"}
    domain = re.compile(
        r"echodistill\.(audio|data|models\.(?!torchaudio_guard)|methods|rewards|evaluation|teachers)"
    )
    for path in paths:
        tree = ast.parse(path.read_text())
        names = {
            alias.name.split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        } | {
            (node.module or "").split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
        }
        assert not names & heavy, path
        assert not [each for each in imports_of(path) if domain.match(each)], path


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package in another folder."""
    folder = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "echodistill", folder / "echodistill", ignore=ignored)
    return folder


def hashes_in(folder: Path) -> dict[str, str]:
    """The hash of each stage by its name, and of a training's fingerprint, with the code there."""
    code = (
        "from echodistill.code_hash import *\nfrom echodistill.training.run_folder import *\n"
        "from echodistill.params import methods\n"
        "from echodistill.params.accelerators import ACCELERATORS as ACCELERATOR_NAMES\n"
        "for name in stage_modules(): print(name, code_hash(f'{STAGES}.{name}'))\n"
        "for name in methods.METHODS: print(f'method/{name}', code_hash(f'{METHODS}.{name}'))\n"
        "for name in ACCELERATOR_NAMES: print(f'accelerator/{name}',"
        " code_hash(f'{ACCELERATORS}.{name}'))\n"
        "print('fingerprint', fingerprint('train', {}, {}))"
    )
    environment = os.environ | {"PYTHONPATH": str(folder)}
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return dict(line.split(" ") for line in shown.splitlines())


DOCSTRING = '"""More about it."""\n\n'
CHANGES = {
    "a docstring of what moves files": ("storage/transfer.py", DOCSTRING, set()),
    "code of what moves files": ("storage/transfer.py", "MORE = 1\n", set()),
    "a comment in the trainer": ("training/trainer.py", "# more\n", set()),
    "the trainer": (
        "training/trainer.py",
        "MORE = 1\n",
        {"fingerprint", "train", "train_system", "accelerator/effopd"},
    ),
    "one method": ("methods/grpo.py", "MORE = 1\n", {"method/grpo"}),
    "the registry of methods": ("params/methods.py", "MORE = 1\n", set()),
    "an accelerator": ("training/accelerators/effopd.py", "MORE = 1\n", {"accelerator/effopd"}),
    "what it stands on": ("training/accelerators/adapter.py", "MORE = 1\n", {"accelerator/effopd"}),
    "settings of accelerators": ("params/accelerators.py", "MORE = 1\n", set()),
    "a new file": ("methods/brand_new.py", "MORE = 1\n", set()),
    "one stage": ("stages/card.py", "MORE = 1\n", {"card"}),
    "all parameters": ("params/whole.py", "MORE = 1\n", set()),
}


@cache
def hashes_before(copy: Path) -> dict[str, str]:
    """Return the hashes of the copy as it is between two changes."""
    return hashes_in(copy)


def changed_by(copy: Path, name: str, text: str) -> set[str]:
    """Return whose hashes change where ``text`` is added to a file of the package."""
    path = copy / "echodistill" / name
    whole = path.read_text() if path.exists() else None
    before = hashes_before(copy)
    methods = {f"method/{name}" for name in METHODS}
    accelerators = {f"accelerator/{name}" for name in ACCELERATORS}
    assert before.keys() == {*stage_modules(), *methods, *accelerators, "fingerprint"}
    path.write_text((whole or "") + text)
    try:
        after = hashes_in(copy)
    finally:
        path.write_text(whole) if whole is not None else path.unlink()
    return {stage for stage in before if before[stage] != after[stage]}


@pytest.mark.parametrize("change", CHANGES)
def test_an_edit_changes_the_hashes_of_those_stages_that_it_can_change(
    change: str, copy: Path
) -> None:
    name, text, changed = CHANGES[change]
    assert changed_by(copy, name, text) == changed


def test_mixing_changes_mixes_and_what_follows_and_neither_corpus_nor_base(copy: Path) -> None:
    changed = changed_by(copy, "audio/mixing.py", "MORE = 1\n")
    assert {"mixes", "train", "predict", "fold_mixes"} <= changed
    assert not changed & {"corpus", "base", "references", "card", "promote"}


def test_the_parameters_of_training_are_no_part_of_the_data(copy: Path) -> None:
    changed = changed_by(copy, "params/train.py", "MORE = 1\n")
    assert {"train", "train_system", "card"} <= changed
    assert not changed & {"corpus", "mixes", "base", "references", "predict", "evaluate", "promote"}


def test_nothing_is_lost_that_only_code_without_an_effect_leads_to() -> None:
    """All but these is reached on other ways, or is a row of ``NO_EFFECT`` itself."""
    modules = [f"{STAGES}.{name}" for name in stage_modules()]
    hashed = {name for module in modules for name in files_with_effect(module)}
    lost = {name for name in closure(*modules) if name not in hashed}
    rows = {name for name in lost if name.startswith(tuple(NO_EFFECT))}
    code = {name for name in lost - rows if file_hash(ROOT / name)}
    assert code <= {"echodistill/params/workers.py"}  # where work is computed changes no byte


def test_a_stage_is_made_of_the_sections_that_it_is_given() -> None:
    for name in stage_modules():
        files = files_with_effect(f"{STAGES}.{name}")
        for section in {each.partition(".")[0] for each in sections_of(f"{STAGES}.{name}")}:
            assert section == "seed" or f"echodistill/params/{section}.py" in files, name


def test_a_stale_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = f"{STAGES}.card"
    check_fresh(module)  # a graph without the stage `code`
    FOLDER.mkdir(parents=True)
    file = FOLDER / "card.sha256"
    file.write_text(f"{code_hash(module)}\n")
    check_fresh(module)
    file.write_text(f"{'0' * 64}\n")
    with pytest.raises(UserError, match=rf"^{file} is not the hash of the code.*dvc repro code"):
        check_fresh(module)


def test_an_accelerator_that_is_not_chosen_changes_no_training() -> None:
    train = load_params(ROOT / "params.yaml").train
    assert train.accelerator == "none"
    other = train.model_copy(
        update={"effopd": train.effopd.model_copy(update={"items": 1 + train.effopd.items})}
    )
    chosen = other.model_copy(update={"accelerator": "effopd"})
    assert train.effective() == other.effective() != chosen.effective()
    assert "effopd" not in train.effective()
    assert vars(train.chosen)["effopd"] is None
    assert chosen.chosen.effopd == chosen.effopd
    assert accelerator_json(train, "none") == accelerator_json(other, "none")
    assert accelerator_json(train, "none") == accelerator_json(train.chosen, "none")
    assert accelerator_json(train, "effopd") != accelerator_json(other, "effopd")
    note = json.loads(accelerator_json(chosen.chosen, "effopd"))
    assert note["settings"] == chosen.effopd.model_dump()
    assert note["code"] == code_hash("echodistill.training.accelerators.effopd")


STAGE = """\
from pathlib import Path
from echodistill.core.seeds import rng
from echodistill.stages.entry import run_stage

def toy(params, out: Path):
    out.write_text(f"{params.seed}")

if __name__ == "__main__":
    run_stage(toy, sections=("seed",))
"""


def repro(folder: Path, *arguments: str) -> tuple[int, list[str], str]:
    """Return the status of ``dvc repro``, the stages that ran, and all that it printed."""
    environment = os.environ | {
        "PYTHONPATH": str(folder),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    ran = re.findall(r"^Running stage '([^']+)'", done.stdout, re.MULTILINE)
    return done.returncode, ran, done.stdout + done.stderr


def test_plain_dvc_runs_again_what_an_edit_can_change(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "echodistill", tmp_path / "echodistill", ignore=ignored)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    package = tmp_path / "echodistill"
    (package / "stages/toy.py").write_text(STAGE)
    (package / "stages/other.py").write_text(
        STAGE.replace("seeds import rng", "batches import batches")
    )
    code = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["code"]
    stages = {
        name: {
            "cmd": f"exec python -m echodistill.stages.{name} {name}.txt",
            "deps": [f"build/code/{name}.sha256"],
            "params": ["seed"],
            "outs": [f"{name}.txt"],
        }
        for name in ("toy", "other")
    }
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"code": code, **stages}}))
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=tmp_path, check=True)
    status, ran, output = repro(tmp_path)
    assert (status, ran) == (0, ["code", "other", "toy"]), output
    assert repro(tmp_path)[:2] == (0, ["code"])
    seeds = package / "core/seeds.py"
    seeds.write_text(seeds.read_text() + "# a remark\n")
    assert repro(tmp_path)[:2] == (0, ["code"])
    seeds.write_text(seeds.read_text() + "MORE = 1\n")
    # by itself the stage would be entered under the hash of what it was
    status, _, output = repro(tmp_path, "--single-item", "--force", "toy")
    assert status != 0
    assert "build/code/toy.sha256 is not the hash of the code as it is now" in output
    assert repro(tmp_path)[:2] == (0, ["code", "toy"])
